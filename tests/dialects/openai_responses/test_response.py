"""Whole answers: what accounting needs of them, and usage both ways."""

import json

import pytest

from gateway.core.usage import Usage
from gateway.dialects.openai_responses import DIALECT, usage
from tests.dialects.openai_responses.cases import MESSAGE, USAGE, Object, response


def glance(value: object) -> tuple[str | None, str | None, str | None]:
    seen = DIALECT.summarize(json.dumps(value).encode())
    return seen.finish, seen.served_model, seen.problem.kind if seen.problem else None


def test_an_answer_tells_its_model_its_end_and_its_usage() -> None:
    seen = DIALECT.summarize(json.dumps(response(MESSAGE)).encode())
    assert (seen.finish, seen.served_model, seen.problem) == ("completed", "m-1", None)
    assert seen.usage == Usage(input=12, cache_read=5, cache_write={"": 3}, output=6, reasoning=4)


@pytest.mark.parametrize(
    ("more", "finish"),
    [
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "max_output_tokens"),
        ({"status": "incomplete"}, "incomplete"),
        ({"status": "queued"}, "queued"),
        ({"status": None}, None),
    ],
)  # fmt: skip
def test_why_it_is_incomplete_goes_before_that_it_is(more: Object, finish: str | None) -> None:
    assert glance(response(MESSAGE, model=3, **more)) == (finish, None, None)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([], "upstream_error"),
        ({"id": "x"}, "upstream_error"),
        ({"error": {"code": "rate_limit_exceeded"}}, "upstream_rate_limited"),
        (
            response(status="failed", error={"code": "server_error", "message": "m"}),
            "upstream_error",
        ),
        (response(status="failed"), "upstream_error"),
    ],
)
def test_a_200_without_an_answer_is_a_problem(value: object, kind: str) -> None:
    assert glance(value)[2] == kind


def test_html_is_no_answer() -> None:
    problem = DIALECT.summarize(b"<html>").problem
    assert problem is not None
    assert "not JSON" in problem.message


@pytest.mark.parametrize(
    ("told", "five"),
    [
        (None, None),
        ({}, None),
        ({"input_tokens": 3}, Usage(input=3)),
        ({"output_tokens": 3}, Usage(output=3)),
        (
            {"input_tokens": 9, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 12}},
            Usage(input=0, cache_read=9, output=1),
        ),
        (
            {"input_tokens": 9, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 4}},
            Usage(input=0, cache_read=8, cache_write={"": 1}, output=1),
        ),
        (
            {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 9, "cache_write_tokens": 4}},
            Usage(input=0, cache_read=9),
        ),
        (
            {
                "input_tokens": 20,
                "input_tokens_details": {
                    "cache_write_tokens": 9,
                    "cache_write_tokens_details": {"ttl_30m_tokens": 4, "ttl_12h_tokens": 3},
                },
                "output_tokens": 0,
            },
            Usage(input=11, cache_write={"30m": 4, "12h": 3, "": 2}, output=0),
        ),
        # A host that leaves reasoning out of its output shows it in the total.
        (
            {"input_tokens": 1, "output_tokens": 5, "total_tokens": 9, "output_tokens_details": {"reasoning_tokens": 3}},
            Usage(input=1, output=5, reasoning=3),
        ),
        (
            {"input_tokens": 1, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 3}},
            Usage(input=1, output=2, reasoning=3),
        ),
    ],
)  # fmt: skip
def test_usage_is_read_in_five_classes_that_never_overlap(told: Object, five: Usage) -> None:
    assert usage.read(told) == five


@pytest.mark.parametrize("written", [{}, {"": 3}, {"30m": 4, "12h": 3}])
def test_usage_that_is_written_reads_the_same(written: dict[str, int]) -> None:
    five = Usage(input=7, cache_read=2, cache_write=written, output=4, reasoning=1)
    assert usage.read(usage.write(five)) == five
    assert usage.write(usage.read(USAGE)) == USAGE


@pytest.mark.parametrize("five", [None, Usage(input=3), Usage(output=3)])
def test_usage_that_is_half_known_is_none(five: Usage | None) -> None:
    assert usage.write(five) is None
