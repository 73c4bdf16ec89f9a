"""Google's OpenAI endpoint leaves thoughts out of the completion: only the total includes them."""

from gateway.core.usage import Usage
from tests.wire.oddity import Stream

ODDITY = Stream(
    sent=(
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":"stop"}],"usage":{"completion_tokens":5,"prompt_tokens":30,"total_tokens":75}}\n\n'
        b"data: [DONE]\n\n"
    ),
    usage=Usage(input=30, output=5, reasoning=40),
    message={"role": "assistant", "content": "hi"},
)
