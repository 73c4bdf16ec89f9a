"""The messages of a request, read as turns: results of tools are parts of a user's turn."""

from collections.abc import Iterable
from typing import cast

from gateway.core import jsonio
from gateway.core.canonical_request import (
    CanonicalTurn,
    Foreign,
    Media,
    Part,
    Refused,
    Role,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)  # fmt: skip
from gateway.core.jsonio import Json
from gateway.dialects import reasoning_state
from gateway.dialects.openai_chat import content as parts
from gateway.dialects.openai_chat.content import cache
from gateway.dialects.openai_chat.reasoning import sealed, shown
from gateway.dialects.openai_chat.tools import made, signature

__all__ = ["cache", "turns"]

type Object = dict[str, Json]

_REASONING = ("reasoning_content", "reasoning", "reasoning_text")


def turns(messages: Iterable[Object]) -> tuple[CanonicalTurn, ...]:
    """One turn a message, in their order."""
    reader = _Reader()
    return tuple([reader.turn(message) for message in messages])


class _Reader:
    """What a result needs to know of the calls before it."""

    __slots__ = ("_calls", "_count", "_last")

    def __init__(self) -> None:
        self._calls: dict[str, ToolUse] = {}
        self._count = 0
        self._last: dict[str, str] = {}
        """The id of the last call of a function, where calls have none."""

    def turn(self, message: Object) -> CanonicalTurn:
        role = message.get("role")
        name = message.get("name")
        match role:
            case "system" | "developer" | "user":
                found = tuple(parts.read(message.get("content")))
            case "assistant":
                found = tuple(self._assistant(message))
            case "tool" | "function":
                return CanonicalTurn(role="user", parts=(self._result(message),), source=message)
            case _:
                return CanonicalTurn(role="user", parts=(Foreign(kind=str(role), source=message),))
        return CanonicalTurn(
            role=cast("Role", role),
            parts=found,
            name=name if isinstance(name, str) and name else None,
            source=message,
        )

    def _assistant(self, message: Object) -> list[Part]:
        thoughts, states = _thoughts(message)
        found: list[Part] = [*thoughts, *parts.read(message.get("content"))]
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal:
            found.append(Refused(text=refusal, source=refusal))
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            found += [self._call(call, states) for call in calls if isinstance(call, dict)]
        call = message.get("function_call")
        if isinstance(call, dict):
            found.append(self._call({"function": call}, {}))
        if message.get("audio"):
            found.append(Foreign(kind="audio", source=message["audio"]))
        return found

    def _call(self, call: Object, states: dict[str, str]) -> ToolUse:
        custom = call.get("type") == "custom"
        said = call.get("custom" if custom else "function")
        inside: Object = said if isinstance(said, dict) else {}
        name = inside.get("name")
        name = name if isinstance(name, str) else ""
        given = inside.get("input" if custom else "arguments")
        id = call.get("id")
        if not isinstance(id, str) or not id:
            self._count += 1
            id = self._last[name] = made(f"{self._count}/{name}")
        state = states.get(id) or signature(call)
        whose, state = reasoning_state.split_label(state) if state is not None else (None, None)
        use = ToolUse(
            id=id,
            name=name,
            arguments=given if isinstance(given, str) else _json(given),
            custom=custom,
            state=state,
            maker=whose,
            source=call,
        )
        self._calls[id] = use
        return use

    def _result(self, message: Object) -> ToolResult:
        id, name = message.get("tool_call_id"), message.get("name")
        name = name if isinstance(name, str) and name else None
        if not isinstance(id, str) or not id:
            id = self._last.get(name or "") or made(f"result/{name}")
        call = self._calls.get(id)
        found = parts.read(message.get("content"))
        said = [part for part in found if isinstance(part, Text | Media)]
        lost = [_text(part) for part in found if not isinstance(part, Text | Media)]
        return ToolResult(
            id=id,
            name=name if call is None else call.name,
            parts=(*said, *lost),
            custom=call is not None and call.custom,
            source=message,
        )


def _text(part: Part) -> Text:
    """A part that a result cannot hold, as the JSON that it is: the model reads it all the same."""
    source = getattr(part, "source", None)
    return Text(text=_json(source), source=source)


def _thoughts(message: Object) -> tuple[list[Thought], dict[str, str]]:
    """Reasoning of an assistant's message, and states of its calls by their ids.

    States that the gateway labelled are blocks of their own, each of so many characters of the
    text; other blocks are the state of a host, as they are.
    """
    text = next((it for name in _REASONING if isinstance(it := message.get(name), str) and it), "")
    listed = message.get("reasoning_details")
    blocks = [it for it in listed if isinstance(it, dict)] if isinstance(listed, list) else []
    ours = [it for it in blocks if _labelled(it)]
    theirs = [it for it in blocks if not _labelled(it)]
    states = {it["id"]: it["data"] for it in ours if isinstance(it.get("id"), str)}
    found, at = [], 0
    mine = [it for it in ours if it.get("id") not in states]
    for block in mine:
        whose, state = reasoning_state.split_label(block["data"])
        chars = block.get("chars")
        end = at + chars if isinstance(chars, int) else at
        end = len(text) if block is mine[-1] and not block.get("redacted") else end
        part = "" if block.get("redacted") else text[at:end]
        at = max(at, end)
        found.append(
            Thought(
                text=part,
                state=state,
                redacted=block.get("redacted") is True,
                maker=whose,
                source=block,
            )
        )
    rest, native = text[at:] or shown(theirs), _json(theirs) if sealed(theirs) else None
    if rest or native:
        found.append(Thought(text=rest, state=native, redacted=not rest, source=listed or text))
    return found, states


def _labelled(block: Object) -> bool:
    data = block.get("data")
    return isinstance(data, str) and data.startswith(reasoning_state.LABEL_PREFIX)


def _json(value: Json) -> str:
    return "" if value is None else jsonio.dumps(value).decode()
