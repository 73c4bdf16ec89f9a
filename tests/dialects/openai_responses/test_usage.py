"""The Responses API: usage of every kind, whole and streamed, and counted content."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage
from gateway.dialects.base import StreamInspector
from gateway.dialects.openai_responses import DIALECT, TRANSLATION, usage
from tests.dialects.cases import Object
from tests.dialects.openai_responses.cases import USAGE

BODY = DIALECT.read(b'{"model":"m","input":"hi","stream":true}')
COUNTED: Object = {"input_tokens": 100, "output_tokens": 7, "total_tokens": 107}
SEARCH: Object = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}  # fmt: skip
VECTORS: list[tuple[str, Object, Usage]] = [
    (
        "cached and written are in the input, reasoning is in the output",
        {"usage": {"input_tokens": 1000, "output_tokens": 300, "total_tokens": 1300, "output_tokens_details": {"reasoning_tokens": 200},
                   "input_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 300, "cache_write_tokens_details": {"ttl_30m_tokens": 200, "ttl_12h_tokens": 100}}},
         "service_tier": "default"},
        Usage(input=100, cache_read=600, cache_write={"30m": 200, "12h": 100}, output=100, reasoning=200),
    ),
    ("xAI: reasoning beside", {"usage": {**COUNTED, "total_tokens": 137, "output_tokens_details": {"reasoning_tokens": 30}}}, Usage(input=100, output=7, reasoning=30)),
    (
        "a total that shows reasoning inside, although more is told of it than of the output",
        {"usage": {**COUNTED, "output_tokens_details": {"reasoning_tokens": 9}}},
        Usage(input=100, output=0, reasoning=7),
    ),
    (
        "no total: reasoning that is far more than the output is beside it",
        {"usage": {"input_tokens": 100, "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 30}}},
        Usage(input=100, output=7, reasoning=30),
    ),
    (
        "images and audio in, audio out",
        {"usage": {**COUNTED, "input_tokens_details": {"image_tokens": 30, "audio_tokens": 5, "text_tokens": 65}, "output_tokens_details": {"audio_tokens": 4}}},
        Usage(input=100, output=7, media={"input_image": 30, "input_audio": 5, "output_audio": 4}),
    ),
    ("a priority", {"usage": COUNTED, "service_tier": "priority"}, Usage(input=100, output=7, service="priority")),
    ("a search", {"usage": COUNTED, "output": [SEARCH]}, Usage(input=100, output=7, tools={"web_search": 1})),
    (
        "searches, and pages that were opened; a discounted one is billed as none",
        {"usage": COUNTED, "output": [SEARCH, {**SEARCH, "id": "ws_2"}, {**SEARCH, "id": "ws_3", "action": {"type": "open_page"}}], "tool_usage": {"web_search": {"num_requests": 1}}},
        Usage(input=100, output=7, tools={"web_search": 1}),
    ),
    (
        "searches that were all discounted",
        {"usage": COUNTED, "output": [SEARCH], "tool_usage": {"web_search": {"num_requests": 0}}},
        Usage(input=100, output=7),
    ),
    (
        "pages that were opened, and a search that failed",
        {"usage": COUNTED, "output": [{**SEARCH, "action": {"type": "open_page"}}, {**SEARCH, "id": "ws_2", "status": "failed"}]},
        Usage(input=100, output=7),
    ),
    (
        "files, and pictures",
        {"usage": COUNTED, "output": [{"type": "file_search_call", "id": "a"}, {"type": "file_search_call"}, {"type": "image_generation_call", "id": "c", "result": "AAAA"}]},
        Usage(input=100, output=7, tools={"file_search": 2, "image_generation": 1}),
    ),
    (
        "images are billed by the tokens of their model, where they are told",
        {"usage": COUNTED, "output": [{"type": "image_generation_call", "id": "c", "result": "AAAA"}], "tools": [7, {"type": "web_search", "model": "x"}, {"type": "image_generation", "model": "gpt-image-2"}],
         "tool_usage": {"image_gen": {"input_tokens": 60, "input_tokens_details": {"image_tokens": 50, "text_tokens": 10}, "output_tokens": 400, "output_tokens_details": {"image_tokens": 400, "text_tokens": 0}, "total_tokens": 460}}},
        Usage(input=100, output=7, tools={"gpt-image-2:input": 10, "gpt-image-2:input_image": 50, "gpt-image-2:output_image": 400}),
    ),
    (
        "tokens of images of a model that nobody names",
        {"usage": COUNTED, "tools": {}, "tool_usage": {"image_gen": {"output_tokens": 400, "total_tokens": 400, "input_tokens": None}}},
        Usage(input=100, output=7, tools={"image_generation:output": 400}),
    ),
    (
        "code is billed by the container",
        {"usage": COUNTED, "output": [{"type": "code_interpreter_call", "id": letter, "container_id": "cntr_1"} for letter in "abc"]},
        Usage(input=100, output=7, tools={"code_interpreter": 1}),
    ),
    ("tools that are free", {"usage": COUNTED, "output": [{"type": "mcp_call", "id": "a"}, {"type": "local_shell_call"}, {"type": 7}, 7]}, Usage(input=100, output=7)),
    (
        "xAI counts them itself, and tells what it billed",
        {"usage": {**COUNTED, "cost_in_usd_ticks": 161508500, "num_server_side_tools_used": 2,
                   "server_side_tool_usage_details": {"web_search_calls": 2, "x_search_calls": 0, "mcp_calls": 3}}, "output": [SEARCH]},
        Usage(input=100, output=7, tools={"web_search": 2}, billed=Decimal("0.0161508500")),
    ),
    ("OpenRouter", {"usage": {**COUNTED, "cost": 0.0001, "is_byok": False}}, Usage(input=100, output=7, billed=Decimal("0.0001"))),
]  # fmt: skip


def frame(kind: str, **more: object) -> bytes:
    return f"event: {kind}\ndata: ".encode() + json.dumps({"type": kind, **more}).encode() + b"\n\n"


def response(members: Object, status: str = "completed") -> Object:
    blank: Object = {"id": "resp_1", "object": "response", "model": "m-1", "created_at": 1}
    return {**blank, "status": status, "output": [], **members}


def stream(members: Object, *frames: bytes, begun: Object | None = None) -> bytes:
    first = response(begun or {"usage": None}, "in_progress")
    middle = frames or (frame("response.output_text.delta", output_index=0, delta="ab"),)
    last = frame("response.completed", response=response(members))
    return b"".join([frame("response.created", response=first), *middle, last])


def inspect(data: bytes) -> StreamInspector:
    inspector = DIALECT.inspect_stream(BODY)
    for part in data.split(b"\n\n"):
        inspector.feed(part + b"\n\n" if part else b"")
    inspector.end()
    return inspector


def read_translated(data: bytes) -> Usage | None:
    decoder = TRANSLATION.make_decoder()
    events = [*decoder.feed(data), *decoder.end()]
    return [event.usage for event in events if hasattr(event, "usage")][-1]


@pytest.mark.parametrize(
    ("members", "expected"), [v[1:] for v in VECTORS], ids=[str(v[0]) for v in VECTORS]
)
def test_usage_reads_the_same_whole_streamed_translated_and_folded(
    members: Object, expected: Usage
) -> None:
    """Usage is the same whole and streamed; a tool in both an item and the end counts once."""
    assert DIALECT.summarize(json.dumps(response(members)).encode()).usage == expected
    items = [
        frame("response.output_item.done", output_index=at, item=item)
        for at, item in enumerate(members.get("output", ()))
        if isinstance(item, dict)
    ]
    text = frame("response.output_text.delta", output_index=9, delta="ab")
    for data in (stream(members), stream(members, text, *items)):
        assert inspect(data).usage == expected
        assert read_translated(data) == expected
        assert DIALECT.summarize(DIALECT.fold(data)).usage == expected


def test_tools_count_if_the_last_event_lists_no_output() -> None:
    """Codex's provider leaves the output out; no tool counts twice."""
    item = frame("response.output_item.done", output_index=0, item=SEARCH)
    data = stream({"usage": COUNTED}, item, item)
    assert inspect(data).usage == Usage(input=100, output=7, tools={"web_search": 1})
    assert read_translated(data) == Usage(input=100, output=7, tools={"web_search": 1})


