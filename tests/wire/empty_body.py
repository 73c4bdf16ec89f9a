"""Nothing at all, with status 200."""

from tests.wire.oddity import Whole

ODDITY = Whole(
    sent=b"",
    problem="upstream_error",
    finish=None,
    served=None,
)
