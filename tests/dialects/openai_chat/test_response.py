"""Whole answers: the facts for accounting, and bodies that are no answer despite status 200."""

from typing import Any

import pytest
from msgspec.structs import replace

from gateway.core.usage import Usage
from gateway.dialects import OPENAI_CHAT, ResponseSummary

SUMMARIZE = OPENAI_CHAT.summarize

WHOLE = (
    b'{"id":"x","object":"chat.completion","created":1763990000,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"hi","refusal":null,"annotations":[]},"logprobs":null,'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12,'
    b'"prompt_tokens_details":{"cached_tokens":2,"audio_tokens":0},"completion_tokens_details":'
    b'{"reasoning_tokens":3,"audio_tokens":0,"accepted_prediction_tokens":0,'
    b'"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp"}'
)
"""An answer with all members that OpenAI writes."""
WHOLE_USAGE = Usage(input=3, cache_read=2, output=4, reasoning=3)
WHOLE_SUMMARY = ResponseSummary(
    usage=WHOLE_USAGE, served_model="m", response_id="x", finish="stop", complete=True
)


def test_the_gateway_reads_usage_model_id_and_finish_of_an_answer() -> None:
    body = (
        b'{"id":"x","object":"chat.completion","model":"m-2026-01-01","choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}'
    )
    usage = Usage(input=5, output=2)
    expected = ResponseSummary(
        usage=usage, served_model="m-2026-01-01", response_id="x", finish="stop", complete=True
    )
    assert SUMMARIZE(body) == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"hi"', b'"hi"'),
        (b"1763990000", b"1.0"),
        (b'"model"', rb'"m\u006fdel"'),
        (b"[]}", b"[{}]}"),
        (b"fp", b"fp\x7f"),
        (b":5,", b":5.0,"),
        (b":12,", b":13,"),
        (b'"service_tier"', b'"timings":{},"service_tier"'),
    ],
)
def test_an_answer_reads_the_same_with_other_spellings_of_its_values(
    old: bytes, new: bytes
) -> None:
    assert SUMMARIZE(WHOLE.replace(old, new, 1)) == WHOLE_SUMMARY


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        (b'"model":"m"', b'"model":"m","model":7', {"served_model": None}),
        (b'"model":"m"', b'"model":7,"model":"n"', {"served_model": "n"}),
        (b'"id":"x"', b'"id":""', {"response_id": None}),
        (b'"default"', b'"Priority"', {"usage": replace(WHOLE_USAGE, service="priority")}),
        (b":5,", b":-0,", {"usage": replace(WHOLE_USAGE, input=0, cache_read=0)}),
        (b":5,", b":true,", {"usage": replace(WHOLE_USAGE, input=None), "content_bytes": 2}),
        (b'"finish_reason":"stop"', b'"finish_reason":""', {"finish": None, "complete": False}),
        (b'"finish_reason":"stop"', b'"finish_reason":null', {"finish": None, "complete": False}),
    ],
)
def test_another_value_of_a_member_changes_only_what_it_holds(
    old: bytes, new: bytes, changes: dict[str, Any]
) -> None:
    assert SUMMARIZE(WHOLE.replace(old, new, 1)) == replace(WHOLE_SUMMARY, **changes)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"hi"', b'"\xff"'), (b'"hi"', b'"\xed\xa0\x80"'), (b'"hi"', rb'"\ud800"'),
        (b'"hi"', rb'"\ud800\u0041"'), (b'"hi"', b'"\x01"'), (b'"hi"', b"1e999"), (b'"hi"', b"NaN"),
        (b"1763990000", b"1e999"), (b"1763990000", b"9" * 400), (b"1763990000", b"017"),
        (b'"id":"x"', b'"\xff":1'), (b'"id":"x"', rb'"\ud800":1'), (b"}", b"},"),
        (b'{"id', b'\xef\xbb\xbf{"id'), (b'"fp"}', b'"fp"}}'),
    ],
)  # fmt: skip
def test_an_answer_with_broken_json_anywhere_fails(old: bytes, new: bytes) -> None:
    """Clients cannot read such an answer either."""
    summary = SUMMARIZE(WHOLE.replace(old, new))
    assert summary.problem is not None
    assert "not JSON" in summary.problem.message
    assert summary == ResponseSummary(problem=summary.problem)


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":{"content":"a"},"finish_reason":null}],"model":null}',
        b'{"choices":[{"message":{"content":"a"},"finish_reason":7}],"model":7,"usage":null}',
        b'\n    \n{"choices":[{"message":{"content":"a"}}],"error":null}',
    ],
)
def test_an_answer_without_finish_or_usage_is_incomplete(body: bytes) -> None:
    """The gateway treats such an answer as incomplete."""
    assert SUMMARIZE(body) == ResponseSummary(content_bytes=1)


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"error":{"code":429}}',
        b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop","error":{"code":429}}]}',
        b'{"choices":[{"message":{"content":"a"}},{"finish_reason":"stop","error":{"code":429}}]}',
    ],
)
def test_an_error_beside_an_answer_fails_it(body: bytes) -> None:
    summary = SUMMARIZE(body)
    assert summary.problem is not None
    assert (summary.problem.kind, summary.complete) == ("upstream_rate_limited", False)


@pytest.mark.parametrize(
    "word", ["error", "Network_Error", "insufficient_system_resource", "abort"]
)
def test_a_finish_reason_may_report_a_failure(word: str) -> None:
    """The answer fails with all usual members, and with fewer."""
    usage = b'"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}'
    choice = b'{"message":{"role":"assistant","content":"a"},"finish_reason":"%b"}' % word.encode()
    for body in (b'{"choices":[%b]}' % choice, b'{"choices":[%b],%b}' % (choice, usage)):
        summary = SUMMARIZE(body)
        assert summary.problem is not None
        assert (summary.problem.kind, summary.complete) == ("upstream_error", False)


def test_an_answer_of_several_choices_is_complete_if_each_is() -> None:
    done = b'{"message":{"content":"a"},"finish_reason":"stop"}'
    assert SUMMARIZE(b'{"choices":[%b,%b]}' % (done, done)).complete
    assert not SUMMARIZE(b'{"choices":[%b,{"message":{"content":"b"}}]}' % done).complete


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
            "sent no content",
        ),
        (b'{"object":"error","message":"no"}', "upstream_error", "error in place of"),
        (b'{"error":{"code":502,"message":"down"}}', "upstream_error", "error in place of"),
        (b'{"error":{"code":429}}', "upstream_rate_limited", "error in place of"),
        (b'{"error":"down","choices":[]}', "upstream_error", "error in place of"),
    ],
)
def test_a_body_that_is_no_answer_fails(body: bytes, kind: str, words: str) -> None:
    """SDKs would silently hand their caller an object without choices."""
    problem = SUMMARIZE(body).problem
    assert problem is not None
    assert (problem.kind, problem.spent) == (kind, "maybe")
    assert words in problem.message


def test_an_error_of_the_clients_own_request_goes_on_unchanged() -> None:
    body = b'\n \n{"error":{"message":"no","code":400}}'
    problem = SUMMARIZE(body).problem
    assert problem is not None
    assert (problem.kind, problem.http_status, problem.body) == ("upstream_rejected", 400, body)
