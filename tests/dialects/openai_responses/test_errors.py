"""Errors of this dialect: in bodies, in streams, and the meaning of a provider's errors."""

import json

import pytest

from gateway.core.errors import Problem
from gateway.dialects.openai_responses import DIALECT, errors
from tests.dialects.openai_responses.cases import read

TRUNCATED = Problem(kind="upstream_truncated", message="It broke off.")


def test_an_error_has_the_shape_of_openai() -> None:
    value = json.loads(
        DIALECT.write_problem(Problem(kind="invalid_request", message="No.", param="input"))
    )
    assert value["error"]["message"] == "No."
    assert value["error"]["param"] == "input"
    assert DIALECT.find_status(TRUNCATED) == 502


@pytest.mark.parametrize("status", [400, 404])
def test_a_missing_previous_response_is_no_fault_of_the_model(status: int) -> None:
    """A 404 would make the gateway skip the model in other calls."""
    body = b'{"error":{"message":"Not here.","code":"previous_response_not_found"}}'
    problem = DIALECT.read_problem(status, body, None)
    assert (problem.kind, problem.status, problem.body) == ("upstream_rejected", status, body)
    assert DIALECT.read_problem(404, b"{}", None).kind == "upstream_model"


@pytest.mark.parametrize(
    ("param", "code"),
    [
        ("previous_response_id", "previous_response_not_found"),
        ("response_id", "response_not_found"),
        ("thread", "not_found"),
    ],
)
def test_a_missing_response_has_the_code_of_openai(param: str, code: str) -> None:
    problem = Problem(kind="not_found", message="Gone.", param=param)
    assert json.loads(DIALECT.write_problem(problem))["error"]["code"] == code


def test_an_error_in_a_stream_has_the_members_that_all_sdks_read() -> None:
    (event,) = read(DIALECT.write_problem_frame(TRUNCATED))
    assert (event["type"], event["message"]) == ("error", "It broke off.")
    assert event["code"] == event["error"]["code"] == "upstream_truncated"
    assert event["sequence_number"] == errors.LAST_NUMBER


@pytest.mark.parametrize(
    "body", [b'{"error":{"message":"Bad.","code":"c"}}', b'{"message":"Bad."}']
)
def test_the_providers_message_goes_into_the_error_frame(body: bytes) -> None:
    problem = Problem(kind="upstream_rejected", message="ours", body=body)
    (event,) = read(DIALECT.write_problem_frame(problem))
    assert event["message"] == event["error"]["message"] == "Bad."


@pytest.mark.parametrize("body", [b'{"error":"odd"}', b"[]"])
def test_a_provider_error_without_a_message_gets_the_gateways_message(body: bytes) -> None:
    problem = Problem(kind="upstream_rejected", message="ours", body=body)
    assert read(DIALECT.write_problem_frame(problem))[0]["error"] == {"message": "ours"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "rate_limit_exceeded"}, "upstream_rate_limited"),
        ({"code": "server_error"}, "upstream_error"),
        ({"code": "server_is_overloaded"}, "upstream_overloaded"),
        ({"code": "context_length_exceeded"}, "upstream_context"),
        ({"code": "invalid_image_format"}, "upstream_rejected"),
        ({"code": "insufficient_quota"}, "upstream_auth"),
        ({"code": 429}, "upstream_rate_limited"),
        ({"code": 7}, "upstream_error"),
        ({"code": None, "type": "invalid_request_error"}, "upstream_rejected"),
        ("odd", "upstream_error"),
    ],
)
def test_the_error_code_decides_whose_fault_an_error_is(error: object, kind: str) -> None:
    assert errors.read_error(error).kind == kind


def test_a_rejected_request_keeps_its_bytes_and_a_credential_error_does_not() -> None:
    body = b'{"error":{"message":"Invalid schema","code":"invalid_function_parameters"}}'
    assert DIALECT.write_problem(DIALECT.read_problem(400, body, None)) == body
    assert DIALECT.read_problem(401, b"{}", None).kind == "upstream_auth"
