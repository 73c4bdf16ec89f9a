"""An error that is a word."""

from tests.wire.oddity import Whole

ODDITY = Whole(
    sent=b'{"error":"model is loading"}',
    problem="upstream_error",
    finish=None,
    served=None,
)
