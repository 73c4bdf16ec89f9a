"""OpenAI answers 429 to an account without money.

Waiting does not help; the account is the gateway's.
"""

from tests.wire.oddity import Refusal

ODDITY = Refusal(
    status=429,
    sent=b'{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}',
    problem="upstream_auth",
    shown=502,
)
