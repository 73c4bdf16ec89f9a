"""Whole answers at a glance: what accounting needs, and what is no answer although it came with 200."""

import pytest

from gateway.core.usage import Usage
from gateway.dialects import OPENAI_CHAT, ResponseSummary

GLANCE = OPENAI_CHAT.summarize


def test_an_answer() -> None:
    body = (
        b'{"id":"x","object":"chat.completion","model":"m-2026-01-01","choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}'
    )
    usage = Usage(input=5, output=2)
    expected = ResponseSummary(
        usage=usage, served_model="m-2026-01-01", response_id="x", finish="stop", complete=True
    )
    assert GLANCE(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":{"content":"a"},"finish_reason":null}],"model":null}',
        b'{"choices":[{"message":{"content":"a"},"finish_reason":7}],"model":7,"usage":null}',
        b'\n    \n{"choices":[{"message":{"content":"a"}}],"error":null}',
    ],
)
def test_what_is_not_told_is_not_known(body: bytes) -> None:
    """Such an answer is incomplete."""
    assert GLANCE(body) == ResponseSummary(content_bytes=1)


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"error":{"code":429}}',
        b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop","error":{"code":429}}]}',
        b'{"choices":[{"message":{"content":"a"}},{"finish_reason":"stop","error":{"code":429}}]}',
    ],
)
def test_an_error_beside_an_answer_fails_it(body: bytes) -> None:
    glance = GLANCE(body)
    assert glance.problem is not None
    assert (glance.problem.kind, glance.complete) == ("upstream_rate_limited", False)


@pytest.mark.parametrize(
    "word", ["error", "Network_Error", "insufficient_system_resource", "abort"]
)
def test_a_reason_may_say_that_it_failed(word: str) -> None:
    """With all that an answer usually has, and with less."""
    usage = b'"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}'
    choice = b'{"message":{"role":"assistant","content":"a"},"finish_reason":"%b"}' % word.encode()
    for body in (b'{"choices":[%b]}' % choice, b'{"choices":[%b],%b}' % (choice, usage)):
        glance = GLANCE(body)
        assert glance.problem is not None
        assert (glance.problem.kind, glance.complete) == ("upstream_error", False)


def test_an_answer_of_several_choices_is_complete_if_each_is() -> None:
    done = b'{"message":{"content":"a"},"finish_reason":"stop"}'
    assert GLANCE(b'{"choices":[%b,%b]}' % (done, done)).complete
    assert not GLANCE(b'{"choices":[%b,{"message":{"content":"b"}}]}' % done).complete


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
        (b'{"choices":[]}', "upstream_error", "without choices"),
        (b'{"choices":[7]}', "upstream_error", "without choices"),
        (
            b'{"choices":[{"message":{"content":"","audio":{"id":""}}}]}',
            "upstream_truncated",
            "without content",
        ),
        (b'{"object":"error","message":"no"}', "upstream_error", "error in place of"),
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
