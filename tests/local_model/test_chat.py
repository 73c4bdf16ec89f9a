"""The engine's request for a chat completion, and the fold of its chunks: pure values."""

import json
from typing import Any

import pytest

from gateway.local_model.chat import fold_chunks, read_request


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"null", b'"{}"'])
def test_a_body_that_is_no_object_goes_to_llama_cpp_unchanged(body: bytes) -> None:
    assert read_request(body) is None


def test_a_request_is_forwarded_with_all_its_members_as_a_stream() -> None:
    body = {"x_unknown": [1.5, None], "stop": ["END"], "stream": False, "stream_options": None}
    request = read_request(json.dumps(body).encode())
    assert request is not None
    assert request.build_body() == body | {
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
    }


def make_choice(index: int, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "finish_reason": finish, "delta": delta}


def test_chunks_fold_into_the_whole_answer() -> None:
    def make_chunk(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
        return {"id": "a", "object": "chat.completion.chunk", "choices": list(choices)} | fields

    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": "{"}}
    assert fold_chunks(
        [
            make_chunk(make_choice(0, role="assistant", content=None), created=1),
            make_chunk(make_choice(1, role="assistant", content=None), created=1),
            make_chunk(
                make_choice(1, content="Ja") | {"logprobs": {"content": [{"token": "Ja"}]}},
                created=2,
            ),
            make_chunk(make_choice(0, tool_calls=[call]), created=2),
            make_chunk(
                make_choice(0, tool_calls=[{"index": 0, "function": {"arguments": "}"}}]), created=2
            ),
            make_chunk(make_choice(1, content="."), created=2),
            make_chunk(make_choice(1, "stop"), make_choice(0, "tool_calls"), created=3),
            make_chunk(usage={"prompt_tokens": 1}, created=3),
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
def test_a_seed_turns_the_prompt_cache_off_unless_the_request_sets_it(
    fields: dict[str, Any], cached: bool | None
) -> None:
    request = read_request(json.dumps(fields).encode())
    assert request is not None
    assert request.build_body().get("cache_prompt") is cached
