"""The service tier of a request, in each dialect's words, on which the bound of its cost rests."""

import pytest

from gateway.core.call import Call
from gateway.dialects import DIALECTS

CHAT = b'"messages":[{"role":"user","content":"Hi"}]'
CASES = [
    ("openai-chat", b'{"model":"m",%s,"service_tier":"priority"}' % CHAT, "priority"),
    ("openai-chat", b'{"model":"m",%s,"service_tier":"auto"}' % CHAT, None),
    ("openai-chat", b'{"model":"m",%s,"service_tier":7}' % CHAT, None),
    ("openai-responses", b'{"model":"m","input":"Hi","service_tier":"flex"}', "flex"),
    ("anthropic-messages", b'{"model":"m","max_tokens":9,%s,"speed":"fast"}' % CHAT, "fast"),
    ("anthropic-messages", b'{"model":"m","max_tokens":9,%s,"inference_geo":"us","speed":"fast"}' % CHAT, "fast+us"),
    ("anthropic-messages", b'{"model":"m","max_tokens":9,%s,"service_tier":"standard_only"}' % CHAT, None),
    ("gemini", b'{"contents":[{"parts":[{"text":"Hi"}]}],"serviceTier":"priority"}', "priority"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "service"), CASES)
def test_the_gateway_reads_the_service_tier_in_each_dialect(
    name: str, body: bytes, service: str | None
) -> None:
    call = Call(
        id="c", dialect=name, operation="generate", body=body, path="models/m:generateContent",
        received_at=0, started_at=0,
    )  # fmt: skip
    assert DIALECTS[name].read_call(call).prompt.service == service
