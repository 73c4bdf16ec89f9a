"""The facts of a stream are the same in all ways in which the gateway reads it."""

import json

import pytest

from gateway.core.usage import Usage
from tests.cache.recorded import DONE, STREAMS, USAGE_FRAME
from tests.dialects.cases import Object, chunk, make_usage_chunk, sse
from tests.dialects.members.openai_chat_answers import SAMPLES
from tests.dialects.openai_chat.stream_facts import (
    inspect,
    inspect_in_full,
    summarize,
    translate,
)

_COUNTS = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
_USED = Usage(input=5, output=2)
_TEXT = chunk({"content": "a"})
_ERROR: Object = {"error": {"message": "x", "code": 502}}
CANNED = {
    **{name: body + USAGE_FRAME + DONE for name, body in STREAMS.items()},
    **{f"sample {at}": sse(*frames) for at, frames in enumerate(SAMPLES.streams)},
    "no end": sse(_TEXT, done=False),
    "no done": sse(_TEXT, chunk(finish="stop"), done=False),
    "no finish": sse(_TEXT),
    "no answer": sse(chunk()),
    "counted in each chunk": sse(chunk({"content": "a"}, usage=_COUNTS), chunk(finish="stop")),
    "a tier in a late chunk": sse(_TEXT, chunk(finish="stop", service_tier="flex")),
    "a tier and counts": sse(
        chunk({"content": "a"}, service_tier="flex"),
        chunk(finish="stop"),
        make_usage_chunk(_COUNTS),
    ),
    "an error": sse(_TEXT, _ERROR),
    "an error that counts": sse(_TEXT, {**chunk(finish="error"), "usage": _COUNTS}),
    "an error first": sse({**chunk(), **_ERROR, "usage": _COUNTS}),
    "an error alone": sse(_ERROR),
    "a broken frame": sse(_TEXT, b"data: {broken\n\n"),
    "half a frame": sse(_TEXT, b'data: {"choices', done=False),
}


@pytest.mark.parametrize("size", [0, 1, 40])
@pytest.mark.parametrize("body", CANNED.values(), ids=CANNED)
def test_the_quick_reader_finds_the_same_facts_as_the_full_reader(
    body: bytes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inspect(body, size) == inspect_in_full(body, monkeypatch, size)


@pytest.mark.parametrize("body", CANNED.values(), ids=CANNED)
def test_a_translated_stream_has_the_facts_of_the_native_one(body: bytes) -> None:
    assert translate(body) == inspect(body)[0]


@pytest.mark.parametrize(
    "name", ["an error that counts", "an error first", "counted in each chunk"]
)
def test_usage_beside_an_error_counts(name: str) -> None:
    assert translate(CANNED[name]).usage == inspect(CANNED[name])[0].usage == _USED


WHOLE: dict[str, Object] = {
    **{f"sample {at}": answer for at, answer in enumerate(SAMPLES.answers)},
    "an error": _ERROR,
    "an error that counts": {**_ERROR, "id": "c1", "model": "m-1", "usage": _COUNTS},
    "a tier alone": {**SAMPLES.answers[1], "service_tier": "flex"},
}


@pytest.mark.parametrize("answer", WHOLE.values(), ids=WHOLE)
def test_a_translated_answer_has_the_facts_of_the_native_one(answer: Object) -> None:
    native, translated = summarize(json.dumps(answer).encode())
    assert native == translated
