"""OpenRouter answers 200, keeps the connection open with blank lines, and then sends an error."""

from tests.wire.oddity import Whole

ODDITY = Whole(
    sent=b'\n         \n\n         \n{"error":{"message":"Provider returned error","code":400}}',
    problem="upstream_rejected",
    own=True,
    finish=None,
    served=None,
)
