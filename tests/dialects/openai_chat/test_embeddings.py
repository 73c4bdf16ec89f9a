"""Embeddings in OpenAI's shape: native ones byte for byte, and translated ones."""

import json
from typing import Any

import pytest

from gateway.core.canonical_request import CanonicalRequest, Foreign, Text
from gateway.core.errors import ProblemError
from gateway.core.events import End, Failed, Finish, Opaque, Start, UsageUpdate
from gateway.core.loss import Loss
from gateway.core.target import ModelFacts
from gateway.core.usage import Usage
from gateway.dialects import embeddings, translation
from gateway.dialects.base import ResponseContext
from gateway.dialects.embeddings import EmbeddingsRequest
from gateway.dialects.openai_chat import EMBEDDINGS
from tests.dialects.cases import target

TRANSLATION = translation.get_translation(EMBEDDINGS)
CONTEXT = ResponseContext(id="c", created_at=1, model="m")


def raw(**members: Any) -> bytes:
    return json.dumps({"model": "m", "input": "hi", **members}).encode()


@pytest.mark.parametrize(
    ("value", "chars", "user"),
    [
        ("one", 3, "one"),
        (["one", "fünf"], 7, "one\nfünf"),
        ([1, 2, 3], 12, ""),
        ([[1, 2], [3]], 12, ""),
        ([], 0, ""),
        ([{"text": "x"}], 0, ""),
    ],
)
def test_the_gateway_reads_every_form_of_input(value: Any, chars: int, user: str) -> None:
    prompt = EMBEDDINGS.read(raw(input=value, stream=True)).prompt
    assert (prompt.chars, prompt.user, prompt.stream) == (chars, user, False)
    assert prompt.members == {"model", "input", "stream"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"input": "hi"}', "model"),
        (b'{"model": "", "input": "hi"}', "model"),
        (b'{"model": "m"}', "input"),
        (b'{"model": "m", "input": 3}', "input"),
        (b"[]", None),
        (b"{", None),
    ],
)
def test_an_invalid_request_is_refused_with_its_field(body: bytes, param: str | None) -> None:
    with pytest.raises(ProblemError) as error:
        EMBEDDINGS.read(body)
    assert error.value.problem.param == param


def test_only_the_model_and_refused_members_change() -> None:
    body = EMBEDDINGS.read(b'{ "input":[1.50] , "model": "m", "user" :"u", "dimensions":  2 }')
    assert EMBEDDINGS.write(body, target("m")).body is body.raw
    other = EMBEDDINGS.write(
        body,
        target(
            "n",
            facts=ModelFacts(refused_members=frozenset({"user"})),
            provider_refused_members=frozenset(),
        ),
    )
    assert other.body == b'{"input":[1.50],"model":"n","dimensions":2}'
    assert other.losses == (Loss("user", "dropped", "here/n refuses it"),)
    assert EMBEDDINGS.explain_unfit(body.prompt, target()) == ""


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ('{"prompt_tokens": 8, "total_tokens": 8, "completion_tokens": 0}', 8),
        ('{"total_tokens": 3}', 3),
        ('{"prompt_tokens": 0, "total_tokens": 3}', 0),
        ("{}", None),
        ("null", None),
        ('{"prompt_tokens": -1}', None),
    ],
)
def test_embeddings_report_only_input_tokens(usage: str, expected: int | None) -> None:
    summary = EMBEDDINGS.summarize(f'{{"data": [{{}}], "usage": {usage}, "model": "s"}}'.encode())
    assert summary.usage == (None if expected is None else Usage(input=expected, output=0))
    assert (summary.served_model, summary.finish, summary.problem) == ("s", "stop", None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", "upstream_error"),
        (b"[]", "upstream_error"),
        (b"{}", "upstream_error"),
        (b'{"data": null}', "upstream_error"),
        (b'{"error": {"message": "no", "code": 429}}', "upstream_rate_limited"),
        (b'{"error": {"message": "no", "type": "invalid_request_error"}}', "upstream_rejected"),
    ],
)
def test_an_answer_without_vectors_fails(body: bytes, kind: str) -> None:
    problem = EMBEDDINGS.summarize(body).problem
    assert problem is not None
    assert problem.kind == kind
    assert TRANSLATION.decode_response(body) == [Failed(problem)]


