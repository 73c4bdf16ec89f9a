"""Embeddings of Gemini, single and batched: native bytes, and translated."""

import json
from typing import Any

import pytest

from gateway.core.canonical_request import Foreign, Text
from gateway.core.errors import ProblemError
from gateway.core.events import End, Failed, Finish, Opaque, Start, UsageUpdate
from gateway.core.loss import Loss
from gateway.core.target import ModelFacts
from gateway.core.usage import Usage
from gateway.dialects import compatibility, embeddings, translation
from gateway.dialects.base import RequestBody, ResponseContext
from gateway.dialects.embeddings import EmbeddingsRequest
from gateway.dialects.gemini import EMBEDDINGS
from tests.dialects.gemini.cases import target

TRANSLATION = translation.get_translation(EMBEDDINGS)
ONE, MANY = "models/m:embedContent", "models/m:batchEmbedContents"
TEXT: Any = {"parts": [{"text": "hi"}]}
READ: Any = EMBEDDINGS.read_with_path


def read(value: Any, path: str = ONE) -> RequestBody:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    found: RequestBody = READ(raw, path)
    return found


def many(*asks: Any) -> RequestBody:
    return read({"requests": list(asks)}, MANY)


def test_one_content_is_read() -> None:
    body = read({"content": TEXT, "task_type": "X"}, "models/tuned/m:embedContent")
    prompt = body.prompt
    assert (prompt.model, prompt.user, prompt.chars) == ("tuned/m", "hi", 2)
    assert prompt.members == {"content", "taskType"}


def test_all_contents_of_a_batch_are_read() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": ""}}
    prompt = many({"content": TEXT}, {"content": {"parts": [{"text": "you"}, image]}}).prompt
    assert (prompt.user, prompt.chars, prompt.images) == ("hi\nyou", 5, 1)


@pytest.mark.parametrize(
    ("value", "path", "param"),
    [
        ({}, ONE, "content"),
        ({"content": "hi"}, ONE, "content"),
        ({"content": TEXT}, MANY, "requests"),
        ({"requests": {"content": TEXT}}, MANY, "requests"),
        ({"requests": [3]}, MANY, "requests"),
        ({"requests": [{}]}, MANY, "content"),
        ({"content": TEXT}, "", "model"),
        ({"content": TEXT}, "models/m:generateContent", None),
    ],
)
def test_what_is_no_request_is_refused_with_its_field(
    value: Any, path: str, param: str | None
) -> None:
    with pytest.raises(ProblemError) as error:
        read(value, path)
    assert error.value.problem.param == param


def test_one_content_keeps_its_bytes() -> None:
    body = read(b'{ "content":{"parts":[{"text":"hi"}]}, "x": 1.50 }')
    written = EMBEDDINGS.write(body, target("m"))
    assert written.body is body.raw
    assert written.url_suffix == "/models/m:embedContent"
    named = read(b'{ "model" : "models/m", "content":{"parts":[]}, "x": 1.50 }')
    assert EMBEDDINGS.write(named, target("m")).body is named.raw
    other = EMBEDDINGS.write(named, target("n"))
    assert other.body == b'{"model":"models/n","content":{"parts":[]},"x":1.50}'
    assert other.url_suffix == "/models/n:embedContent"


def test_a_batch_changes_only_where_it_names_another_model() -> None:
    raw = (
        b'{ "requests": [{"model":"models/m", "content": {"parts":[]}, "x": 1.50},'
        b' { "content": {"parts": [] } }] }'
    )
    body = read(raw, MANY)
    assert EMBEDDINGS.write(body, target("m")).body is body.raw
    other = EMBEDDINGS.write(body, target("models/n"))
    assert other.url_suffix == "/models/n:batchEmbedContents"
    assert other.body == (
        b'{"requests":[{"model":"models/n","content":{"parts":[]},"x":1.50},'
        b'{ "content": {"parts": [] } }]}'
    )


def test_what_a_target_refuses_is_left_out_of_every_request() -> None:
    refusing = target("m", facts=ModelFacts(refused_members=frozenset({"autoTruncate"})))
    body = many({"content": TEXT, "auto_truncate": True}, {"content": TEXT, "auto_truncate": True})
    written = EMBEDDINGS.write(body, refusing)
    assert json.loads(written.body) == {"requests": [{"content": TEXT}] * 2}
    assert written.losses == (Loss("auto_truncate", "dropped", f"{refusing.name} refuses it"),)
    alone = EMBEDDINGS.write(read({"content": TEXT, "autoTruncate": True}), refusing)
    assert json.loads(alone.body) == {"content": TEXT}


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"embedding": {"values": [1]}}', None),
        (b'{"embeddings": [], "usageMetadata": {"promptTokenCount": 8}}', 8),
        (b'{"embeddings": [], "usageMetadata": {}}', None),
    ],
)
def test_usage_is_input_where_it_is_told(body: bytes, usage: int | None) -> None:
    seen = EMBEDDINGS.summarize(body)
    assert seen.usage == (None if usage is None else Usage(input=usage, output=0))
    assert (seen.finish, seen.problem) == ("stop", None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"x", "upstream_error"),
        (b"{}", "upstream_error"),
        (b'{"embeddings": null}', "upstream_error"),
        (b'{"error": {"code": 429, "message": "no"}}', "upstream_rate_limited"),
    ],
)
def test_a_200_without_vectors_is_a_problem(body: bytes, kind: str) -> None:
    problem = EMBEDDINGS.summarize(body).problem
    assert problem is not None
    assert problem.kind == kind
    assert TRANSLATION.decode_response(body) == [Failed(problem)]


