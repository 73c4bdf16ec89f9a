"""Make the oracle of a recording that has none: what the official SDKs decode from its bytes.

An oracle has the form of a row of `oracle.jsonl.gz`. The SDKs say whether an answer can be decoded;
what their objects hold is read by the names of the dialect alone.
"""

import json
from collections.abc import Iterable
from typing import Any

from tests.corpus.sdk_clients import SdkClients

type Object = dict[str, Any]


def make_oracle(clients: SdkClients, dialect: str, body: bytes, *, stream: bool) -> Object:
    """Return what the SDK of a dialect decodes, or the error that it raises."""
    clients.set_answer(body, stream=stream)
    try:
        if not stream and isinstance(json.loads(body), list):
            raise TypeError("a list of chunks, of which no SDK makes an answer")  # noqa: TRY301 - as the SDK's own
        oracle = _READERS[dialect](clients, stream)
    except Exception as error:  # noqa: BLE001 - whatever the SDK raises is its verdict
        return {"outcome": "error", "error_class": type(error).__name__, "error": str(error)}
    return {"outcome": "ok", **oracle}


def _read_chat(clients: SdkClients, stream: bool) -> Object:
    if not stream:
        completion: Object = clients.openai.chat.completions.create(**_CHAT).to_dict(warnings=False)
        choices = [
            _read_chat_choice(
                [choice["message"]], choice.get("finish_reason"), choice.get("index", 0)
            )
            for choice in completion.get("choices") or ()
        ]
        return {"choices": choices, "usage": completion.get("usage")}
    pieces: dict[int, list[Object]] = {}
    finish: dict[int, str | None] = {}
    usage = None
    for chunk in clients.openai.chat.completions.create(**_CHAT, stream=True):
        value: Object = chunk.to_dict(warnings=False)
        usage = value.get("usage") or usage
        for choice in value.get("choices") or ():
            at = choice.get("index", 0)
            pieces.setdefault(at, []).append(choice.get("delta") or {})
            finish[at] = choice.get("finish_reason") or finish.get(at)
    choices = [
        _read_chat_choice(choice_pieces, finish.get(at), at)
        for at, choice_pieces in sorted(pieces.items())
    ]
    return {"choices": choices, "usage": usage}


def _read_chat_choice(pieces: list[Object], finish: str | None, index: int) -> Object:
    text, reasoning = "", ""
    for piece in pieces:
        content = piece.get("content")
        if isinstance(content, dict):  # JSON mode of a host
            return {**_read_chat_choice([{**piece, "content": ""}], finish, index), "text": content}
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        text += "".join(part.get("text") or "" for part in parts if part.get("type") == "text")
        thoughts = [part.get("thinking") for part in parts if part.get("type") == "thinking"]
        text_of_thoughts = "".join(_join_thoughts(thought) for thought in thoughts)
        reasoning += next(
            (piece[name] for name in _REASONING if isinstance(piece.get(name), str) and piece[name]),
            "".join(detail.get("text") or detail.get("summary") or "" for detail in _details(piece)),
        )  # fmt: skip
        reasoning += text_of_thoughts
    return {
        "index": index,
        "text": text,
        "reasoning": reasoning,
        "refusal": "".join(piece.get("refusal") or "" for piece in pieces),
        "finish": finish,
        "tools": _join_calls(pieces),
    }


def _join_thoughts(thinking: Any) -> str:
    if isinstance(thinking, list):
        return "".join(part.get("text") or "" for part in thinking)
    return thinking or ""


def _details(piece: Object) -> list[Object]:
    details = piece.get("reasoning_details")
    return (
        [detail for detail in details if isinstance(detail, dict)]
        if isinstance(details, list)
        else []
    )


