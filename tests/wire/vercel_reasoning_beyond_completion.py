"""Vercel counts reasoning outside the completion and the total; `market_cost` identifies Vercel."""

from decimal import Decimal

from gateway.core.usage import Usage
from tests.wire.oddity import Stream

ODDITY = Stream(
    sent=(
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":28,"completion_tokens":5,"total_tokens":33,"cost":0.0001409,"market_cost":0.0001409,"completion_tokens_details":{"reasoning_tokens":48}}}\n\n'
        b"data: [DONE]\n\n"
    ),
    usage=Usage(input=28, output=5, reasoning=48, billed=Decimal("0.0001409")),
    message={"role": "assistant", "content": "hi"},
)