def test_a_served_model_that_is_no_text_is_unknown() -> None:
    assert EMBEDDINGS.summarize(b'{"data": [], "model": 3}').served_model is None


def test_a_decoded_request_keeps_the_clients_members() -> None:
    request = embeddings.expect_embeddings(
        TRANSLATION.decode_request(
            EMBEDDINGS.read(
                raw(
                    input=["a", [1], {"image": "x"}],
                    dimensions=2,
                    encoding_format="base64",
                    user="u",
                    input_type="query",
                    output_dtype=None,
                )
            )
        )
    )
    parts = [part for turn in request.turns for part in turn.parts]
    assert parts == [
        Text(text="a", source="a"),
        Foreign(kind="tokens", source=[1]),
        Foreign(kind="object", source={"image": "x"}),
    ]
    assert (request.dimensions, request.wants_base64, request.user) == (2, True, "u")
    assert request.extra_members == {"input_type": "query"}
    bare = embeddings.expect_embeddings(
        TRANSLATION.decode_request(EMBEDDINGS.read(raw(dimensions="2", user=3)))
    )
    assert (bare.dimensions, bare.wants_base64, bare.user) == (None, False, None)


def test_a_request_of_another_dialect_asks_for_floats() -> None:
    request = embeddings.expect_embeddings(
        TRANSLATION.decode_request(EMBEDDINGS.read(raw(input=["a", "b"], dimensions=2)))
    )
    encoded = TRANSLATION.encode_request(request, target())
    assert encoded.value == {"input": ["a", "b"], "dimensions": 2}
    assert encoded.client_names == {"input": "input", "dimensions": "dimensions"}
    bare = TRANSLATION.encode_request(
        embeddings.expect_embeddings(TRANSLATION.decode_request(EMBEDDINGS.read(raw()))), target()
    )
    assert bare.value == {"input": ["hi"]}
    with pytest.raises(TypeError):
        TRANSLATION.encode_request(CanonicalRequest(turns=()), target())


def test_vectors_are_sorted_by_their_index() -> None:
    rows = [{"index": 1, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}]
    body = json.dumps({"data": rows, "model": "s", "usage": {"prompt_tokens": 4}}).encode()
    assert TRANSLATION.decode_response(body) == [
        Start(model="s"),
        Opaque(name="embedding", source=[2.0]),
        Opaque(name="embedding", source=[1.0]),
        UsageUpdate(Usage(input=4, output=0)),
        Finish(reason="stop", word="stop"),
        End(),
    ]


@pytest.mark.parametrize("row", ["3", '{"embedding": "AAAA"}', '{"embedding": ["x"]}', '{"embedding": [1e300]}', "{}"])  # fmt: skip
def test_a_vector_that_is_no_list_of_numbers_fails_in_translation(row: str) -> None:
    (failed,) = TRANSLATION.decode_response(f'{{"data": [{row}]}}'.encode())
    assert isinstance(failed, Failed)
    assert failed.problem.kind == "upstream_error"


@pytest.mark.parametrize(
    ("packed", "expected"), [(False, [1.0, -2.5]), (True, "AACAPwAAIMA=")], ids=["float", "base64"]
)
def test_the_client_gets_vectors_in_the_encoding_that_it_asked_for(
    packed: bool, expected: Any
) -> None:
    request = EmbeddingsRequest(turns=(), wants_base64=packed)
    context = ResponseContext(id="c", created_at=1, model="m", request=request)
    written = TRANSLATION.encode_response(
        embeddings.make_events([[1.0, -2.5]], Usage(input=4, output=0), None), context
    )
    assert json.loads(written) == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": expected}],
        "model": "m",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    unknown = json.loads(
        TRANSLATION.encode_response(embeddings.make_events([[1.0]], None, "s"), context)
    )
    assert (unknown["usage"], unknown["model"]) == (None, "s")


def test_embedding_usage_counts_each_modality() -> None:
    reported = {"prompt_tokens": 68, "prompt_tokens_details": {"image_tokens": 60}}
    summary = EMBEDDINGS.summarize(json.dumps({"data": [{}], "usage": reported}).encode())
    assert summary.usage == Usage(input=68, output=0, media={"input_image": 60})
