"""Google answers 400 to a key that it does not know: it is the gateway's key, not the client's fault."""

from tests.wire.oddity import Refusal

ODDITY = Refusal(
    status=400,
    sent=b'[{"error":{"code":400,"message":"API key not valid.","details":[{"reason":"API_KEY_INVALID"}]}}]',
    problem="upstream_auth",
    shown=502,
)
