"""The engine's request for a chat completion, and the fold of its chunks: pure values."""

import json
from typing import Any

import pytest

from gateway.local_model.chat import fold_chunks, read_request


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"null", b'"{}"'])
def test_what_is_no_object_is_left_to_llama_cpp_to_refuse(body: bytes) -> None:
    assert read_request(body) is None


def test_what_is_asked_is_sent_as_it_is_and_streamed() -> None:
    body = {"x_unknown": [1.5, None], "stop": ["END"], "stream": False, "stream_options": None}
    asked = read_request(json.dumps(body).encode())
    assert asked is not None
    assert asked.build_body() == body | {
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
    }


def piece(index: int, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "finish_reason": finish, "delta": delta}


def test_a_fold_says_what_the_chunks_said() -> None:
    def chunk(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
        return {"id": "a", "object": "chat.completion.chunk", "choices": list(choices)} | fields

    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": "{"}}
    assert fold_chunks(
        [
            chunk(piece(0, role="assistant", content=None), created=1),
            chunk(piece(1, role="assistant", content=None), created=1),
            chunk(piece(1, content="Ja") | {"logprobs": {"content": [{"token": "Ja"}]}}, created=2),
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
    asked = read_request(json.dumps(fields).encode())
    assert asked is not None
    assert asked.build_body().get("cache_prompt") is cached
