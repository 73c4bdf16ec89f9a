"""Errors in both directions: whose fault a provider's error is, and what the client reads."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import STATUS_BY_KIND, Problem, ProblemKind
from gateway.dialects.anthropic_messages import DIALECT, errors
from tests.dialects.anthropic_messages.cases import Object

READ, WRITE, FRAME = DIALECT.read_problem, DIALECT.write_problem, DIALECT.write_problem_frame
KINDS: tuple[ProblemKind, ...] = get_args(ProblemKind.__value__)
BY_STATUS = {
    400: {"invalid_request_error"}, 401: {"authentication_error"}, 402: {"billing_error"}, 403: {"permission_error"},
    404: {"not_found_error"}, 405: {"invalid_request_error"}, 408: {"api_error"}, 413: {"request_too_large"},
    415: {"invalid_request_error"}, 429: {"rate_limit_error"}, 500: {"api_error"}, 502: {"api_error"},
    503: {"api_error", "overloaded_error"}, 504: {"timeout_error"}, 508: {"invalid_request_error"}, 529: {"overloaded_error"},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_problem_kind_has_an_error_type_that_goes_with_its_status(kind: ProblemKind) -> None:
    problem = Problem(kind=kind, message="Why.")
    body = json.loads(WRITE(problem))
    status = errors.find_status(problem)
    assert body == {"type": "error", "error": {"type": body["error"]["type"], "message": "Why."}}
    assert body["error"]["type"] in BY_STATUS[status]
    own = {"overloaded_error": 529, "billing_error": 402}.get(body["error"]["type"])
    assert status == (503 if kind == "draining" else own or STATUS_BY_KIND[kind])


def test_a_problems_own_status_decides_its_type() -> None:
    assert errors.find_status(Problem(kind="overloaded", message="m", status=503)) == 503


def error(kind: str, message: str = "m") -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


def thread(code: str) -> bytes:
    """Make an error about a thread, as the official SDK reads it."""
    error_value = {"type": "not_found_error", "message": "m", "details": {"error_code": code}}
    return json.dumps({"type": "error", "error": error_value}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "shown"),
    [
        (400, error("invalid_request_error"), "upstream_rejected", 400),
        (400, error("invalid_request_error", "prompt is too long: 3 tokens > 2 maximum"), "upstream_context", 400),
        (400, error("invalid_request_error", "Your credit balance is too low to access the API"), "upstream_auth", 502),
        (400, error("authentication_error"), "upstream_auth", 502),
        (401, error("authentication_error"), "upstream_auth", 502),
        (402, error("billing_error"), "upstream_auth", 502),
        (403, b"<html>no</html>", "upstream_auth", 502),
        (404, error("not_found_error", "model: m"), "upstream_model", 404),
        (404, b"not here", "upstream_model", 404),
        (408, b"", "upstream_timeout", 504),
        (409, error("conflict_error"), "upstream_error", 502),
        (404, thread("thread_not_found"), "upstream_rejected", 404),
        (409, thread("thread_continue_in_flight"), "upstream_rejected", 409),
        (409, thread("thread_already_continued"), "upstream_rejected", 409),
        (400, thread("thread_fingerprint_mismatch"), "upstream_rejected", 400),
        (413, error("request_too_large"), "upstream_rejected", 413),
        (422, b"[]", "upstream_rejected", 422),
        (429, error("rate_limit_error"), "upstream_rate_limited", 429),
        (500, error("api_error", "context window"), "upstream_error", 502),
        (302, b"", "upstream_moved", 502),
        (503, b"", "upstream_overloaded", 529),
        (504, error("timeout_error"), "upstream_timeout", 504),
        (529, error("overloaded_error"), "upstream_overloaded", 529),
    ],
)  # fmt: skip
def test_the_status_and_body_decide_whose_fault_an_error_is(
    status: int, body: bytes, kind: str, shown: int
) -> None:
    """Only errors that the request itself causes reach the client, in the provider's very bytes."""
    problem = READ(status, body, 3.5)
    assert (problem.kind, errors.find_status(problem)) == (kind, shown)
    assert problem.upstream_status == status
    own = kind in ("upstream_rejected", "upstream_context", "upstream_model")
    assert problem.retry_after == (None if own else 3.5)
    assert (WRITE(problem) == body) == (own and body.startswith(b"{"))
    assert problem.spent == ("maybe" if kind == "upstream_timeout" else "no")
    assert str(status) in problem.message


@pytest.mark.parametrize(
    ("error_value", "kind"),
    [
        ({"type": "invalid_request_error"}, "upstream_rejected"), ({"type": "not_found_error"}, "upstream_model"),
        ({"type": "overloaded_error"}, "upstream_overloaded"), ({"type": "timeout_error"}, "upstream_timeout"),
        ({"type": "permission_error"}, "upstream_auth"), ({"type": "new_error"}, "upstream_error"),
        ({"type": 7}, "upstream_error"), ("no", "upstream_error"),
    ],
)  # fmt: skip
def test_an_error_in_a_200_answer_reads_as_its_status(error_value: object, kind: str) -> None:
    body = json.dumps({"type": "error", "error": error_value}).encode()
    problem = errors.read_error_answer(error_value, body)
    assert problem.kind == kind
    own = kind in ("upstream_rejected", "upstream_model")
    assert (problem.body, problem.spent) == ((body, "no") if own else (None, "maybe"))


@given(st.binary(max_size=60), st.integers(200, 599))
def test_any_error_body_reads_as_a_problem(body: bytes, status: int) -> None:
    problem = READ(status, body, None)
    assert 400 <= errors.find_status(problem) < 600
    assert WRITE(problem)


def test_a_lost_thread_is_reported_in_the_form_that_the_sdk_reads() -> None:
    """The SDK then sends the whole conversation."""
    problem = Problem(kind="not_found", message="Send it all.", param="thread")
    assert errors.find_status(problem) == 404
    assert json.loads(WRITE(problem)) == {
        "type": "error",
        "error": {
            "type": "not_found_error",
            "message": "Send it all.",
            "details": {"error_code": "thread_not_found"},
        },
    }


def test_an_error_frame_has_a_name_and_one_data_line() -> None:
    """SDKs recognize the frame by its name; a line end in the provider's text must not split it."""
    own: Object = {"kind": "upstream_rejected", "message": "m", "body": b'{\r\n "a": 1\n}'}
    assert FRAME(Problem(**own)) == b'event: error\ndata: { "a": 1}\n\n'
    assert FRAME(Problem(kind="upstream_overloaded", message="Busy.")) == (
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Busy."}}\n\n'
    )