def test_a_batch_is_decoded_as_one_request() -> None:
    lines = {"parts": [{"text": "a"}, {"text": "b"}]}
    asked = embeddings.expect_embeddings(
        TRANSLATION.decode_request(
            many(
                {"content": TEXT, "outputDimensionality": 2, "taskType": "X"},
                {"content": lines, "output_dimensionality": 2},
            )
        )
    )
    assert embeddings.list_inputs(asked) == ["hi", "a\nb"]
    assert (asked.dimensions, asked.wants_single_vector, asked.extra_members) == (
        2,
        False,
        {"taskType": "X"},
    )
    assert embeddings.expect_embeddings(
        TRANSLATION.decode_request(read({"content": TEXT}))
    ).wants_single_vector


def test_what_openai_cannot_be_asked_is_refused_there() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": ""}}
    pictured = TRANSLATION.decode_request(read({"content": {"parts": [{"text": "a"}, image, {}]}}))
    assert [type(part) for part in pictured.turns[0].parts] == [Text, Foreign, Foreign]
    sized = TRANSLATION.decode_request(
        many({"content": TEXT, "outputDimensionality": 2}, {"content": TEXT})
    )
    for asked in (pictured, sized):
        assert compatibility.check_request(asked, "openai-chat")[1]


def test_one_text_is_asked_alone_and_several_in_a_batch() -> None:
    asked = TRANSLATION.decode_request(many({"content": TEXT}, {"content": TEXT}))
    said = TRANSLATION.encode_request(asked, target("models/m"))
    assert said.value == {"requests": [{"model": "models/m", "content": TEXT}] * 2}
    inner = read({"model": "models/m", **said.value}, "")
    written = EMBEDDINGS.write(inner, target("m"))
    assert json.loads(written.body) == said.value
    assert written.url_suffix == "/models/m:batchEmbedContents"
    one = TRANSLATION.encode_request(
        TRANSLATION.decode_request(read({"content": TEXT, "outputDimensionality": 2})), target()
    )
    assert one.value == {"content": TEXT, "outputDimensionality": 2}
    assert one.client_names["outputDimensionality"] == "outputDimensionality"
    assert read({"model": "m", **one.value}, "").prompt.model == "m"


@pytest.mark.parametrize("single", [True, False])
def test_an_answer_is_told_as_it_was_asked(single: bool) -> None:
    rows = [{"values": [1.0]}]
    usage = {"promptTokenCount": 4}
    value = {"embedding": rows[0]} if single else {"embeddings": rows}
    events = TRANSLATION.decode_response(json.dumps({**value, "usageMetadata": usage}).encode())
    assert events == [
        Start(),
        Opaque(name="embedding", source=[1.0]),
        UsageUpdate(Usage(input=4, output=0)),
        Finish(reason="stop", word="stop"),
        End(),
    ]
    telling = ResponseContext(
        id="c",
        created_at=1,
        model="m",
        request=EmbeddingsRequest(turns=(), wants_single_vector=single),
    )
    assert json.loads(TRANSLATION.encode_response(events, telling)) == {
        **value,
        "usageMetadata": usage,
    }
    bare = [event for event in events if not isinstance(event, UsageUpdate)]
    assert json.loads(TRANSLATION.encode_response(bare, telling)) == value


@pytest.mark.parametrize("row", [3, {}, {"values": "x"}, {"values": [None]}])
def test_what_is_no_list_of_numbers_fails_abroad(row: Any) -> None:
    (failed,) = TRANSLATION.decode_response(json.dumps({"embeddings": [row]}).encode())
    assert isinstance(failed, Failed)


def test_modalities_of_vectors_are_told_apart() -> None:
    """The member's name has no s in answers of embedContent."""
    details = [{"modality": "TEXT", "tokenCount": 2}, {"modality": "VIDEO", "tokenCount": 66}]
    told = {"promptTokenCount": 68, "promptTokenDetails": details}
    seen = EMBEDDINGS.summarize(json.dumps({"embedding": {}, "usageMetadata": told}).encode())
    assert seen.usage == Usage(input=68, output=0, media={"input_video": 66})
