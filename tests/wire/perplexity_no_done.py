"""Perplexity ends lines with CRLF, repeats usage and the whole message in every chunk, and sends no [DONE]."""

from gateway.core.usage import Usage
from tests.wire.oddity import Stream

ODDITY = Stream(
    sent=(
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8},"choices":[{"index":0,"message":{"role":"assistant","content":"h"},"delta":{"role":"assistant","content":"h"},"finish_reason":null}]}\r\n\r\n'
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9},"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"delta":{"role":"assistant","content":"i"},"finish_reason":"stop"}]}\r\n\r\n'
    ),
    usage=Usage(input=7, output=2),
    message={"role": "assistant", "content": "hi"},
)
