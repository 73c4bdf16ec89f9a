"""OpenAI answers 429 to an account without money: waiting does not help, and it is not the client's account."""

from tests.wire.oddity import Refusal

ODDITY = Refusal(
    status=429,
    sent=b'{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}',
    problem="upstream_auth",
    shown=502,
)
