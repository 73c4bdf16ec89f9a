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
    found: RequestBody = READ(body, path)
    return found


def test_contents_alone_go_on_as_they_came() -> None:
    body = read(raw(x=1))
    written = COUNT_TOKENS.write(body, target("m"))
    assert written.body is body.raw
    assert written.url_suffix == "/models/m:countTokens"
    assert (body.prompt.user, body.prompt.model) == ("hi", "m")


def test_a_whole_request_names_its_model_within() -> None:
    body = read(inner(model="models/m", tools=[{"functionDeclarations": [{"name": "f"}]}]))
    assert body.prompt.tools == ("f",)
    assert COUNT_TOKENS.write(body, target("m")).body is body.raw
    other = sent(COUNT_TOKENS.write(body, target("other")))
    assert other["generateContentRequest"]["model"] == "models/other"
    bare = read(inner())
    assert COUNT_TOKENS.write(bare, target("other")).body is bare.raw


def test_without_a_path_the_body_names_the_model() -> None:
    body = read(raw(model="models/x"), "")
    assert body.prompt.model == "x"
    assert sent(COUNT_TOKENS.write(body, target("y"))) == {"contents": HI}
    assert read(inner(model="models/x"), "").prompt.model == "x"


def test_another_method_is_none_of_this() -> None:
    with pytest.raises(ProblemError, match="generateContent"):
        read(raw(), "models/m:generateContent")


def test_a_number_costs_nothing() -> None:
    assert COUNT_TOKENS.summarize(b'{"totalTokens": 12}').usage == Usage(input=0, output=0)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"error":{"code":429}}', b'{"candidates":[{}]}'])  # fmt: skip
def test_anything_else_is_a_problem(body: bytes) -> None:
    problem = COUNT_TOKENS.summarize(body).problem
    assert problem is not None
    assert problem.kind.startswith("upstream_")


def test_a_number_is_told_as_google_tells_it() -> None:
    assert COUNT_TOKENS.write_token_count is not None
    assert COUNT_TOKENS.summarize(COUNT_TOKENS.write_token_count(7)).problem is None
    assert COUNT_TOKENS.write_token_count(7) == b'{"totalTokens":7}'


def test_what_a_count_cannot_say_in_another_dialect_is_named() -> None:
    part = {"text": "a", "videoMetadata": {"fps": 2}}
    body = read(json.dumps({"generateContentRequest": {"contents": [{"parts": [part]}]}}).encode())
    (lost,) = translation.decode_request(COUNT_TOKENS, body).lost_members
    assert lost.path == "generateContentRequest.contents.parts.videoMetadata"
