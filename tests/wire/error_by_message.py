"""Mistral and Cohere send errors without a member "error"."""

from tests.wire.oddity import Refusal

ODDITY = Refusal(
    status=400,
    sent=b'{"object":"error","message":"Expected last role User","type":"invalid_request","code":"3230"}',
    problem="upstream_rejected",
    shown=400,
    own=True,
)
