"""Whole answers and their usage: what accounting reads, and what is no answer at all."""

import json
from typing import Any

import pytest

from gateway.core.usage import Usage
from gateway.dialects.gemini import DIALECT, usage
from tests.dialects.gemini.cases import USED, candidate, chunk, text, whole

STOPPED = candidate(text("a"), finish="STOP")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (USED, Usage(input=5, output=2)),
        ({**USED, "cachedContentTokenCount": 3, "thoughtsTokenCount": 4, "totalTokenCount": 11}, Usage(input=2, cache_read=3, output=2, reasoning=4)),
        ({**USED, "toolUsePromptTokenCount": 10}, Usage(input=15, output=2)),
        ({"promptTokenCount": 5, "cachedContentTokenCount": 9}, Usage(input=0, cache_read=5)),
        ({"promptTokenCount": 5, "thoughtsTokenCount": 4, "totalTokenCount": 9}, Usage(input=5, output=0, reasoning=4)),
        ({"promptTokenCount": 5, "totalTokenCount": 5}, Usage(input=5, output=0)),
        ({"promptTokenCount": 5, "totalTokenCount": 9}, Usage(input=5)),
        ({"candidatesTokenCount": 2}, Usage(output=2)),
        ({"totalTokenCount": 2}, None), ({}, None), (None, None),
    ],
)  # fmt: skip
def test_usage_is_five_classes_that_never_overlap(told: Any, expected: Usage | None) -> None:
    assert usage.read(told, ended=True) == expected


def test_before_the_end_output_that_is_not_told_is_unknown() -> None:
    assert usage.read({"promptTokenCount": 5, "totalTokenCount": 5}, ended=False) == Usage(input=5)


@pytest.mark.parametrize(
    "used",
    [
        Usage(input=1, cache_read=2, output=3, reasoning=4),
        Usage(input=1, output=0),
        Usage(input=1),
        Usage(output=1),
    ],
)
def test_usage_that_is_written_is_read_again(used: Usage) -> None:
    assert usage.read(usage.write(used), ended=True) == used


def test_what_a_cache_was_given_is_part_of_the_prompt() -> None:
    said = usage.write(Usage(input=1, cache_write={"5m": 2}, output=3))
    assert said == {"promptTokenCount": 3, "candidatesTokenCount": 3, "totalTokenCount": 6}


@pytest.mark.parametrize(
    ("body", "finish"),
    [
        (whole(chunk(STOPPED)), "STOP"),
        (whole(chunk(candidate(text("a")), STOPPED)), "STOP"),
        (whole(chunk(candidate(finish=2))), "MAX_TOKENS"),
        (whole(chunk(candidate(finish=17))), "17"),
        (whole(chunk(candidate(text("a")))), None),
        (whole(chunk(candidate(text("a"), finish=True))), None),
        (whole(chunk(promptFeedback={"blockReason": "SAFETY"})), "SAFETY"),
        (whole(chunk(candidate(text("a"))), chunk(STOPPED)), "STOP"),
    ],
)
def test_an_answer_is_read(body: bytes, finish: str | None) -> None:
    glance = DIALECT.summarize(body)
    assert (glance.problem, glance.finish, glance.served_model) == (None, finish, "m-1")


def test_the_last_usage_of_a_list_stands() -> None:
    first = chunk(candidate(text("a")), usageMetadata={"promptTokenCount": 5})
    body = whole(first, chunk(STOPPED, usageMetadata=USED))
    assert DIALECT.summarize(body).usage == Usage(input=5, output=2)
    assert DIALECT.summarize(whole(first)).usage == Usage(input=5)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"7", b"[]", b"[7]", b"{}", b'{"candidates":[]}', b'{"candidates":7}', b'{"error":{"code":503}}', b'[{"error":{"code":503}}]',
        json.dumps({"promptFeedback": {}}).encode(),
    ],
)  # fmt: skip
def test_anything_else_is_a_problem(body: bytes) -> None:
    problem = DIALECT.summarize(body).problem
    assert problem is not None
    assert problem.kind == ("upstream_overloaded" if b"503" in body else "upstream_error")


def test_an_answer_is_complete_if_each_candidate_has_a_reason() -> None:
    """The last one counts: more content after a reason takes it back; what says nothing does not."""

    def complete(*chunks: Any) -> bool:
        return DIALECT.summarize(json.dumps(list(chunks)).encode()).complete

    stop, quiet = chunk(STOPPED), chunk(candidate(text("")))
    assert complete(stop)
    assert complete(stop, quiet)
    assert complete(chunk(candidate(text("a"))), stop)
    assert not complete(stop, chunk(candidate(text("b"))))
    assert not complete(chunk(candidate(text("a"))))
    assert not complete(stop, chunk(candidate(text("b"), index=1)))
    assert complete({"promptFeedback": {"blockReason": "SAFETY"}})


@pytest.mark.parametrize("where", ["chunk", "candidate"])
def test_an_error_beside_content_fails_it(where: str) -> None:
    error = {"code": 503, "message": "m", "status": "UNAVAILABLE"}
    told = {**chunk(STOPPED), "error": error} if where == "chunk" else chunk({**STOPPED, "error": error})  # fmt: skip
    glance = DIALECT.summarize(json.dumps(told).encode())
    assert glance.problem is not None
    assert (glance.problem.kind, glance.complete) == ("upstream_overloaded", False)
