"""Mistral sends a whole tool call in one piece, without index and type, in the chunk that finishes."""

from tests.wire.oddity import Stream

ODDITY = Stream(
    sent=(
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"content":null,"tool_calls":[{"id":"a1B2c3D4e","function":{"name":"f","arguments":"{\\"x\\": 1}"}}]},"finish_reason":"tool_calls"}]}\n\n'
        b"data: [DONE]\n\n"
    ),
    held=(
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
    ),
    finish="tool_calls",
    message={
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": "a1B2c3D4e",
                "function": {"name": "f", "arguments": '{"x": 1}'},
                "type": "function",
            }
        ],
    },
)
