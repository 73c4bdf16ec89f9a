"""A whole (unstreamed) answer breaks off in its middle."""

from tests.wire.oddity import Whole

ODDITY = Whole(
    sent=b'{"model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"hi',
    problem="upstream_error",
    finish=None,
    served=None,
)
