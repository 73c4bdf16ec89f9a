"""OpenRouter repeats the finish in the usage chunk. The client gets it, because it has a choice."""

from decimal import Decimal

from gateway.core.usage import Usage
from tests.wire.oddity import Stream

ODDITY = Stream(
    sent=(
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,"cost":0.00012}}\n\n'
        b"data: [DONE]\n\n"
    ),
    held=(
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
    ),
    usage=Usage(input=9, output=4, billed=Decimal("0.00012")),
    message={"role": "assistant", "content": "hi"},
)
