"""Handwritten answers, streamed and whole, with the same content."""

from gateway.cache.cached_response import CachedResponse
from gateway.core.usage import Usage

HEAD = (
    b'"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764000000,"model":"gpt-6-luna"'
)
USAGE = Usage(input=7, cache_read=3, output=4, reasoning=2)
USAGE_FRAME = (
    b"data: {" + HEAD + b',"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":6,'
    b'"total_tokens":16,"prompt_tokens_details":{"cached_tokens":3},'
    b'"completion_tokens_details":{"reasoning_tokens":2}}}\n\n'
)
DONE = b"data: [DONE]\n\n"


def frame(delta: bytes, finish: bytes = b"null", more: bytes = b"") -> bytes:
    choice = b'{"index":0,"delta":' + delta + b',"finish_reason":' + finish + b"}"
    return b"data: {" + HEAD + b',"choices":[' + choice + b"]" + more + b"}\n\n"


TEXT = (
    b": keep-alive\n\n"
    + frame(b'{"role":"assistant","content":"","refusal":null}')
    + frame(b'{"content":"Hel"}')
    + frame(b'{"content":"lo \\ud83d\\ude00 \\u2028 \\"usage\\":{"}')
    + frame(b"{}", b'"stop"')
)
TOOLS = (
    frame(
        b'{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_a",'
        b'"type":"function","function":{"name":"get_weather","arguments":""}}]}'
    )
    + frame(b'{"tool_calls":[{"index":0,"function":{"arguments":"{\\"city\\":"}}]}')
    + frame(b'{"tool_calls":[{"index":0,"function":{"arguments":"\\"Oslo\\"}"}}]}')
    + frame(
        b'{"tool_calls":[{"index":1,"id":"call_b","type":"function",'
        b'"function":{"name":"now","arguments":"{}"}}]}'
    )
    + frame(b"{}", b'"tool_calls"')
)
REASONING = (
    frame(b'{"role":"assistant","content":null,"reasoning_content":"Let me "}')
    + frame(b'{"content":null,"reasoning_content":"think."}')
    + frame(b'{"content":"42","reasoning_content":null}')
    + frame(b'{"content":""}', b'"stop"')
)
NULLS = frame(b'{"role":"assistant","content":"Hi"}', more=b',"usage":null') + frame(
    b"{}", b'"stop"', more=b',"usage":null'
)
STREAMS = {"text": TEXT, "tools": TOOLS, "reasoning": REASONING, "nulls": NULLS}


def recording(body: bytes, *, stream: bool = True, usage: Usage | None = USAGE) -> CachedResponse:
    return CachedResponse(
        dialect="openai-chat",
        stream=stream,
        body=body,
        usage=usage,
        served="gpt-6-luna-2026",
        finish="stop",
        provider="openai",
        account="main",
        model="gpt-6-luna",
        tier="fast",
        lab="openai",
        created=1_764_000_000.0,
    )
