"""Google answers 400 to an unknown key. The key is the gateway's, so the client is not at fault."""

from tests.wire.oddity import Refusal

ODDITY = Refusal(
    status=400,
    sent=b'[{"error":{"code":400,"message":"API key not valid.","details":[{"reason":"API_KEY_INVALID"}]}}]',
    problem="upstream_auth",
    shown=502,
)
