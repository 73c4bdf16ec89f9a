"""Errors of Converse: the type says more than the status, and stands in a header."""

import json

import pytest

from gateway.dialects.bedrock_converse import DIALECT
from gateway.dialects.bedrock_converse.errors import TYPE_HEADER

COMMON = ":http://internal.amazon.com/coral/com.amazon.bedrock/"


def read_kind(status: int, type: str | None, message: str = "No.") -> str:
    """Return the kind of a problem, as the gateway reads it of an answer."""
    headers = {} if type is None else {TYPE_HEADER: type}
    body = DIALECT.complete_error(json.dumps({"message": message}).encode(), headers.get)
    problem = DIALECT.read_problem(status, body, None)
    assert problem.upstream_status == status
    return problem.kind


@pytest.mark.parametrize(
    ("status", "type", "kind"),
    [
        (429, "ThrottlingException", "upstream_rate_limited"),
        (429, "ModelNotReadyException", "upstream_overloaded"),
        (400, "ServiceQuotaExceededException", "upstream_rate_limited"),
        (403, "AccessDeniedException", "upstream_auth"),
        (403, "ExpiredTokenException", "upstream_auth"),
        (403, "UnrecognizedClientException", "upstream_auth"),
        (400, "ValidationException", "upstream_rejected"),
        (404, "ResourceNotFoundException", "upstream_model"),
        (408, "ModelTimeoutException", "upstream_timeout"),
        (424, "ModelErrorException", "upstream_error"),
        (500, "InternalServerException", "upstream_error"),
        (503, "ServiceUnavailableException", "upstream_overloaded"),
        (400, "ANewException", "upstream_rejected"),
    ],
)
def test_the_type_says_what_an_error_means(status: int, type: str, kind: str) -> None:
    assert read_kind(status, type) == kind
    assert read_kind(status, type + COMMON) == kind
    body = json.dumps({"__type": f"com.amazon.coral.service#{type}", "message": "No."}).encode()
    assert DIALECT.read_problem(status, body, None).kind == kind


def test_without_a_type_the_status_decides() -> None:
    assert read_kind(429, None) == "upstream_rate_limited"
    assert read_kind(424, None) == "upstream_error"
    assert read_kind(400, None) == "upstream_rejected"
    assert read_kind(400, "") == "upstream_rejected"
    assert read_kind(400, "?") == "upstream_rejected"


@pytest.mark.parametrize(
    "message",
    [
        "Input is too long for requested model.",
        "The model returned the following errors: prompt is too long: 210000 tokens > 200000 maximum",
        "The model returned the following errors: Input Tokens Exceeded: Number of input tokens exceeds maximum length.",
        "This model's maximum context length is 128000 tokens. Please reduce the length of the prompt",
    ],
)
def test_a_prompt_that_is_too_long_is_told_apart(message: str) -> None:
    assert read_kind(400, "ValidationException", message) == "upstream_context"


@pytest.mark.parametrize(
    ("status", "type", "message", "kind"),
    [
        (400, "ValidationException", "The provided model identifier is invalid.", "upstream_model"),
        (400, "ValidationException", "Invocation of model ID x with on-demand throughput isn\u2019t supported.", "upstream_model"),
        (403, "AccessDeniedException", "You don't have access to the model with the specified model ID.", "upstream_model"),
        (403, "AccessDeniedException", "You invoked an unsupported model or your request did not allow prompt caching.", "upstream_rejected"),
    ],
)  # fmt: skip
def test_some_messages_say_more_than_their_type(
    status: int, type: str, message: str, kind: str
) -> None:
    """A model that the account lacks does not make its credential a bad one."""
    assert read_kind(status, type, message) == kind


def test_a_body_that_is_no_object_stays_as_it_is() -> None:
    for body in (b"", b"<html>", b"[1]"):
        assert DIALECT.complete_error(body, lambda _: "ThrottlingException") is body
        assert DIALECT.read_problem(502, body, None).kind == "upstream_error"
    named = b'{"message":"No."}'
    assert DIALECT.complete_error(named, lambda _: None) is named


def test_the_clients_get_the_providers_words_for_a_fault_of_the_request() -> None:
    problem = DIALECT.read_problem(400, b'{"message":"No cats."}', 3.0)
    assert (problem.body, problem.status) == (b'{"message":"No cats."}', 400)
    limited = DIALECT.read_problem(429, b'{"message":"Too many tokens."}', 3.0)
    assert (limited.body, limited.retry_after) == (None, 3.0)
