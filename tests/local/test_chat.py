"""What is asked of the model for a chat completion, and the fold of its chunks: pure values."""

import json
from typing import Any

import pytest

from gateway.local.chat import CAP, fold, read

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


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"null", b'"{}"'])
def test_what_is_no_object_is_left_to_llama_cpp_to_refuse(body: bytes) -> None:
    assert read(body) is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"chat_template_kwargs": None},
        {"chat_template_kwargs": {"enable_thinking": False}},
        THINK | {"n": 2},
        THINK | {"max_tokens": 1},
        THINK | {"thinking_budget_tokens": 0},
    ],
)
def test_one_run_is_enough_without_thinking_or_without_room_for_it(fields: dict[str, Any]) -> None:
    asked = read(json.dumps(fields).encode())
    assert asked is not None
    assert asked.cap == 0
    assert asked.plain() == fields | {
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
    }


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
    assert second["stop"] == ["END", "</think>"]
    assert second["grammar"] == "root ::= .*"
    assert second["chat_template_kwargs"]["enable_thinking"] is False
    assert second["chat_template_kwargs"]["thought"] == "so"


def piece(index: int, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "finish_reason": finish, "delta": delta}


def test_a_fold_says_what_the_chunks_said() -> None:
    def chunk(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
        return {"id": "a", "object": "chat.completion.chunk", "choices": list(choices)} | fields

    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": "{"}}
    assert fold(
        [
            chunk(piece(0, role="assistant", content=None), created=1),
            chunk(piece(1, role="assistant", content=None), created=1),
            chunk(piece(1, content="Ja") | {"logprobs": {"content": [{"token": "Ja"}]}}, created=2),
            chunk(piece(0, reasoning_content="so"), created=2),
            chunk(piece(0, tool_calls=[call]), created=2),
            chunk(piece(0, tool_calls=[{"index": 0, "function": {"arguments": "}"}}]), created=2),
            chunk(piece(1, content="."), created=2),
            chunk(piece(1, "stop"), piece(0, "tool_calls"), created=3),
            chunk(usage={"prompt_tokens": 1}, created=3),
        ]
    ) == {
        "id": "a",
        "object": "chat.completion",
        "created": 1,
        "usage": {"prompt_tokens": 1},
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "content": "",
                    "reasoning_content": "so",
                    "tool_calls": [
                        {
                            "id": "t",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                        }
                    ],
                },
            },
            {
                "index": 1,
                "finish_reason": "stop",
                "logprobs": {"content": [{"token": "Ja"}]},
                "message": {"role": "assistant", "content": "Ja."},
            },
        ],
    }


@pytest.mark.parametrize(
    ("fields", "cached"),
    [({}, None), ({"seed": 7}, False), ({"seed": 7, "cache_prompt": True}, True)],
)
def test_a_seed_forgoes_the_cache_unless_asked_otherwise(
    fields: dict[str, Any], cached: bool | None
) -> None:
    asked = read(json.dumps(THINK | fields).encode())
    assert asked is not None
    for run in (asked.plain(), asked.first(), asked.second("so", 1)):
        assert run.get("cache_prompt") is cached
