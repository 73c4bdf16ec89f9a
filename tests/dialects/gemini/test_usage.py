"""Usage, whole and streamed, read and written, and the bytes of content that count."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage
from gateway.dialects.base import StreamInspector
from gateway.dialects.gemini import DIALECT, TRANSLATION, usage
from tests.dialects.cases import Object
from tests.dialects.gemini.cases import USED

BODY = b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}'
COUNTED: Object = {"promptTokenCount": 100, "candidatesTokenCount": 7, "totalTokenCount": 107}
SEARCHED: Object = {"groundingMetadata": {"webSearchQueries": ["one", "", "two", "one", 7]}}
VECTORS: list[tuple[str, Object, Object, Usage]] = [
    (
        "cached is in the prompt, thoughts are beside the candidates, the tier is the standard one",
        {"promptTokenCount": 1000, "cachedContentTokenCount": 900, "candidatesTokenCount": 50, "thoughtsTokenCount": 30,
         "totalTokenCount": 1080, "serviceTier": "standard", "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1000}]},
        {},
        Usage(input=100, cache_read=900, output=50, reasoning=30),
    ),
    (
        "what tools brought is part of the input",
        {"promptTokenCount": 20, "toolUsePromptTokenCount": 112, "candidatesTokenCount": 5, "totalTokenCount": 137},
        {},
        Usage(input=132, output=5),
    ),
    ("nothing came out", {"promptTokenCount": 20, "thoughtsTokenCount": 9, "totalTokenCount": 29}, {}, Usage(input=20, output=0, reasoning=9)),
    (
        "a total that shows thoughts inside the candidates",
        {**COUNTED, "thoughtsTokenCount": 5},
        {},
        Usage(input=100, output=2, reasoning=5),
    ),
    (
        "a total that shows thoughts inside, although more is told of them than of the candidates",
        {**COUNTED, "thoughtsTokenCount": 9},
        {},
        Usage(input=100, output=0, reasoning=7),
    ),
    (
        "audio, images and video in, an image out; documents are text",
        {**COUNTED, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}, {"modality": "AUDIO", "tokenCount": 20},
                                            {"modality": "VIDEO", "tokenCount": 30}, {"modality": "IMAGE", "tokenCount": 15}, {"modality": "DOCUMENT", "tokenCount": 10}],
         "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 9}],
         "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 7}]},
        {},
        Usage(input=100, output=7, media={"input_audio": 20, "input_video": 30, "input_image": 15, "output_image": 7}),
    ),
    (
        "modalities as numbers, one that is not known, and what a tool brought",
        {"promptTokenCount": 20, "toolUsePromptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 35,
         "promptTokensDetails": [{"modality": 4, "tokenCount": 3}, {"modality": 1, "tokenCount": 1}, {"modality": 9, "tokenCount": 2}, {"modality": "SMELL", "tokenCount": 1}],
         "toolUsePromptTokensDetails": [{"modality": "IMAGE", "tokenCount": 10}]},
        {},
        Usage(input=30, output=5, media={"input_audio": 3, "input_other": 3, "input_image": 10}),
    ),
    ("flex", {**COUNTED, "serviceTier": "flex"}, {}, Usage(input=100, output=7, service="flex")),
    ("Vertex on demand", {**COUNTED, "trafficType": "ON_DEMAND"}, {}, Usage(input=100, output=7)),
    ("Vertex on demand, as a number", {**COUNTED, "trafficType": 1}, {}, Usage(input=100, output=7)),
    ("Vertex priority", {**COUNTED, "trafficType": "ON_DEMAND_PRIORITY"}, {}, Usage(input=100, output=7, service="priority")),
    ("Vertex flex", {**COUNTED, "trafficType": "ON_DEMAND_FLEX"}, {}, Usage(input=100, output=7, service="flex")),
    ("Vertex reserved", {**COUNTED, "trafficType": "PROVISIONED_THROUGHPUT"}, {}, Usage(input=100, output=7, service="provisioned")),
    ("Vertex reserved, as a number", {**COUNTED, "trafficType": 2}, {}, Usage(input=100, output=7, service="provisioned")),
    ("Vertex, unsaid", {**COUNTED, "trafficType": "TRAFFIC_TYPE_UNSPECIFIED"}, {}, Usage(input=100, output=7)),
    ("a number that is not known", {**COUNTED, "trafficType": 9}, {}, Usage(input=100, output=7, service="9")),
    ("searches, by the query and by the prompt", COUNTED, SEARCHED, Usage(input=100, output=7, tools={"web_search": 2, "grounding": 1})),
    (
        "pictures and maps",
        COUNTED,
        {"groundingMetadata": {"imageSearchQueries": ["a"], "groundingChunks": [{"web": {}}, {"maps": {"uri": "x"}}, {"maps": {}}]}},
        Usage(input=100, output=7, tools={"web_search": 1, "grounding": 1, "google_maps": 1}),
    ),
    ("grounding that searched nothing", COUNTED, {"groundingMetadata": {"webSearchQueries": "x", "groundingChunks": [{"web": {}}]}}, Usage(input=100, output=7)),
]  # fmt: skip


def chunk(text: str | None, reported: Object | None = None, **more: object) -> Object:
    content: Object = {"parts": [] if text is None else [{"text": text}], "role": "model"}
    value: Object = {"candidates": [{"content": content, **more}], "modelVersion": "m-1"}
    return value if reported is None else {**value, "usageMetadata": reported}


def sse(*chunks: Object) -> bytes:
    return b"".join([b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks])


def inspect(*chunks: Object) -> StreamInspector:
    assert DIALECT.read_with_path is not None
    inspector = DIALECT.inspect_stream(
        DIALECT.read_with_path(BODY, "/v1beta/models/m:streamGenerateContent")
    )
    for value in chunks:
        inspector.feed(sse(value))
    inspector.end()
    return inspector


def read_translated(*chunks: Object) -> Usage | None:
    decoder = TRANSLATION.make_decoder()
    events = [*decoder.feed(sse(*chunks)), *decoder.end()]
    return [event.usage for event in events if hasattr(event, "usage")][-1]


@pytest.mark.parametrize(
    ("reported", "more", "expected"), [v[1:] for v in VECTORS], ids=[str(v[0]) for v in VECTORS]
)
def test_usage_reads_the_same_whole_listed_streamed_and_folded(
    reported: Object, more: Object, expected: Usage
) -> None:
    """Usage is the same whole, as a list of chunks, and in a stream that begins with a part."""
    last = chunk("b", reported, finishReason="STOP", **more)
    assert DIALECT.summarize(json.dumps(last).encode()).usage == expected
    first = chunk("a", {"promptTokenCount": reported["promptTokenCount"], "totalTokenCount": 3})
    for chunks in ([last], [first, last], [chunk("a", reported, **more), last]):
        assert DIALECT.summarize(json.dumps(chunks).encode()).usage == expected
        assert inspect(*chunks).usage == expected
        assert read_translated(*chunks) == expected
        assert DIALECT.summarize(DIALECT.fold(sse(*chunks))).usage == expected


FULL: Object = {"promptTokenCount": 100, "cachedContentTokenCount": 80, "candidatesTokenCount": 7}
FULL_USAGE = Usage(input=20, cache_read=80, output=7)
END: Object = {"finishReason": "STOP"}
PLACES: list[list[Object]] = [
    [chunk("a"), chunk("b", FULL, **END)],
    [chunk("a", FULL), chunk("b", FULL, **END)],
    [chunk("a", {**FULL, "candidatesTokenCount": n}) for n in (1, 3)] + [chunk("b", FULL, **END)],
    [chunk("a", {**FULL, "candidatesTokenCount": 9}), chunk("b", FULL, **END)],
    [chunk("a", FULL), chunk("b", **END)],
    [chunk("a"), chunk("b", **END), {"usageMetadata": FULL}],
    [chunk("a", FULL), chunk("b", {"promptTokenCount": 100, "candidatesTokenCount": 7}, **END)],
    [chunk("a", FULL), chunk("b", {"promptTokenCount": 100}, **END)],
    [chunk("a", FULL), chunk("b", {"promptTokenCount": 0, "candidatesTokenCount": 0}, **END)],
]


@pytest.mark.parametrize("chunks", PLACES)
def test_usage_counts_once_wherever_it_stands(chunks: list[Object]) -> None:
    assert inspect(*chunks).usage == FULL_USAGE
    assert read_translated(*chunks) == FULL_USAGE


def test_tools_count_before_tokens_are_reported() -> None:
    """Tools count in a cut stream and in chunks that the inspector skips. A repeat counts once."""
    tool_counts = {"web_search": 2, "grounding": 1}
    assert inspect(chunk("a"), chunk("b", **SEARCHED)).usage == Usage(tools=tool_counts)
    whole = [chunk("a"), chunk("b", **SEARCHED), chunk("c", COUNTED, **END, **SEARCHED)]
    for chunks in (whole, [*whole[:2], chunk("c", COUNTED, **END)]):
        assert inspect(*chunks).usage == Usage(input=100, output=7, tools=tool_counts)
        assert read_translated(*chunks) == Usage(input=100, output=7, tools=tool_counts)


def test_the_running_totals_of_a_cut_stream_count() -> None:
    inspector = inspect(chunk("a", FULL), chunk("b", {**FULL, "candidatesTokenCount": 9}))
    assert (inspector.usage, inspector.complete) == (
        Usage(input=20, cache_read=80, output=9),
        False,
    )
    assert inspector.content_bytes == 2


@given(
    st.builds(
        Usage,
        input=st.integers(0, 10**6),
        cache_read=st.none() | st.integers(0, 10**6),
        output=st.integers(0, 10**6),
        reasoning=st.none() | st.integers(0, 10**6),
        service=st.sampled_from([None, "flex", "priority"]),
    )
)
def test_written_usage_reads_as_the_same_usage(used: Usage) -> None:
    """Gemini has no word for cache writes, which are input here."""
    assert usage.read(usage.write(used), ended=True) == used


PARTS: list[tuple[Object, int]] = [
    ({"text": "h\u00e9"}, 3),
    ({"text": 'a"b\\\n'}, 5),
    ({"text": "ab", "thought": True}, 2),
    ({"text": "", "thoughtSignature": "AAAA"}, 0),
    ({"functionCall": {"name": "f", "args": {"a": 1}}}, 8),
    ({"functionCall": {"name": "f"}}, 1),
    ({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a"}]}}, 21),
    ({"executableCode": {"language": "PYTHON", "code": "a=1"}}, 3),
    ({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}, 0),
]


@pytest.mark.parametrize(("part", "size"), PARTS)
def test_the_content_of_a_part_is_counted(part: Object, size: int) -> None:
    """The size is the same before and after the commit, streamed, whole, and in joined reads."""
    content = {"content": {"parts": [part], "role": "model"}}
    chunk_: Object = {"candidates": [content], "modelVersion": "m-1"}
    assert inspect(chunk_).content_bytes == size
    assert inspect(chunk("xyz"), chunk_, chunk_).content_bytes == 3 + 2 * size
    assert DIALECT.summarize(json.dumps(chunk_).encode()).content_bytes == size
    assert DIALECT.summarize(json.dumps([chunk_, chunk_]).encode()).content_bytes == 2 * size
    both = {"candidates": [{"content": {"parts": [part, part], "role": "model"}}]}
    assert inspect(chunk("xyz"), both).content_bytes == 3 + 2 * size


def test_a_part_without_text_counts_nothing() -> None:
    odd: Object = {"candidates": [{"content": {"parts": [{"kind": "text", "text": None}]}}]}
    assert inspect(chunk("xyz"), odd).content_bytes == 3
    for body in (
        b'{"candidates":[{"content":{"parts":[7]}}]}',
        b'{"candidates":[{"content":null},{}]}',
    ):
        assert DIALECT.summarize(body).content_bytes == 0
    assert inspect({"promptFeedback": {"blockReason": "SAFETY"}}).content_bytes == 0
    assert (
        inspect(chunk("xyz"), {"candidates": [{"content": {"parts": [{"text": 1}]}}]}).content_bytes
        == 3
    )


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (USED, Usage(input=5, output=2)),
        ({**USED, "cachedContentTokenCount": 3, "thoughtsTokenCount": 4, "totalTokenCount": 11}, Usage(input=2, cache_read=3, output=2, reasoning=4)),
        ({**USED, "toolUsePromptTokenCount": 10}, Usage(input=15, output=2)),
        ({"promptTokenCount": 5, "cachedContentTokenCount": 9}, Usage(input=0, cache_read=5)),
        ({"promptTokenCount": 5, "thoughtsTokenCount": 4, "totalTokenCount": 9}, Usage(input=5, output=0, reasoning=4)),
        ({"promptTokenCount": 5, "totalTokenCount": 5}, Usage(input=5, output=0)),
        ({"promptTokenCount": 5, "totalTokenCount": 9}, Usage(input=5)),
        ({"candidatesTokenCount": 2}, Usage(output=2)),
        ({"totalTokenCount": 2}, None), ({}, None), (None, None),
    ],
)  # fmt: skip
def test_usage_reads_in_five_token_classes(reported: Any, expected: Usage | None) -> None:
    assert usage.read(reported, ended=True) == expected


def test_missing_output_is_unknown_before_the_end() -> None:
    assert usage.read({"promptTokenCount": 5, "totalTokenCount": 5}, ended=False) == Usage(input=5)


@pytest.mark.parametrize(
    "used",
    [
        Usage(input=1, cache_read=2, output=3, reasoning=4),
        Usage(input=1, output=0),
        Usage(input=1),
        Usage(output=1),
    ],
)
def test_partial_usage_survives_writing_and_reading(used: Usage) -> None:
    assert usage.read(usage.write(used), ended=True) == used


def test_cache_writes_are_part_of_the_prompt() -> None:
    written = usage.write(Usage(input=1, cache_write={"5m": 2}, output=3))
    assert written == {"promptTokenCount": 3, "candidatesTokenCount": 3, "totalTokenCount": 6}
