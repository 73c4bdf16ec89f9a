"""A host answers 200 with an empty body."""

from tests.wire.oddity import Whole

ODDITY = Whole(
    sent=b"",
    problem="upstream_error",
    finish=None,
    served=None,
)
