"""Whole answers, and usage in them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage
from gateway.dialects.anthropic_messages import DIALECT, usage
from tests.dialects.anthropic_messages.cases import Object

GLANCE = DIALECT.summarize


def test_a_glance_reads_usage_model_and_finish() -> None:
    body = {"content": [], "model": "m-1", "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 2}}  # fmt: skip
    seen = GLANCE(json.dumps(body).encode())
    assert (seen.usage, seen.served_model, seen.finish, seen.problem) == (
        Usage(input=1, output=2),
        "m-1",
        "tool_use",
        None,
    )


def test_what_is_not_said_is_unknown() -> None:
    seen = GLANCE(
        b'{"content":[{"type":"text","text":"a"}],"model":7,"stop_reason":null,"error":{}}'
    )
    assert (seen.usage, seen.served_model, seen.finish, seen.problem) == (None, None, None, None)
    assert not seen.complete


@pytest.mark.parametrize("content", ["", '{"type":"text","text":""}', "7", '{"type":1}'])
def test_neither_content_nor_a_reason_is_no_answer(content: str) -> None:
    problem = GLANCE(f'{{"content":[{content}],"stop_reason":null}}'.encode()).problem
    assert problem is not None
    assert (problem.kind, problem.spent) == ("upstream_truncated", "maybe")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", "upstream_error"), (b"[]", "upstream_error"), (b"{}", "upstream_error"),
        (b'{"content":"text"}', "upstream_error"), (b'{"type":"error"}', "upstream_error"),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}', "upstream_overloaded"),
        (b'{"error":{"type":"rate_limit_error"}}', "upstream_rate_limited"),
        (b'{"error":{"type":"invalid_request_error"}}', "upstream_rejected"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none(body: bytes, kind: str) -> None:
    problem = GLANCE(body).problem
    assert problem is not None
    assert problem.kind == kind
    assert problem.body == (body if kind == "upstream_rejected" else None)
    assert problem.spent == ("no" if kind == "upstream_rejected" else "maybe")


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (None, None), ({}, None), ({"input_tokens": None, "output_tokens": "9"}, None),
        ({"output_tokens": 9}, Usage(output=9)),
        ({"input_tokens": 3, "cache_read_input_tokens": 0}, Usage(input=3, cache_read=0)),
        ({"input_tokens": 3, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}, Usage(input=3, output=5, reasoning=4)),
        ({"input_tokens": 3, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 40}}, Usage(input=3, output=0, reasoning=9)),
        ({"input_tokens": 3, "output_tokens_details": {"thinking_tokens": 4}}, Usage(input=3, reasoning=4)),
        ({"output_tokens": 9, "cache_creation_input_tokens": 7}, Usage(output=9, cache_write={"": 7})),
        ({"output_tokens": 9, "cache_creation_input_tokens": 0}, Usage(output=9)),
        (
            {"output_tokens": 9, "cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}},
            Usage(output=9, cache_write={"5m": 3, "1h": 4}),
        ),
        (
            {"output_tokens": 9, "cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_5m_input_tokens": 3}},
            Usage(output=9, cache_write={"5m": 3, "": 4}),
        ),
        ({"output_tokens": 9, "cache_creation": {"ephemeral_1h_input_tokens": 4}}, Usage(output=9, cache_write={"1h": 4})),
        (
            {"output_tokens": 9, "cache_creation_input_tokens": 2, "cache_creation": {"ephemeral_5m_input_tokens": 3}},
            Usage(output=9, cache_write={"": 2}),
        ),
        (
            {"output_tokens": 9, "cache_creation_input_tokens": 0, "cache_creation": {"ephemeral_5m_input_tokens": 3}},
            Usage(output=9),
        ),
    ],
)  # fmt: skip
def test_usage_in_five_classes(told: object, read: Usage | None) -> None:
    """Input leaves the cache out, output holds the thinking; the total is the last word."""
    assert usage.read(told) == read


def test_a_compaction_is_told_beside_the_totals() -> None:
    """Its tokens are billed and stand in no total (BetaUsage); those of an advisor are another model's."""
    part: Object = {"type": "compaction", "input_tokens": 100, "output_tokens": 10, "cache_creation_input_tokens": 3}  # fmt: skip
    other = {**part, "type": "advisor_message"}
    told: Object = {"input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 4}
    assert usage.read({**told, "iterations": [part, other, 7]}) == Usage(
        input=101, output=12, cache_write={"": 7}, tools={"advisor": 1}
    )
    assert usage.read({"iterations": [part]}) == Usage(input=100, output=10, cache_write={"": 3})
    assert usage.read({"input_tokens": 1, "iterations": [{"type": "compaction"}]}) == Usage(input=1)


@given(st.dictionaries(st.sampled_from(["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]), st.integers(0, 9)))  # fmt: skip
def test_nothing_is_counted_twice(told: dict[str, int]) -> None:
    read = usage.read(told)
    if read is not None and read.prompt is not None and read.completion is not None:
        assert read.prompt + read.completion == sum(told.values())
