"""Chat Completions: every host's usage, whole and streamed, anywhere in the stream."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage
from gateway.dialects import OPENAI_CHAT, StreamInspector
from gateway.dialects.openai_chat import usage
from tests.dialects.cases import Object, ask, chunk, make_usage_chunk, sse

D = Decimal
VECTORS: list[tuple[str, Object, Usage]] = [
    (
        "OpenAI: cached and written are in the prompt, reasoning is in the completion",
        {"usage": {"prompt_tokens": 1000, "completion_tokens": 300, "total_tokens": 1300,
                   "prompt_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 300, "audio_tokens": 0},
                   "completion_tokens_details": {"reasoning_tokens": 200}}, "service_tier": "default"},
        Usage(input=100, cache_read=600, cache_write={"": 300}, output=100, reasoning=200),
    ),
    (
        "OpenAI: written tokens by lifetime, at a priority",
        {"usage": {"prompt_tokens": 1000, "completion_tokens": 1,
                   "prompt_tokens_details": {"cache_write_tokens": 900, "cache_write_tokens_details": {"ttl_30m_tokens": 500, "ttl_12h_tokens": 300}}},
         "service_tier": "priority"},
        Usage(input=100, cache_write={"30m": 500, "12h": 300, "": 100}, output=1, service="priority"),
    ),
    (
        "OpenAI: the cheaper tier",
        {"usage": {"prompt_tokens": 9, "completion_tokens": 1}, "service_tier": "flex"},
        Usage(input=9, output=1, service="flex"),
    ),
    (
        "Azure: reserved capacity",
        {"usage": {"prompt_tokens": 9, "completion_tokens": 1, "cost_in_usd_ticks": 0}, "service_tier": "provisioned"},
        Usage(input=9, output=1, service="provisioned"),
    ),
    (
        "Groq: on demand is the standard tier, usage stands in x_groq",
        {"choices": [], "x_groq": {"id": "r", "usage": {"prompt_tokens": 9, "completion_tokens": 1}}, "service_tier": "on_demand"},
        Usage(input=9, output=1),
    ),
    (
        "Mistral: a tier inside, its own name for what was cached",
        {"usage": {"prompt_tokens": 94, "completion_tokens": 3, "num_cached_tokens": 48, "service_tier": "standard"}},
        Usage(input=46, cache_read=48, output=3),
    ),
    (
        "Mistral: a batch",
        {"usage": {"prompt_tokens": 9, "completion_tokens": 3, "service_tier": "batch"}},
        Usage(input=9, output=3, service="batch"),
    ),
    (
        "Mistral: audio beside the prompt, with its seconds",
        {"usage": {"prompt_audio_seconds": 12, "prompt_tokens": 3, "completion_tokens": 41, "total_tokens": 419,
                   "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 375}}},
        Usage(input=378, cache_read=0, output=41, tools={"audio_seconds": 12}, media={"input_audio": 375}),
    ),
    (
        "Mistral: audio that is told by its seconds alone, most of it cached",
        {"usage": {"prompt_audio_seconds": 5, "prompt_tokens": 5, "completion_tokens": 24, "total_tokens": 404,
                   "prompt_tokens_details": {"cached_tokens": 368}}},
        Usage(input=12, cache_read=368, output=24, tools={"audio_seconds": 5}, media={"input_audio": 375}),
    ),
    (
        "Mistral: no audio",
        {"usage": {"prompt_audio_seconds": 0, "prompt_tokens": 13, "completion_tokens": 7, "total_tokens": 20, "num_cached_tokens": 0}},
        Usage(input=13, cache_read=0, output=7),
    ),
    (
        "Perplexity's research: reasoning beside the completion and the total, citations and searches",
        {"usage": {"prompt_tokens": 33, "completion_tokens": 11395, "total_tokens": 11428, "citation_tokens": 19028, "num_search_queries": 21,
                   "reasoning_tokens": 193947, "cost": {"total_cost": 0.816123}}},
        Usage(input=33, output=11395, reasoning=193947, tools={"citation_tokens": 19028, "web_search": 21}, billed=D("0.816123")),
    ),
    (
        "DeepSeek",
        {"usage": {"prompt_tokens": 404, "completion_tokens": 9, "prompt_cache_hit_tokens": 384, "prompt_cache_miss_tokens": 20}},
        Usage(input=20, cache_read=384, output=9),
    ),
    (
        "Moonshot: in the choice",
        {"choices": [{"index": 0, "usage": {"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 4}}]},
        Usage(input=5, cache_read=4, output=1),
    ),
    (
        "xAI: reasoning beside the completion, sources, and what it billed",
        {"usage": {"prompt_tokens": 200, "completion_tokens": 8, "total_tokens": 325, "num_sources_used": 3,
                   "prompt_tokens_details": {"cached_tokens": 192}, "completion_tokens_details": {"reasoning_tokens": 117},
                   "cost_in_usd_ticks": 3615000}},
        Usage(input=8, cache_read=192, output=8, reasoning=117, tools={"sources": 3}, billed=D("0.0003615")),
    ),
    (
        "OpenRouter: a search and what it billed",
        {"usage": {"prompt_tokens": 20, "completion_tokens": 5, "cost": 0.0071, "is_byok": False,
                   "server_tool_use_details": {"web_search_requests": 1, "tool_calls_requested": 1}}},
        Usage(input=20, output=5, tools={"web_search": 1}, billed=D("0.0071")),
    ),
    (
        "OpenRouter with a key of one's own: its fee, and what the provider bills",
        {"usage": {"prompt_tokens": 20, "completion_tokens": 5, "cost": 0.001, "is_byok": True,
                   "cost_details": {"upstream_inference_cost": 0.02}}},
        Usage(input=20, output=5, billed=D("0.021")),
    ),
    (
        "OpenRouter: reasoning counted by another tokeniser is no more than the completion",
        {"usage": {"prompt_tokens": 22, "completion_tokens": 52, "total_tokens": 74, "completion_tokens_details": {"reasoning_tokens": 53}}},
        Usage(input=22, output=0, reasoning=52),
    ),
    (
        "Vercel: the completion and the total leave reasoning out",
        {"usage": {"prompt_tokens": 63, "completion_tokens": 116, "total_tokens": 179, "market_cost": 0.0019, "cost": 0.0019,
                   "completion_tokens_details": {"reasoning_tokens": 64}}},
        Usage(input=63, output=116, reasoning=64, billed=D("0.0019")),
    ),
    (
        "Together, cut at its limit: the total shows that reasoning is inside the completion",
        {"usage": {"prompt_tokens": 24, "completion_tokens": 16, "total_tokens": 40, "reasoning_tokens": 18, "cached_tokens": 0}},
        Usage(input=24, cache_read=0, output=0, reasoning=16),
    ),
    (
        "a total that shows reasoning inside, however much more is told of it",
        {"usage": {"prompt_tokens": 28, "completion_tokens": 5, "total_tokens": 33, "completion_tokens_details": {"reasoning_tokens": 48}}},
        Usage(input=28, output=0, reasoning=5),
    ),
    (
        "a total that shows reasoning beside, although it is less than the completion",
        {"usage": {"prompt_tokens": 9, "completion_tokens": 100, "total_tokens": 129, "completion_tokens_details": {"reasoning_tokens": 20}}},
        Usage(input=9, output=100, reasoning=20),
    ),
    (
        "no total: reasoning that is far more than the completion is beside it",
        {"usage": {"prompt_tokens": 9, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 48}}},
        Usage(input=9, output=5, reasoning=48),
    ),
    (
        "no total: reasoning that is a little more than the completion is all of it",
        {"usage": {"prompt_tokens": 9, "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 53}}},
        Usage(input=9, output=0, reasoning=50),
    ),
    (
        "a total of neither sum says nothing of reasoning",
        {"usage": {"prompt_tokens": 9, "completion_tokens": 50, "total_tokens": 61, "completion_tokens_details": {"reasoning_tokens": 20}}},
        Usage(input=9, output=30, reasoning=20),
    ),
    (
        "Google's OpenAI door: thoughts are in the total alone",
        {"usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 54}},
        Usage(input=9, output=5, reasoning=40),
    ),
    (
        "a total that shows the cache beside the prompt, and so reasoning inside the completion",
        {"usage": {"prompt_tokens": 10, "completion_tokens": 16, "total_tokens": 86, "cache_read_input_tokens": 60, "reasoning_tokens": 18}},
        Usage(input=10, cache_read=60, output=0, reasoning=16),
    ),
    (
        "Perplexity: a fee for each request by the size of its search",
        {"usage": {"prompt_tokens": 17, "completion_tokens": 7, "search_context_size": "low",
                   "cost": {"input_tokens_cost": 0.000017, "request_cost": 0.005, "total_cost": 0.005024}}},
        Usage(input=17, output=7, tools={"search_low": 1}, billed=D("0.005024")),
    ),
    (
        "Venice: what it billed stands beside the usage",
        {"usage": {"prompt_tokens": 1036, "completion_tokens": 5}, "cost": {"usd": 0.000098375, "diem": 0}},
        Usage(input=1036, output=5, billed=D("0.000098375")),
    ),
    (
        "Databricks and others with Anthropic's members: written by lifetime",
        {"usage": {"prompt_tokens": 100, "completion_tokens": 5, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30,
                   "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 15, "ephemeral_24h_input_tokens": 5, "note": 1}}},
        Usage(input=10, cache_read=60, cache_write={"5m": 10, "1h": 15, "24h": 5}, output=5),
    ),
    (
        "a host whose total shows that the prompt leaves the cache out",
        {"usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 105, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30}},
        Usage(input=10, cache_read=60, cache_write={"": 30}, output=5),
    ),
    (
        "OpenAI: audio in and out",
        {"usage": {"prompt_tokens": 50, "completion_tokens": 20, "total_tokens": 70,
                   "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 43},
                   "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 12, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}},
        Usage(input=50, cache_read=0, output=20, reasoning=0, media={"input_audio": 43, "output_audio": 12}),
    ),
    (
        "OpenRouter: images in and out",
        {"usage": {"prompt_tokens": 50, "completion_tokens": 20, "prompt_tokens_details": {"image_tokens": 7, "video_tokens": 0},
                   "completion_tokens_details": {"image_tokens": 19}}},
        Usage(input=50, output=20, media={"input_image": 7, "output_image": 19}),
    ),
    (
        "Cerebras: images at the top",
        {"usage": {"prompt_tokens": 300, "completion_tokens": 2, "image_tokens": 255}},
        Usage(input=300, output=2, media={"input_image": 255}),
    ),
    (
        "Mistral: audio is billed by the second, beside its tokens",
        {"usage": {"prompt_tokens": 300, "completion_tokens": 2, "prompt_audio_seconds": 31}},
        Usage(input=300, output=2, tools={"audio_seconds": 31}),
    ),
    (
        "parts that are more than the written tokens are none",
        {"usage": {"prompt_tokens": 10, "completion_tokens": 5, "cache_creation_input_tokens": 4, "cache_creation": {"ephemeral_5m_input_tokens": 9}}},
        Usage(input=6, cache_write={"": 4}, output=5),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("members", "expected"), [v[1:] for v in VECTORS], ids=[str(v[0]) for v in VECTORS]
)
def test_usage_of_every_host_reads_the_same_whole_and_streamed(
    members: Object, expected: Usage
) -> None:
    """Usage is the same in a whole answer, in a last chunk without choices and in one with some."""
    whole = {
        "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}],
        **members,
    }
    assert OPENAI_CHAT.summarize(json.dumps(whole).encode()).usage == expected
    streams = [[{**chunk({"content": "a"}, finish="stop")}, {**make_usage_chunk({}), **members}]]
    if "choices" not in members:
        streams.append([{**chunk({"content": "a"}, finish="stop"), **members}])
    for chunks in streams:
        assert inspect(*chunks).usage == expected
        assert OPENAI_CHAT.summarize(OPENAI_CHAT.fold(sse(*chunks))).usage == expected
        assert read_translated(sse(*chunks)) == expected


def inspect(*chunks: Object | bytes) -> StreamInspector:
    inspector = OPENAI_CHAT.inspect_stream(ask(stream=True, usage=True))
    for frame in sse(*chunks).split(b"\n\n"):
        inspector.feed(frame + b"\n\n" if frame else b"")
    inspector.end()
    return inspector


def read_translated(stream: bytes) -> Usage | None:
    functions = OPENAI_CHAT.translation
    assert functions is not None
    decoder = functions.make_decoder()
    events = [*decoder.feed(stream), *decoder.end()]
    reports = [event.usage for event in events if hasattr(event, "usage")]
    return reports[-1]


TEXT_CHUNK = chunk({"content": "a"})
LAST_TEXT_CHUNK = chunk({"content": "b"}, finish="stop")
LAST = {
    "prompt_tokens": 100,
    "completion_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 80},
}
USED = Usage(input=20, cache_read=80, output=7)
BLANK = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
TOTALS = [
    {**TEXT_CHUNK, "usage": {"prompt_tokens": 100, "completion_tokens": n}} for n in (1, 3, 5)
]
PLACES: list[tuple[str, list[Object | bytes]]] = [
    ("at the end", [TEXT_CHUNK, LAST_TEXT_CHUNK, make_usage_chunk(LAST)]),
    ("twice, the same", [TEXT_CHUNK, LAST_TEXT_CHUNK, make_usage_chunk(LAST), make_usage_chunk(LAST)]),
    ("in the first chunk", [{**TEXT_CHUNK, "usage": LAST}, LAST_TEXT_CHUNK]),
    ("beside the finish", [TEXT_CHUNK, {**LAST_TEXT_CHUNK, "usage": LAST}]),
    ("in the middle, with null around it", [{**TEXT_CHUNK, "usage": None}, {**TEXT_CHUNK, "usage": LAST}, {**LAST_TEXT_CHUNK, "usage": None}]),
    ("as running totals", [*TOTALS, LAST_TEXT_CHUNK, make_usage_chunk(LAST)]),
    ("as running totals that shrink", [{**TEXT_CHUNK, "usage": {"prompt_tokens": 100, "completion_tokens": 9}}, LAST_TEXT_CHUNK, make_usage_chunk(LAST)]),
    ("in full, then its totals alone", [TEXT_CHUNK, make_usage_chunk(LAST), LAST_TEXT_CHUNK, make_usage_chunk({"prompt_tokens": 100, "completion_tokens": 7})]),
    ("in full, then one side", [TEXT_CHUNK, LAST_TEXT_CHUNK, make_usage_chunk(LAST), make_usage_chunk({"completion_tokens": 7}), make_usage_chunk({"prompt_tokens": 100})]),
    ("in full, then as nothing", [TEXT_CHUNK, LAST_TEXT_CHUNK, make_usage_chunk(LAST), make_usage_chunk(BLANK)]),
    ("in x_groq", [TEXT_CHUNK, {**LAST_TEXT_CHUNK, "x_groq": {"usage": LAST}}]),
    ("in the choice", [TEXT_CHUNK, {**LAST_TEXT_CHUNK, "choices": [{**LAST_TEXT_CHUNK["choices"][0], "usage": LAST}]}]),
    ("beside a comment that looks like usage", [TEXT_CHUNK, b': {"usage":{"prompt_tokens":9,"completion_tokens":9}}\n\n', LAST_TEXT_CHUNK, make_usage_chunk(LAST)]),
]  # fmt: skip


@pytest.mark.parametrize(
    "chunks", [chunks for _, chunks in PLACES], ids=[name for name, _ in PLACES]
)
def test_usage_counts_once_wherever_it_stands(chunks: list[Object | bytes]) -> None:
    assert inspect(*chunks).usage == USED
    assert read_translated(sse(*chunks)) == USED


def test_the_last_service_tier_counts() -> None:
    """The first chunk may repeat the tier that was requested, and the last the tier that served."""
    first, last = (
        {**TEXT_CHUNK, "service_tier": "flex"},
        {**make_usage_chunk(LAST), "service_tier": "default"},
    )
    assert inspect(first, LAST_TEXT_CHUNK, last).usage == USED
    late = {**make_usage_chunk(LAST), "service_tier": "priority"}
    assert inspect({**TEXT_CHUNK, "service_tier": "auto"}, LAST_TEXT_CHUNK, late).usage == Usage(
        input=20, cache_read=80, output=7, service="priority"
    )
    assert inspect(
        {**TEXT_CHUNK, "service_tier": "priority"}, LAST_TEXT_CHUNK, make_usage_chunk(LAST)
    ).usage == Usage(input=20, cache_read=80, output=7, service="priority")


def test_the_service_tier_of_a_cut_stream_is_known() -> None:
    """The price depends on the tier, whatever the token count."""
    cut = sse({**TEXT_CHUNK, "service_tier": "flex"}, TEXT_CHUNK, done=False)
    inspector = OPENAI_CHAT.inspect_stream(ask(stream=True))
    inspector.feed(cut)
    assert inspector.usage == Usage(service="flex")
    assert read_translated(cut) == Usage(service="flex")


@given(
    st.builds(
        Usage,
        input=st.integers(0, 10**6),
        cache_read=st.none() | st.integers(0, 10**6),
        cache_write=st.dictionaries(st.just(""), st.integers(1, 10**6)),
        output=st.integers(0, 10**6),
        reasoning=st.none() | st.integers(0, 10**6),
    )
)
def test_written_usage_reads_as_the_same_usage(used: Usage) -> None:
    written = usage.write_usage(used)
    assert written is not None
    assert usage.read(written) == used


CONTENTS: list[tuple[Object, int]] = [
    ({"content": "abc"}, 3),
    ({"content": "h\u00e9\U0001f600"}, 7),
    ({"content": None}, 0),
    ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "ab"}]}, {"type": "text", "text": "c"}]}, 3),
    ({"content": {"answer": 4}}, 12),
    ({"content": "a", "reasoning_content": "bc", "reasoning": "bc"}, 3),
    ({"reasoning": "bc", "reasoning_details": [{"type": "reasoning.text", "text": "bc"}]}, 2),
    ({"reasoning_details": [{"type": "reasoning.text", "text": "bc"}, {"type": "reasoning.encrypted", "data": "AAAA"}]}, 2),
    ({"reasoning_text": "abc"}, 3),
    ({"refusal": "no"}, 2),
    ({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}, 3),
    ({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": {"a": 1}}}]}, 8),
    ({"tool_calls": [{"index": 0, "custom": {"name": "f", "input": "text"}}]}, 5),
    ({"function_call": {"name": "f", "arguments": "{}"}}, 3),
    ({"audio": {"id": "x", "transcript": "said", "data": "QUJD"}}, 4),
]  # fmt: skip


@pytest.mark.parametrize(("message", "size"), CONTENTS)
def test_the_content_of_a_delta_and_of_a_message_is_counted(message: Object, size: int) -> None:
    inspector = inspect(chunk({"role": "assistant", "content": ""}), chunk(message))
    assert inspector.content_bytes == size
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert OPENAI_CHAT.summarize(json.dumps(whole).encode()).content_bytes == size


def test_the_content_is_counted_the_same_wherever_reads_end() -> None:
    """Several frames in a read, half a frame, JSON's optional space and comments change nothing."""
    stream = sse(
        TEXT_CHUNK,
        b": ping\n\n",
        b"data:\ndata: " + json.dumps(TEXT_CHUNK).encode() + b"\n\n",
        LAST_TEXT_CHUNK,
        make_usage_chunk(LAST),
    )
    for size in (1, 7, 50, 10**6):
        inspector = OPENAI_CHAT.inspect_stream(ask(stream=True))
        for at in range(0, len(stream), size):
            inspector.feed(stream[at : at + size])
        assert inspector.content_bytes == 3


def test_a_repeated_message_is_counted_once() -> None:
    """Perplexity repeats the whole message so far with each delta, and ends with an empty delta."""
    first = {"index": 0, "delta": {"content": "ab"}, "message": {"content": "ab"}}
    second = {"index": 0, "delta": {"content": "cd"}, "message": {"content": "abcd"}}
    assert inspect({"choices": [first]}, {"choices": [second]}).content_bytes == 4
    whole = {"choices": [{"index": 0, "delta": {"content": ""}, "message": {"content": "abcd"}}]}
    assert OPENAI_CHAT.summarize(json.dumps(whole).encode()).content_bytes == 4
    stream = {"choices": [{"index": 0, "message": {"content": "abcd"}}, {"index": 1}]}
    assert inspect(stream).content_bytes == 4


def test_malformed_content_counts_nothing() -> None:
    assert OPENAI_CHAT.summarize(b'{"choices":[{"message":7}]}').content_bytes == 0
    assert inspect({"choices": None}, {"choices": [{"delta": 7}]}).content_bytes == 0
