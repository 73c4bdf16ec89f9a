"""What is asked of the model when a request wants thinking: pure values."""

import json
from typing import Any

import pytest

from gateway.local.thinking import CAP, read

THINK: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": True}}


@pytest.mark.parametrize(
    ("fields", "cap", "limit"),
    [
        ({}, CAP, 256),
        ({"max_tokens": 1000}, CAP, 1000),
        ({"max_tokens": 100}, 50, 100),
        ({"max_tokens": 2}, 1, 2),
        ({"max_completion_tokens": 60, "max_tokens": 900}, 30, 60),
        ({"max_tokens": None}, CAP, 256),
        ({"max_tokens": -1}, CAP, 256),
        ({"n_predict": 40}, 20, 40),
        ({"thinking_budget_tokens": 10}, 10, 256),
        ({"thinking_budget_tokens": 5000}, CAP, 256),
        ({"thinking_budget_tokens": -1}, CAP, 256),
        ({"n": 1}, CAP, 256),
    ],
)
def test_thinking_takes_a_share_of_the_limit_and_leaves_the_rest_to_the_answer(
    fields: dict[str, Any], cap: int, limit: int
) -> None:
    asked = read(json.dumps(THINK | fields).encode())
    assert asked is not None
    assert (asked.cap, asked.limit) == (cap, limit)
    assert asked.first()["max_tokens"] == cap
    assert asked.second("so", cap)["max_tokens"] == limit - cap


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"chat_template_kwargs": null}',
        b'{"chat_template_kwargs": {"enable_thinking": false}}',
        json.dumps(THINK | {"n": 2}).encode(),
        json.dumps(THINK | {"max_tokens": 1}).encode(),
        json.dumps(THINK | {"thinking_budget_tokens": 0}).encode(),
    ],
)
def test_what_is_not_to_be_completed_is_left_to_llama_cpp(body: bytes) -> None:
    assert read(body) is None


def test_unknown_fields_reach_both_runs_and_the_form_of_the_answer_only_the_second() -> None:
    asked = read(
        json.dumps(
            THINK
            | {"x_unknown": [1.50, None], "seed": 7, "stop": ["END"], "grammar": "root ::= .*"}
            | {"chat_template_kwargs": {"enable_thinking": True, "theirs": 1}}
        ).encode()
    )
    assert asked is not None
    first, second = asked.first(), asked.second("so", 12)
    for run in (first, second):
        assert run["x_unknown"] == [1.5, None]
        assert run["seed"] == 7
        assert run["chat_template_kwargs"]["theirs"] == 1
    assert first["stop"] == ["</think>"]
    assert "grammar" not in first
    assert second["stop"] == ["END"]
    assert second["grammar"] == "root ::= .*"
    assert second["chat_template_kwargs"]["enable_thinking"] is False
    assert second["chat_template_kwargs"]["thought"] == "so"
