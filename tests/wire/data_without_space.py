"""A host sends no space after the colon, CRLF, and fields that no client reads."""

from tests.wire.oddity import Stream

ODDITY = Stream(
    sent=(
        b'id: 1\r\nretry: 1000\r\ndata:{"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\r\n\r\n'
        b'event: message\r\ndata:{"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\r\n\r\n'
        b"data:[DONE]\r\n\r\n"
    ),
    message={"role": "assistant", "content": "hi"},
)
