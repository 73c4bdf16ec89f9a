"""U+2028 and U+0085 inside a string do not end a line."""

from tests.wire.oddity import Stream

TEXT = (
    'data: {"model":"m-1","choices":[{"index":0,"delta":{"content":"a\u2028b\x85c"},"finish_reason":null}]}\n\n'
    'data: {"model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    "data: [DONE]\n\n"
)

ODDITY = Stream(
    sent=TEXT.encode(),
    message={"role": "assistant", "content": "a\u2028b\x85c"},
)
