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
    body: RequestBody = READ(raw, path)
    return body


def read_batch(*asks: Any) -> RequestBody:
    return read({"requests": list(asks)}, MANY)


def test_the_gateway_reads_a_single_content() -> None:
    body = read({"content": TEXT, "task_type": "X"}, "models/tuned/m:embedContent")
    prompt = body.prompt
    assert (prompt.model, prompt.user, prompt.chars) == ("tuned/m", "hi", 2)
    assert prompt.members == {"content", "taskType"}


def test_the_gateway_reads_all_contents_of_a_batch() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": ""}}
    prompt = read_batch({"content": TEXT}, {"content": {"parts": [{"text": "you"}, image]}}).prompt
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
def test_an_invalid_request_is_refused_with_its_field(
    value: Any, path: str, param: str | None
) -> None:
    with pytest.raises(ProblemError) as error:
        read(value, path)
    assert error.value.problem.param == param


def test_a_single_content_keeps_its_bytes_except_for_another_model() -> None:
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


def test_a_refused_member_is_removed_from_every_request_of_a_batch() -> None:
    refusing = target("m", facts=ModelFacts(refused_members=frozenset({"autoTruncate"})))
    body = read_batch(
        {"content": TEXT, "auto_truncate": True}, {"content": TEXT, "auto_truncate": True}
    )
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
def test_embeddings_report_only_input_tokens(body: bytes, usage: int | None) -> None:
    summary = EMBEDDINGS.summarize(body)
    assert summary.usage == (None if usage is None else Usage(input=usage, output=0))
    assert (summary.finish, summary.problem) == ("stop", None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"x", "upstream_error"),
        (b"{}", "upstream_error"),
        (b'{"embeddings": null}', "upstream_error"),
        (b'{"error": {"code": 429, "message": "no"}}', "upstream_rate_limited"),
    ],
)
def test_an_answer_without_vectors_fails(body: bytes, kind: str) -> None:
    problem = EMBEDDINGS.summarize(body).problem
    assert problem is not None
    assert problem.kind == kind
    assert TRANSLATION.decode_response(body) == [Failed(problem)]


def test_a_batch_decodes_to_one_request() -> None:
    lines = {"parts": [{"text": "a"}, {"text": "b"}]}
    request = embeddings.expect_embeddings(
        TRANSLATION.decode_request(
            read_batch(
                {"content": TEXT, "outputDimensionality": 2, "taskType": "X"},
                {"content": lines, "output_dimensionality": 2},
            )
        )
    )
    assert embeddings.list_inputs(request) == ["hi", "a\nb"]
    assert (request.dimensions, request.wants_single_vector, request.extra_members) == (
        2,
        False,
        {"taskType": "X"},
    )
    assert embeddings.expect_embeddings(
        TRANSLATION.decode_request(read({"content": TEXT}))
    ).wants_single_vector


def test_embeddings_of_pictures_and_mixed_sizes_refuse_other_dialects() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": ""}}
    pictured = TRANSLATION.decode_request(read({"content": {"parts": [{"text": "a"}, image, {}]}}))
    assert [type(part) for part in pictured.turns[0].parts] == [Text, Foreign, Foreign]
    sized = TRANSLATION.decode_request(
        read_batch({"content": TEXT, "outputDimensionality": 2}, {"content": TEXT})
    )
    for request in (pictured, sized):
        assert compatibility.check_request(request, "openai-chat")[1]


def test_one_text_is_encoded_alone_and_several_as_a_batch() -> None:
    request = TRANSLATION.decode_request(read_batch({"content": TEXT}, {"content": TEXT}))
    encoded = TRANSLATION.encode_request(request, target("models/m"))
    assert encoded.value == {"requests": [{"model": "models/m", "content": TEXT}] * 2}
    inner = read({"model": "models/m", **encoded.value}, "")
    written = EMBEDDINGS.write(inner, target("m"))
    assert json.loads(written.body) == encoded.value
    assert written.url_suffix == "/models/m:batchEmbedContents"
    single = TRANSLATION.encode_request(
        TRANSLATION.decode_request(read({"content": TEXT, "outputDimensionality": 2})), target()
    )
    assert single.value == {"content": TEXT, "outputDimensionality": 2}
    assert single.client_names["outputDimensionality"] == "outputDimensionality"
    assert read({"model": "m", **single.value}, "").prompt.model == "m"


@pytest.mark.parametrize("single", [True, False])
def test_an_answer_has_the_form_that_the_client_asked_for(single: bool) -> None:
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
    context = ResponseContext(
        id="c",
        created_at=1,
        model="m",
        request=EmbeddingsRequest(turns=(), wants_single_vector=single),
    )
    assert json.loads(TRANSLATION.encode_response(events, context)) == {
        **value,
        "usageMetadata": usage,
    }
    bare = [event for event in events if not isinstance(event, UsageUpdate)]
    assert json.loads(TRANSLATION.encode_response(bare, context)) == value


@pytest.mark.parametrize("row", [3, {}, {"values": "x"}, {"values": [None]}])
def test_a_vector_that_is_no_list_of_numbers_fails_in_translation(row: Any) -> None:
    (failed,) = TRANSLATION.decode_response(json.dumps({"embeddings": [row]}).encode())
    assert isinstance(failed, Failed)


def test_embedding_usage_counts_each_modality() -> None:
    """The member's name has no s in answers of embedContent."""
    details = [{"modality": "TEXT", "tokenCount": 2}, {"modality": "VIDEO", "tokenCount": 66}]
    reported = {"promptTokenCount": 68, "promptTokenDetails": details}
    summary = EMBEDDINGS.summarize(
        json.dumps({"embedding": {}, "usageMetadata": reported}).encode()
    )
    assert summary.usage == Usage(input=68, output=0, media={"input_video": 66})
