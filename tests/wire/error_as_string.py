"""A host sends its error as a plain string."""

from tests.wire.oddity import Whole

ODDITY = Whole(
    sent=b'{"error":"model is loading"}',
    problem="upstream_error",
    finish=None,
    served=None,
)
