"""Errors: whose fault they are, in whose words the client reads them, and their form in streams."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import Problem, ProblemKind
from gateway.dialects import OPENAI_CHAT
from gateway.dialects.openai_chat import errors

READ, WRITE, FRAME = (
    OPENAI_CHAT.read_problem,
    OPENAI_CHAT.write_problem,
    OPENAI_CHAT.write_problem_frame,
)

REJECTED = (
    b'{"error":{"message":"bad \\u00e9","type":"invalid_request_error","param":"n","code":null}}'
)


@pytest.mark.parametrize("kind", get_args(ProblemKind.__value__))
def test_every_problem_kind_has_the_error_shape_that_sdks_read(kind: ProblemKind) -> None:
    """The shape is `{"error": {"message", "type", "param", "code"}}` of OpenAI's API reference."""
    error = json.loads(WRITE(Problem(kind=kind, message="m\u00e9\n", param="p")))["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert (error["message"], error["param"]) == ("m\u00e9\n", "p")
    assert error["type"]
    assert error["code"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("invalid_api_key", ("invalid_request_error", "invalid_api_key")),
        ("model_not_found", ("invalid_request_error", "model_not_found")),
        ("rate_limited", ("rate_limit_error", "rate_limit_exceeded")),
        ("upstream_auth", ("api_error", "upstream_auth")),
        ("upstream_truncated", ("server_error", "upstream_truncated")),
    ],
)
def test_well_known_problems_have_openais_type_and_code(
    kind: ProblemKind, words: tuple[str, str]
) -> None:
    error = json.loads(WRITE(Problem(kind=kind, message="m")))["error"]
    assert (error["type"], error["code"]) == words


@pytest.mark.parametrize(
    ("param", "code"), [("model", "model_not_allowed"), (None, "not_allowed"), ("x", "not_allowed")]
)
def test_only_a_refused_model_has_the_code_for_a_refused_model(
    param: str | None, code: str
) -> None:
    """Refusals by an admin endpoint or by a rule forbid no model."""
    problem = Problem(kind="not_allowed", message="", param=param)
    assert json.loads(OPENAI_CHAT.write_problem(problem))["error"]["code"] == code


@pytest.mark.parametrize(
    "body",
    [
        REJECTED,
        b'{"object":"error","message":"no","type":"x","code":null}',
        b'{"detail":[{"loc":["body","n"],"msg":"no"}]}',
        b'{"error":"no such field"}',
        b'[{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}]',
        b' \n{"error":{}}',
    ],
)
@pytest.mark.parametrize("status", [400, 405, 413, 415, 422])
def test_an_error_of_the_clients_request_keeps_the_providers_words(
    status: int, body: bytes
) -> None:
    """Any shape of JSON goes on byte for byte and with its status, because SDKs show it whole."""
    problem = READ(status, body, 7.0)
    assert problem.kind == "upstream_rejected"
    assert problem.http_status == problem.upstream_status == status
    assert WRITE(problem) is body
    assert (problem.spent, problem.retry_after, problem.should_retry) == ("no", None, False)


@pytest.mark.parametrize(
    "body", [b"", b"<html>no</html>", b"{}", b"[]", b'"no"', b"\xff\xfe", b"null"]
)
def test_a_proxys_error_page_is_not_shown_to_clients(body: bytes) -> None:
    """An SDK could not read the page; the client still learns the status."""
    problem = READ(400, body, None)
    assert (problem.kind, problem.status) == ("upstream_rejected", 400)
    error = json.loads(WRITE(problem))["error"]
    assert error["message"] == "The provider refused the request with HTTP 400."
    assert error["code"] == "upstream_rejected"


