"""A host answers 500 without a body."""

from tests.wire.oddity import Refusal

ODDITY = Refusal(
    status=500,
    sent=b"",
    problem="upstream_error",
    shown=502,
)
