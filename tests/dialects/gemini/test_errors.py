"""Errors in both directions: whose fault a provider's error is, and what the client reads."""

import json
from typing import Any, get_args

import pytest

from gateway.core.errors import STATUS_BY_KIND, Problem, ProblemKind
from gateway.core.rate_limits import ExceededQuota
from gateway.dialects.gemini import DIALECT, errors

KINDS: tuple[ProblemKind, ...] = get_args(ProblemKind.__value__)


def error(status: str = "INVALID_ARGUMENT", message: str = "m", **more: Any) -> bytes:
    return json.dumps({"error": {"code": 400, "message": message, "status": status, **more}}).encode()  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_problem_kind_has_a_google_status(kind: ProblemKind) -> None:
    error_value = json.loads(DIALECT.write_problem(Problem(kind=kind, message="Why.")))["error"]
    assert error_value == {
        "code": STATUS_BY_KIND[kind],
        "message": "Why.",
        "status": error_value["status"],
    }
    assert error_value["status"].isupper()
    assert DIALECT.find_status(Problem(kind=kind, message="m")) == STATUS_BY_KIND[kind]


def test_error_details_have_the_field_and_the_retry_delay() -> None:
    error_value = json.loads(DIALECT.write_problem(Problem(kind="rate_limited", message="m", param="f", retry_after=2)))  # fmt: skip
    field, delay = error_value["error"]["details"]
    assert field["fieldViolations"] == [{"field": "f", "description": "m"}]
    assert delay["retryDelay"] == "2s"


@pytest.mark.parametrize(
    ("quota", "violation"),
    [
        (
            ExceededQuota("requests", "each key", 60),
            {"quotaMetric": "tiergate/requests", "quotaId": "each key", "quotaValue": "60"},
        ),
        (ExceededQuota("usd", "team"), {"quotaMetric": "tiergate/usd", "quotaId": "team"}),
    ],
)
def test_error_details_name_the_limit_that_refuses(
    quota: ExceededQuota, violation: dict[str, str]
) -> None:
    problem = Problem(kind="rate_limited", message="m", exceeded_quota=quota)
    (detail,) = json.loads(DIALECT.write_problem(problem))["error"]["details"]
    assert detail == {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [violation],
    }


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error(), "upstream_rejected"),
        (400, error(message="API key not valid. Please pass a valid API key."), "upstream_auth"),
        (400, error(message="The input token count (9) exceeds the maximum number of tokens allowed (8)."), "upstream_context"),
        (400, error("FAILED_PRECONDITION", "User location is not supported for the API use."), "upstream_auth"),
        (403, error("PERMISSION_DENIED"), "upstream_auth"),
        (404, error("NOT_FOUND"), "upstream_model"),
        (429, error("RESOURCE_EXHAUSTED", "check your plan and billing details"), "upstream_rate_limited"),
        (503, error("UNAVAILABLE"), "upstream_overloaded"),
        (500, b"<html>", "upstream_error"),
    ],
)  # fmt: skip
def test_the_status_and_body_decide_whose_fault_an_error_is(
    status: int, body: bytes, kind: str
) -> None:
    assert DIALECT.read_problem(status, body, None).kind == kind


def test_a_rejected_request_keeps_the_providers_words() -> None:
    for body in (error(), b"[" + error() + b"]"):
        assert DIALECT.write_problem(DIALECT.read_problem(400, body, None)) == body


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (error(details=[7, {"@type": "x"}, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "48.5s"}]), 48.5),
        (b"[" + error(details=[{"retryDelay": "3s"}]) + b"]", 3.0),
        (error(details=[{"retryDelay": "soon"}]), None),
        (error(), None), (b"[]", None), (b"7", None), (b"<", None), (b'{"error":"x"}', None),
    ],
)  # fmt: skip
def test_the_retry_delay_is_read_from_the_body(body: bytes, seconds: float | None) -> None:
    assert DIALECT.read_problem(429, body, None).retry_after == seconds
    assert DIALECT.read_problem(429, body, 1.0).retry_after == 1.0


@pytest.mark.parametrize(
    ("body", "error_value"),
    [
        (b'{\n "error": {"code": 400}}', {"code": 400}),
        (b'[{"error":{"code":400}}]', {"code": 400}),
        (b'{"x":1,"error":{"code":400}}', {"code": 400}),
        (b'{"message":"m"}', {"message": "m"}),
        (b'["m"]', "m"),
    ],
)
def test_an_error_frame_starts_with_the_error_and_has_one_line(
    body: bytes, error_value: Any
) -> None:
    """The SDK google-genai raises only if `error` is the first member."""
    frame = DIALECT.write_problem_frame(Problem(kind="upstream_rejected", message="m", body=body))
    assert frame.startswith(b'data: {"error":')
    assert frame.count(b"\n") == 2
    assert json.loads(frame[6:]) == {"error": error_value}


@pytest.mark.parametrize(
    ("error_value", "kind"),
    [
        ({"code": 503}, "upstream_overloaded"), ({"code": 429, "status": "X"}, "upstream_rate_limited"), ({"status": "UNAVAILABLE"}, "upstream_overloaded"),
        ({"status": "NEW"}, "upstream_error"), ({"code": 200, "status": 7}, "upstream_error"), ("words", "upstream_error"), ({"status": "INVALID_ARGUMENT"}, "upstream_rejected"),
    ],
)  # fmt: skip
def test_an_error_in_a_200_answer_reads_as_its_status(error_value: Any, kind: str) -> None:
    body = json.dumps({"error": error_value}).encode()
    assert errors.read_error_object(error_value, body).kind == kind
