"""A host answers with JSON that is not an object."""

from tests.wire.oddity import Whole

ODDITY = Whole(
    sent=b'"Hello"',
    problem="upstream_error",
    finish=None,
    served=None,
)