def _join_calls(pieces: list[Object]) -> list[list[Any]]:
    """Join the pieces of calls; a piece with another id under the same index begins a call."""
    calls: list[list[Any]] = []
    open_calls: dict[Any, list[Any]] = {}
    for piece in pieces:
        for call in piece.get("tool_calls") or ():
            id, index = call.get("id"), call.get("index")
            held = open_calls.get(index)
            if held is None or len(pieces) == 1 or (id and held[0] and id != held[0]):
                held = open_calls[index] = [id, "", ""]
                calls.append(held)
            inner = call.get("function") or call.get("custom") or {}
            held[0] = held[0] or id
            held[1] = held[1] or inner.get("name") or ""
            held[2] += inner.get("arguments") or inner.get("input") or ""
    return calls


def _read_responses(clients: SdkClients, stream: bool) -> Object:
    if not stream:
        return _read_response(
            clients.openai.responses.create(model="m", input="hi").to_dict(warnings=False)
        )
    oracle: Object = {"delta_text": "", "delta_reasoning": ""}
    for event in clients.openai.responses.create(model="m", input="hi", stream=True):
        value: Object = event.to_dict(warnings=False)
        kind = value.get("type")
        if kind == "response.output_text.delta":
            oracle["delta_text"] += value["delta"]
        elif kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            oracle["delta_reasoning"] += value["delta"]
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            oracle |= _read_response(value["response"])
    return oracle


def _read_response(response: Object) -> Object:
    items = response.get("output") or []
    messages = [item for item in items if item["type"] == "message"]
    return {
        "status": response.get("status"),
        "text": "".join(
            part.get("text") or "" for message in messages for part in message.get("content") or ()
        ),
        "items": [item["type"] for item in items],
        "tools": [
            [item.get("call_id"), item["name"], item["arguments"]]
            for item in items
            if item["type"] == "function_call"
        ],
        "usage": response.get("usage"),
        "incomplete": response.get("incomplete_details"),
        "error": response.get("error"),
    }


def _read_messages(clients: SdkClients, stream: bool) -> Object:
    messages = clients.anthropic.messages
    if stream:
        with messages.stream(**_CHAT, max_tokens=1) as events:
            message = events.get_final_message().to_dict(warnings=False)
    else:
        message = messages.create(**_CHAT, max_tokens=1).to_dict(warnings=False)
    return {
        "content": message.get("content") or [],
        "finish": message.get("stop_reason"),
        "usage": message.get("usage"),
    }


def _read_gemini(clients: SdkClients, stream: bool) -> Object:
    chunks = [
        chunk.model_dump(mode="json", exclude_none=True) for chunk in clients.list_chunks(stream)
    ]
    firsts = [candidate for chunk in chunks for candidate in (chunk.get("candidates") or ())[:1]]
    parts = [part for first in firsts for part in (first.get("content") or {}).get("parts") or ()]
    calls = [part["function_call"] for part in parts if "function_call" in part]
    blocked = [
        reason
        for chunk in chunks
        if (reason := (chunk.get("prompt_feedback") or {}).get("block_reason"))
    ]
    return {
        "text": _join_text(part for part in parts if not part.get("thought")),
        "thought": _join_text(part for part in parts if part.get("thought")),
        "tools": [[call.get("id"), call.get("name"), call.get("args") or {}] for call in calls],
        "finish": [first["finish_reason"] for first in firsts if first.get("finish_reason")],
        "usage": next((chunk["usage_metadata"] for chunk in chunks[::-1] if "usage_metadata" in chunk), None),
        **({"blocked": blocked[-1]} if blocked else {}),
    }  # fmt: skip


def _join_text(parts: Iterable[Object]) -> str:
    return "".join(part.get("text") or "" for part in parts)


_CHAT: Object = {"model": "m", "messages": []}
_REASONING = ("reasoning_content", "reasoning", "reasoning_text")
_READERS = {
    "openai-chat": _read_chat,
    "openai-responses": _read_responses,
    "anthropic-messages": _read_messages,
    "gemini": _read_gemini,
}
