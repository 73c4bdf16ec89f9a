"""Whole answers at a glance: what accounting needs, and what is no answer although it came with 200."""

import pytest

from gateway.core.usage import Usage
from gateway.dialects import OPENAI_CHAT, Glance

GLANCE = OPENAI_CHAT.glance


def test_an_answer() -> None:
    body = (
        b'{"id":"x","object":"chat.completion","model":"m-2026-01-01","choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}'
    )
    expected = Glance(usage=Usage(input=5, output=2), served="m-2026-01-01", finish="stop", heard=0)
    assert GLANCE(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[]}',
        b'{"choices":[7]}',
        b'{"choices":[{"finish_reason":null}],"model":null}',
        b'{"choices":[{"finish_reason":7}],"model":7,"usage":null}',
        b'\n    \n{"choices":[{}],"error":null}',
    ],
)
def test_what_is_not_told_is_not_known(body: bytes) -> None:
    assert GLANCE(body) == Glance()


def test_an_answer_beside_an_error_is_an_answer() -> None:
    """Clients read its choices."""
    assert GLANCE(b'{"choices":[{"finish_reason":"error"}],"error":{"code":502}}').problem is None


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", "upstream_error", "not JSON"),
        (b"   ", "upstream_error", "not JSON"),
        (b"<!DOCTYPE html><html></html>", "upstream_error", "not JSON"),
        (b'{"choices":[{"index"', "upstream_error", "not JSON"),
        (b"[]", "upstream_error", "not a JSON object"),
        (b'"ok"', "upstream_error", "not a JSON object"),
        (b"{}", "upstream_error", "without choices"),
        (b'{"choices":null}', "upstream_error", "without choices"),
        (b'{"choices":{"0":{}}}', "upstream_error", "without choices"),
        (b'{"object":"error","message":"no"}', "upstream_error", "without choices"),
        (b'{"error":{"code":502,"message":"down"}}', "upstream_error", "error in place of"),
        (b'{"error":{"code":429}}', "upstream_rate_limited", "error in place of"),
        (b'{"error":"down","choices":[]}', "upstream_error", "error in place of"),
    ],
)
def test_what_is_no_answer(body: bytes, kind: str, words: str) -> None:
    """SDKs would hand their caller an object without choices, and say nothing."""
    problem = GLANCE(body).problem
    assert problem is not None
    assert (problem.kind, problem.spent) == (kind, "maybe")
    assert words in problem.message


def test_an_error_that_is_the_request_s_own_goes_on_as_it_came() -> None:
    body = b'\n \n{"error":{"message":"no","code":400}}'
    problem = GLANCE(body).problem
    assert problem is not None
    assert (problem.kind, problem.http_status, problem.body) == ("upstream_rejected", 400, body)