def test_the_usage_of_a_cut_stream_has_its_tools_and_requested_tier() -> None:
    """The gateway knows the tools that the stream used, and the requested service tier."""
    item = frame("response.output_item.done", output_index=0, item=SEARCH)
    data = stream({}, item, begun={"service_tier": "flex"}).split(b"event: response.completed")[0]
    inspector = inspect(data)
    assert (
        inspector.usage == read_translated(data) == Usage(service="flex", tools={"web_search": 1})
    )
    assert not inspector.complete


def test_the_last_event_names_the_tier_that_served() -> None:
    for requested, served, tier in (("flex", "default", None), ("auto", "priority", "priority")):
        data = stream({"usage": COUNTED, "service_tier": served}, begun={"service_tier": requested})
        assert inspect(data).usage == Usage(input=100, output=7, service=tier)
        assert read_translated(data) == Usage(input=100, output=7, service=tier)


@given(
    st.builds(
        Usage,
        input=st.integers(0, 10**6),
        cache_read=st.integers(0, 10**6),
        cache_write=st.dictionaries(st.sampled_from(["", "30m", "12h"]), st.integers(1, 10**6)),
        output=st.integers(0, 10**6),
        reasoning=st.integers(0, 10**6),
        tools=st.sampled_from([{}, {"web_search": 2}]),
        service=st.sampled_from([None, "flex", "priority"]),
    )
)
def test_written_usage_reads_as_the_same_usage(used: Usage) -> None:
    members = {"usage": usage.write(used), **usage.write_other_members(used)}
    read = usage.read_response(members)
    assert read is not None
    assert (read.prompt, read.completion) == (used.prompt, used.completion)
    assert (read.input, read.cache_read) == (used.input, used.cache_read)
    assert (read.output, read.reasoning) == (used.output, used.reasoning)
    assert sum(read.cache_write.values()) == sum(used.cache_write.values())
    assert (read.tools, read.service) == (used.tools, used.service)


