"""Test batch files: what is read of their requests, and when the gateway gives up."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import batch_file
from gateway.core.batch_file import (
    MAX_LINE_BYTES,
    BatchFileFacts,
    BatchFileReader,
    BatchModelFacts,
)
from gateway.core.jsonio import Json


def line(body: Json, url: str = "/v1/chat/completions") -> bytes:
    return json.dumps({"custom_id": "1", "method": "POST", "url": url, "body": body}).encode()


def gemini(**request: Json) -> bytes:
    return json.dumps({"key": "1", "request": {"contents": [], **request}}).encode()


def read_file(data: bytes, *cuts: int) -> BatchFileFacts:
    reader, last = BatchFileReader(), 0
    for cut in [*sorted(cuts), len(data)]:
        reader.feed(data[last:cut])
        last = max(last, cut)
    return reader.finish()


def read_one(data: bytes) -> BatchModelFacts:
    facts = read_file(data)
    assert facts.problem == ""
    (only,) = facts.models.values()
    return only


LINES = (
    line({"model": "a", "messages": [], "max_tokens": 10, "n": 3}),
    line({"model": "a", "messages": [], "max_tokens": 10, "max_completion_tokens": 50}),
    line({"model": "é", "input": ""}, "/v1/embeddings"),
)
FILE = b"\n".join([LINES[0], b"", LINES[1] + b"\r", LINES[2]])


@given(cuts=st.lists(st.integers(0, len(FILE)), max_size=9), ends=st.sampled_from([b"", b"\n\r\n"]))
def test_a_file_is_read_however_it_is_cut(cuts: list[int], ends: bytes) -> None:
    facts = read_file(FILE + ends, *cuts)
    bodies = [len(json.dumps(json.loads(item)["body"])) for item in LINES]
    assert facts == BatchFileFacts(
        size=len(FILE + ends),
        models={
            "a": BatchModelFacts(
                requests=2,
                prompt_bytes=bodies[0] + bodies[1],
                largest_bytes=max(bodies[:2]),
                answers=4,
                capped_tokens=30 + 50,
            ),
            "é": BatchModelFacts(
                requests=1,
                prompt_bytes=bodies[2],
                largest_bytes=bodies[2],
                answers=1,
                uncapped_answers=1,
            ),
        },
    )


@pytest.mark.parametrize(
    ("data", "capped", "uncapped"),
    [
        (line({"model": "a", "max_output_tokens": 9}, "/v1/responses"), 9, 0),
        (line({"model": "a", "max_tokens": 9}, "/v1/responses"), 0, 1),
        (line({"model": "a", "max_output_tokens": 9}), 0, 1),
        (line({"model": "a", "max_tokens": None, "n": 4, "best_of": 2}), 0, 4),
        (line({"model": "a", "max_tokens": 9, "best_of": 5}, "/v1/completions"), 45, 0),
        (line({"model": "a", "max_tokens": 0, "n": 0}), 0, 0),
        (gemini(), 0, 1),
        (gemini(generationConfig={"maxOutputTokens": 9, "candidateCount": 2}), 18, 0),
        (gemini(generation_config={"max_output_tokens": 9, "candidate_count": 3}), 27, 0),
        (gemini(maxOutputTokens=9), 0, 1),
    ],
)
def test_only_the_cap_of_the_api_counts(data: bytes, capped: int, uncapped: int) -> None:
    """A provider may ignore what is not its own, so that is no cap."""
    facts = read_one(data)
    assert (facts.capped_tokens, facts.uncapped_answers) == (capped, uncapped)


def chat(*parts: Json, **more: Json) -> bytes:
    return line({"model": "a", "messages": [{"role": "user", "content": [*parts]}], **more})


@pytest.mark.parametrize(
    ("data", "images", "unsized", "ids"),
    [
        (chat({"type": "text", "text": '{"image_url": "file_id": ""}'}), 0, 0, []),
        (chat({"type": "image_url", "image_url": {"url": "http://a"}}), 1, 0, []),
        (line({"model": "a", "input": [{"type": "input_image", "image_url": "http://a"}]}), 1, 0, []),
        (chat({"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}), 0, 0, []),
        (chat({"type": "file", "file": {"file_id": "file-1"}}), 0, 1, ["file-1"]),
        (chat({"type": "file", "file": {"file_data": "x"}}), 0, 1, []),
        (chat({"type": "video_url", "video_url": {"url": "http://a"}}), 0, 1, []),
        (chat(web_search_options={}), 0, 1, []),
        (chat(tools=[{"type": "function"}, {"type": "custom"}]), 0, 0, []),
        (chat(tools=[{"type": "function"}, {"type": "web_search"}]), 0, 1, []),
        (chat(tools=[{"type": []}]), 0, 1, []),
        (chat(tools=["x"]), 0, 1, []),
        (chat(tools={}), 0, 1, []),
        (line({"model": "a", "prompt": {"id": "pmpt_1"}}, "/v1/responses"), 0, 1, []),
        (line({"model": "a", "prompt": "text"}, "/v1/completions"), 0, 0, []),
        (line({"model": "a", "previous_response_id": "resp_1"}, "/v1/responses"), 0, 1, ["resp_1"]),
        (line({"model": "a", "conversation": "conv_1"}, "/v1/responses"), 0, 1, ["conv_1"]),
        (line({"model": "a", "input": [{"type": "item_reference", "id": "msg_1"}]}, "/v1/responses"), 0, 1, ["msg_1"]),
        (line({"model": "a", "input": [{"id": "msg_1"}]}, "/v1/responses").replace(b'"id"', b'"i\\u0064"'), 0, 1, ["msg_1"]),
        (line({"model": "a", "input": [{"type": "message", "id": "msg_1"}, "x"]}, "/v1/responses"), 0, 0, []),
        (chat().replace(b'"text"', b'"te\\u0078t"').replace(b"[]", b'["\\u0061"]'), 0, 1, []),
        (gemini(contents=[{"fileData": {"fileUri": "files/1"}}]), 0, 1, ["files/1"]),
        (gemini(cachedContent="cachedContents/1"), 0, 1, ["cachedContents/1"]),
        (gemini(contents=[{"inlineData": {"mimeType": "image/png", "data": "x"}}]), 1, 0, []),
        (gemini(contents=[{"inline_data": {"mime_type": "audio/wav", "data": "x"}}]), 1, 0, []),
        (gemini(contents=[{"inlineData": {"mimeType": "application/pdf", "data": "x"}}]), 1, 1, []),
        (gemini(tools=[{"functionDeclarations": []}]), 0, 0, []),
        (gemini(tools=[{"googleSearch": {}}]), 0, 1, []),
    ],
)  # fmt: skip
def test_what_a_prompt_has_beside_text_is_counted(
    data: bytes, images: int, unsized: int, ids: list[str]
) -> None:
    facts = read_file(data)
    (only,) = facts.models.values()
    assert (only.images, only.unsized_requests, facts.object_ids) == (images, unsized, ids)
    assert facts.problem == ""


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"[]",
        b"%PDF-1.7",
        b'{"custom_id": "1"}',
        b'{"body": {"model": "a"}, "request": {}}',
        b'{"body": 1}',
        b'{"body": {"model": null}}',
        b'{"body": {"model": 1}}',
        b'{"body": {"model": "a"}, "body": {"model": "b"}}',
        b'{"body": {"model": "a", "max_tokens": 1, "max_tokens": 9}}',
        b'{"body": {"model": "a", "max_tokens": "9"}}',
        b'{"body": {"model": "a", "max_tokens": -9}}',
        b'{"body": {"model": "a", "n": 1.5}}',
        b'{"body": {"model": "a", "n": true}}',
        b'{"request": {"generationConfig": {}, "generation_config": {}}}',
        b'{"request": {"generationConfig": {"maxOutputTokens": 1, "maxOutputTokens": 2}}}',
    ],
)
def test_the_gateway_gives_up_at_a_line_that_is_no_request(bad: bytes) -> None:
    reader = BatchFileReader()
    reader.feed(LINES[0] + b"\n" + bad + b"\n" + LINES[0] + b"\n")
    reader.feed(LINES[0])
    facts = reader.finish()
    assert facts.problem == "Line 2 of the file is no request of a batch."
    assert facts.models["a"].requests == 1
    assert facts.size == 3 * len(LINES[0]) + len(bad) + 3


def test_images_and_sounds_are_counted() -> None:
    image = {"type": "image_url", "image_url": {"url": "http://a"}}
    sound = {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}
    facts = read_file(chat(image, image) + b"\n" + chat(image, sound))
    only = facts.models["a"]
    assert (only.images, only.most_images, only.sounds, only.unsized_requests) == (3, 2, 1, 0)


def test_the_gateway_gives_up_at_a_hidden_id() -> None:
    hidden = b'{"body": {"model": "a", "file\\u005fid": "file-1"}}'
    assert read_file(hidden).problem.startswith(
        "Line 1 of the file names objects in a way that the gateway cannot read: A member"
    )


@pytest.mark.parametrize("size", [100_000, MAX_LINE_BYTES + 1])
def test_the_gateway_gives_up_at_a_long_line(size: int) -> None:
    reader = BatchFileReader()
    reader.feed(LINES[0] + b"\n")
    for _ in range(MAX_LINE_BYTES // size + 1):
        reader.feed(b" " * size)
    assert reader.finish().problem == "Line 2 of the file has more than 10,000,000 bytes."


def test_a_long_line_that_comes_whole_is_long_too() -> None:
    assert read_file(b" " * (MAX_LINE_BYTES + 1) + b"\n").problem == (
        "Line 1 of the file has more than 10,000,000 bytes."
    )
    assert read_file(b" " * MAX_LINE_BYTES + b"\n").problem == "The file has no request."


def test_models_and_objects_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_file, "_MAX_IDS", 2)
    many = b"\n".join(line({"model": f"m{number}"}) for number in range(101))
    assert read_file(many).problem == (
        "Line 101 of the file is for more than 100 models together with those before it."
    )
    files = [chat({"type": "file", "file": {"file_id": f"file-{item}"}}) for item in "aabcd"]
    facts = read_file(b"\n".join(files))
    assert facts.problem == (
        "Line 4 of the file names more than 2 objects together with those before it."
    )
    assert facts.object_ids == ["file-a", "file-b", "file-c"]


def test_a_batch_may_name_its_model_elsewhere() -> None:
    facts = read_file(b'{"custom_id": "1", "body": {"max_tokens": 9}}')
    assert facts.models[""].capped_tokens == 9


def test_an_empty_file_is_no_batch() -> None:
    assert read_file(b"").problem == "The file has no request."
    assert read_file(b"\n \n").problem == "The file has no request."


def test_the_gateway_gives_up_at_a_line_with_too_many_values() -> None:
    """A line has room for five million values, which would hold the event loop."""
    facts = read_file(line({"model": "a", "messages": [], "x": [1] * 400_000}))
    assert facts.problem == (
        "Line 1 of the file has more than 400,000 JSON values, or more than 10,000,000 bytes of"
        " strings with escapes or with characters outside of ASCII."
    )
