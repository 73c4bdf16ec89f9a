"""Groq answers 498 if its flex tier has no capacity."""

from tests.wire.oddity import Refusal

ODDITY = Refusal(
    status=498,
    sent=b'{"error":{"message":"capacity exceeded","type":"capacity_exceeded"}}',
    problem="upstream_overloaded",
    shown=503,
)
