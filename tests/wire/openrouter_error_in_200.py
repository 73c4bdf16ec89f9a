"""OpenRouter answers 200 and then finds out, after blank lines that kept the connection open."""

from tests.wire.oddity import Whole

ODDITY = Whole(
    sent=b'\n         \n\n         \n{"error":{"message":"Provider returned error","code":400}}',
    problem="upstream_rejected",
    own=True,
    finish=None,
    served=None,
)
