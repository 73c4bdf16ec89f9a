"""Reasoning of an assistant's messages that did not come back with a request, put back at home.

Some hosts want the reasoning of a message with calls of tools again (Facts.replays_reasoning), in
the member in which they gave it, and refuse the request without; an empty text is one. Only what
lacks it is put together anew: all other bytes stay as they are.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.target import Target
from gateway.dialects import reasoning_state
from gateway.dialects.base import RequestBody
from gateway.dialects.body_patch import BodyPatch
from gateway.dialects.openai_chat import effort
from gateway.dialects.openai_chat.stream_decoder import REASONING
from gateway.dialects.tool_reasoning import KeptReasoning, ReasoningNote

type Object = dict[str, Json]

_MESSAGES, _DETAILS = "messages", "reasoning_details"
_MOST = 100
"""Turns of a tool loop that are looked up, the newest."""


def wanted(messages: list[Object]) -> list[str]:
    """First calls of the turns in the tool loop whose reasoning state is missing, oldest first."""
    found: list[str] = []
    for message in reversed(messages):
        if message.get("role") == "user" or len(found) == _MOST:
            break
        id = _first(message)
        if id and not message.get(_DETAILS):
            found.append(id)
    return found[::-1]


def base(messages: list[Object]) -> str:
    """What the requests of one tool loop have in common: all that the user has said.

    Some hosts count the ids of calls anew in each conversation (Moonshot's `functions.name:0`).
    """
    said = [message.get("content") for message in messages if message.get("role") == "user"]
    return hashlib.blake2b(jsonio.dumps(said), digest_size=16).hexdigest()


def home(
    body: RequestBody, notes: Mapping[str, ReasoningNote], maker: str
) -> tuple[RequestBody, str]:
    """A body with what `maker` noted of its calls, and the model whose reasoning is left out."""
    lost = ""

    def fix(raw: bytes, message: Json) -> bytes | None:
        nonlocal lost
        note = notes.get(_first(message))
        if note is None or _reasons(message):
            return raw
        if note.maker != maker:
            lost = note.model
            return raw
        for called in note.calls.values():
            for kept in called.thoughts:
                raw = _put(raw, kept)
        return raw

    return _fixed(body, fix), lost


def fill(edit: BodyPatch, target: Target) -> None:
    """Empty reasoning, where a host wants some and there is none."""
    body = edit.body
    thinks = effort.effective(body.prompt, target) != "none"
    if not (target.facts.replays_reasoning and thinks):
        return

    def fix(raw: bytes, message: Json) -> bytes | None:
        missing = _first(message) and not _reasons(message)
        return reasoning_state.set_member(raw, REASONING[0], "") if missing else raw

    fixed = _fixed(body, fix)
    if fixed is not body:
        edit.set_member(_MESSAGES, fixed.members[_MESSAGES])


def _fixed(body: RequestBody, fix: reasoning_state.ValueFixer) -> RequestBody:
    raw = bytes(memoryview(body.members[_MESSAGES]))
    fixed = reasoning_state.fix_items(fix)(raw, body.value[_MESSAGES])
    if fixed is raw or fixed is None:
        return body
    members = {**body.members, _MESSAGES: msgspec.Raw(fixed)}
    value = {**body.value, _MESSAGES: jsonio.loads(fixed)}
    return RequestBody(jsonio.join_members(members), members, value, body.prompt)


def _put(raw: bytes, kept: KeptReasoning) -> bytes:
    """A message with a thought in the member that it was told in."""
    if kept.state in REASONING:
        before = jsonio.loads(raw).get(kept.state)
        return reasoning_state.set_member(raw, kept.state, (before or "") + kept.text)
    if kept.state[:1] != "[":
        return raw
    parts = jsonio.read_members(raw)
    parts[_DETAILS] = msgspec.Raw(kept.state.encode())
    return jsonio.join_members(parts)


def _first(message: Json) -> str:
    """The id of the first call of an assistant's message; empty where there is none."""
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    call = calls[0] if isinstance(calls, list) and calls else None
    id = call.get("id") if isinstance(call, dict) else None
    return id if isinstance(id, str) else ""


def _reasons(message: Object) -> bool:
    return any(isinstance(message.get(name), str) for name in REASONING) or bool(
        message.get(_DETAILS)
    )
