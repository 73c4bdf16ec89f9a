"""Together reports cached and reasoning tokens at the top level, in the chunk that finishes."""

from gateway.core.usage import Usage
from tests.wire.oddity import Stream

ODDITY = Stream(
    sent=(
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":40,"completion_tokens":30,"total_tokens":70,"cached_tokens":16,"reasoning_tokens":25}}\n\n'
        b"data: [DONE]\n\n"
    ),
    usage=Usage(input=24, cache_read=16, output=5, reasoning=25),
    message={"role": "assistant", "content": "hi"},
)