@pytest.mark.parametrize(
    ("status", "body", "kind", "shown"),
    [
        (401, REJECTED, "upstream_auth", 502),
        (402, REJECTED, "upstream_auth", 502),
        (403, REJECTED, "upstream_auth", 502),
        (429, b'{"error":{"code":"insufficient_quota"}}', "upstream_auth", 502),
        (400, b'{"error":{"code":400,"details":[{"reason":"API_KEY_INVALID"}]}}', "upstream_auth", 502),
        (404, REJECTED, "upstream_model", 404),
        (408, b"", "upstream_timeout", 504),
        (409, b"", "upstream_error", 502),
        (429, REJECTED, "upstream_rate_limited", 429),
        (498, b"", "upstream_overloaded", 503),
        (500, REJECTED, "upstream_error", 502),
        (502, b"<html>", "upstream_error", 502),
        (503, b"", "upstream_overloaded", 503),
        (504, b"", "upstream_timeout", 504),
        (529, b"", "upstream_overloaded", 503),
        (599, b"", "upstream_error", 502),
        (201, b"", "upstream_error", 502),
        (301, b"", "upstream_moved", 502),
        (400, b'{"error":{"code":"context_length_exceeded"}}', "upstream_context", 400),
        (413, b'{"error":{"message":"Prompt is too long: 9 > 8"}}', "upstream_context", 413),
        (400, b"This model's maximum context length is 8192 tokens", "upstream_context", 400),
        (500, b'{"error":{"message":"context window"}}', "upstream_error", 502),
    ],
)  # fmt: skip
def test_the_status_and_body_decide_whose_fault_an_error_is(
    status: int, body: bytes, kind: str, shown: int
) -> None:
    """The fault decides what the gateway tries next.

    The client never sees an error of the gateway's own key.
    """
    problem = READ(status, body, 3.5)
    assert (problem.kind, problem.http_status, problem.upstream_status) == (kind, shown, status)
    own = kind in ("upstream_model", "upstream_context")
    assert problem.retry_after == (None if own else 3.5)
    assert (problem.body is not None) == (own and body.startswith(b"{"))
    assert problem.spent == ("maybe" if kind == "upstream_timeout" else "no")
    assert own or str(status) in problem.message


def test_only_the_start_of_a_long_error_body_is_searched() -> None:
    """The start says what the error is about; the rest may quote a prompt."""
    body = json.dumps({"error": {"message": "bad", "quoted": "x" * 3000 + "insufficient_quota"}})
    assert READ(400, body.encode(), None).kind == "upstream_rejected"
    cut = json.dumps({"error": {"message": "\u00e9" * 3000}}, ensure_ascii=False).encode()
    assert READ(400, cut, None).body == cut


@given(st.binary(max_size=60), st.integers(200, 599))
def test_any_error_body_reads_as_a_problem(body: bytes, status: int) -> None:
    problem = READ(status, body, None)
    assert problem.kind.startswith("upstream_")
    assert 400 <= problem.http_status < 600
    assert WRITE(problem)


@pytest.mark.parametrize(
    ("error", "kind", "status", "own"),
    [
        ({"code": 400, "message": "m"}, "upstream_rejected", 400, True),
        ({"code": "tool_use_failed", "status_code": 400}, "upstream_rejected", 400, True),
        ({"code": "invalid_parameter_error", "type": "invalid_request_error"}, "upstream_rejected", 400, True),
        ({"code": 404}, "upstream_model", 404, True),
        ({"code": 400, "message": "reduce the length"}, "upstream_context", 400, True),
        ({"code": 429}, "upstream_rate_limited", 429, False),
        ({"code": 502}, "upstream_error", 502, False),
        ({"code": 503}, "upstream_overloaded", 503, False),
        ({"code": "invalid_api_key", "type": "invalid_request_error"}, "upstream_auth", 502, False),
        ({"code": 200}, "upstream_error", 502, False),
        ({"code": 7}, "upstream_error", 502, False),
        ({"type": "server_error"}, "upstream_error", 502, False),
        ("no", "upstream_error", 502, False),
        (["no"], "upstream_error", 502, False),
    ],
)  # fmt: skip
def test_an_error_in_a_200_answer_reads_as_its_status(
    error: object, kind: str, status: int, own: bool
) -> None:
    """An error may come in a stream that has begun, or from a host that always answers 200."""
    body = json.dumps({"choices": [], "error": error}).encode()
    problem = errors.read_answer_error(error, body)
    assert (problem.kind, problem.http_status) == (kind, status)
    assert problem.body == (body if own else None)
    assert problem.spent == ("no" if own else "maybe")


@pytest.mark.parametrize("line", [b"\n", b"\r\n", b"\r"])
def test_an_error_frame_has_a_single_data_line(line: bytes) -> None:
    """A provider's body may have several lines, which must not split the frame."""
    body = b"{" + line + b'  "error": {"message": "a\\nb"}' + line + b"}"
    frame = FRAME(Problem(kind="upstream_rejected", message="m", body=body))
    assert frame == b'data: {  "error": {"message": "a\\nb"}}\n\n'


def test_no_done_frame_follows_an_error_frame() -> None:
    """A `[DONE]` would make the answer complete."""
    frame = FRAME(Problem(kind="upstream_truncated", message="Cut."))
    assert frame == (
        b'data: {"error":{"message":"Cut.","type":"server_error","param":null,'
        b'"code":"upstream_truncated"}}\n\n'
    )