def test_usage_without_a_word_in_the_dialect_is_left_out() -> None:
    assert usage.write_other_members(None) == {}
    assert usage.write_other_members(Usage(service="fast+us", tools={"x_search": 1})) == {}


ITEMS: list[tuple[Object, int]] = [
    ({"type": "message", "content": [{"type": "output_text", "text": "h\u00e9"}, {"type": "refusal", "refusal": "no"}]}, 5),
    ({"type": "reasoning", "summary": [{"type": "summary_text", "text": "ab"}], "content": [{"text": "abc"}]}, 2),
    ({"type": "reasoning", "summary": [], "content": [{"text": "abc"}], "encrypted_content": "AAAA"}, 3),
    ({"type": "function_call", "name": "f", "arguments": "{}"}, 3),
    ({"type": "custom_tool_call", "name": "f", "input": "text"}, 5),
    ({"type": "code_interpreter_call", "code": "a=1", "outputs": [{"logs": "found"}]}, 3),
    ({"type": "web_search_call", "action": {"type": "search", "query": "q", "sources": [{"url": "x"}]}}, 29),
    ({"type": "apply_patch_call", "operation": {"diff": "x"}}, 12),
    ({"type": "image_generation_call", "result": "AAAA"}, 0),
]  # fmt: skip


@pytest.mark.parametrize(("item", "size"), ITEMS)
def test_the_content_of_an_item_is_counted(item: Object, size: int) -> None:
    """Hosts may stream no deltas, or send items only at the end."""
    assert (
        DIALECT.summarize(json.dumps(response({"output": [item]})).encode()).content_bytes == size
    )
    done = frame("response.output_item.done", output_index=0, item=item)
    added = frame("response.output_item.added", output_index=0, item=item)
    assert inspect(stream({}, added, done)).content_bytes == size
    assert inspect(stream({"output": [item]}, added)).content_bytes == size


def test_content_of_deltas_is_not_counted_again_in_the_finished_item() -> None:
    item = {"type": "message", "content": [{"type": "output_text", "text": "abcd"}]}
    frames = [
        frame("response.output_text.delta", output_index=0, delta="ab"),
        frame("response.output_text.delta", output_index=0, delta="cd"),
        frame("response.output_text.done", output_index=0, text="abcd"),
        frame("response.output_item.done", output_index=0, item=item),
    ]
    data = stream({"output": [item], "usage": COUNTED}, *frames)
    assert inspect(data).content_bytes == 4
    inspector = DIALECT.inspect_stream(BODY)
    inspector.feed(data)
    assert inspector.content_bytes == 4


def test_items_without_content_count_nothing() -> None:
    assert DIALECT.summarize(json.dumps(response({"output": [7]})).encode()).content_bytes == 0
    odd = frame("response.output_item.done", output_index=0, item=7)
    assert inspect(stream({}, odd)).content_bytes == 0


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (None, None),
        ({}, None),
        ({"input_tokens": 3}, Usage(input=3)),
        ({"output_tokens": 3}, Usage(output=3)),
        (
            {"input_tokens": 9, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 12}},
            Usage(input=0, cache_read=9, output=1),
        ),
        (
            {"input_tokens": 9, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 4}},
            Usage(input=0, cache_read=8, cache_write={"": 1}, output=1),
        ),
        (
            {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 9, "cache_write_tokens": 4}},
            Usage(input=0, cache_read=9),
        ),
        (
            {
                "input_tokens": 20,
                "input_tokens_details": {
                    "cache_write_tokens": 9,
                    "cache_write_tokens_details": {"ttl_30m_tokens": 4, "ttl_12h_tokens": 3},
                },
                "output_tokens": 0,
            },
            Usage(input=11, cache_write={"30m": 4, "12h": 3, "": 2}, output=0),
        ),
        # A host that leaves reasoning out of its output includes it in the total.
        (
            {"input_tokens": 1, "output_tokens": 5, "total_tokens": 9, "output_tokens_details": {"reasoning_tokens": 3}},
            Usage(input=1, output=5, reasoning=3),
        ),
        (
            {"input_tokens": 1, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 3}},
            Usage(input=1, output=2, reasoning=3),
        ),
    ],
)  # fmt: skip
def test_usage_reads_in_five_token_classes(reported: Object, expected: Usage) -> None:
    assert usage.read(reported) == expected


@pytest.mark.parametrize("written", [{}, {"": 3}, {"30m": 4, "12h": 3}])
def test_written_usage_of_every_cache_class_reads_as_the_same_usage(
    written: dict[str, int],
) -> None:
    used = Usage(input=7, cache_read=2, cache_write=written, output=4, reasoning=1)
    assert usage.read(usage.write(used)) == used
    assert usage.write(usage.read(USAGE)) == USAGE


@pytest.mark.parametrize("partial", [None, Usage(input=3), Usage(output=3)])
def test_partial_usage_is_not_written(partial: Usage | None) -> None:
    assert usage.write(partial) is None
