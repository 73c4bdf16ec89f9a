"""Token counts: contents alone or a whole request, an answer that is a number, and no cost."""

import json
from typing import Any

import pytest

from gateway.core.errors import ProblemError
from gateway.core.usage import Usage
from gateway.dialects import translation
from gateway.dialects.base import RequestBody
from gateway.dialects.gemini import COUNT_TOKENS
from tests.dialects.gemini.cases import HI, raw, sent, target

PATH = "models/m:countTokens"
READ: Any = COUNT_TOKENS.read


def inner(**more: Any) -> bytes:
    return json.dumps({"generateContentRequest": {"contents": HI, **more}}).encode()


def read(body: bytes, path: str = PATH) -> RequestBody:
    request: RequestBody = READ(body, path)
    return request


def test_a_count_of_contents_keeps_the_clients_bytes() -> None:
    body = read(raw(x=1))
    written = COUNT_TOKENS.write(body, target("m"))
    assert written.body is body.raw
    assert written.url_suffix == "/models/m:countTokens"
    assert (body.prompt.user, body.prompt.model) == ("hi", "m")


def test_a_count_of_a_whole_request_names_its_model_inside() -> None:
    body = read(inner(model="models/m", tools=[{"functionDeclarations": [{"name": "f"}]}]))
    assert body.prompt.tools == ("f",)
    assert COUNT_TOKENS.write(body, target("m")).body is body.raw
    other = sent(COUNT_TOKENS.write(body, target("other")))
    assert other["generateContentRequest"]["model"] == "models/other"
    bare = read(inner())
    assert COUNT_TOKENS.write(bare, target("other")).body is bare.raw


def test_a_count_without_a_path_names_the_model_in_the_body() -> None:
    body = read(raw(model="models/x"), "")
    assert body.prompt.model == "x"
    assert sent(COUNT_TOKENS.write(body, target("y"))) == {"contents": HI}
    assert read(inner(model="models/x"), "").prompt.model == "x"


def test_another_method_is_refused() -> None:
    with pytest.raises(ProblemError, match="generateContent"):
        read(raw(), "models/m:generateContent")


def test_a_token_count_costs_nothing() -> None:
    assert COUNT_TOKENS.summarize(b'{"totalTokens": 12}').usage == Usage(input=0, output=0)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"error":{"code":429}}', b'{"candidates":[{}]}'])  # fmt: skip
def test_an_answer_without_a_number_fails(body: bytes) -> None:
    problem = COUNT_TOKENS.summarize(body).problem
    assert problem is not None
    assert problem.kind.startswith("upstream_")


def test_a_token_count_is_written_in_googles_form() -> None:
    assert COUNT_TOKENS.write_token_count is not None
    assert COUNT_TOKENS.summarize(COUNT_TOKENS.write_token_count(7)).problem is None
    assert COUNT_TOKENS.write_token_count(7) == b'{"totalTokens":7}'


def test_a_member_without_an_equivalent_is_named_with_its_full_path() -> None:
    part = {"text": "a", "videoMetadata": {"fps": 2}}
    body = read(json.dumps({"generateContentRequest": {"contents": [{"parts": [part]}]}}).encode())
    (lost,) = translation.decode_request(COUNT_TOKENS, body).lost_members
    assert lost.path == "generateContentRequest.contents.parts.videoMetadata"
