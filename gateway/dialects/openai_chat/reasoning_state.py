"""Reasoning and its state in messages: `reasoning_content`, `reasoning_details` and the like.

Blocks: OpenRouter's API reference has the types reasoning.text, .summary and .encrypted; pieces of
one block have the same type and index. States that the gateway labelled stand there too: see
gateway.dialects.reasoning_state.

Some hosts want the reasoning of a message with calls of tools again (Facts.replays_reasoning), in
the member in which they gave it, and refuse the request without; an empty text is one. Only what
lacks it is put together anew: all other bytes stay as they are.
"""

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.target import Target
from gateway.dialects import reasoning_state
from gateway.dialects.base import RequestBody
from gateway.dialects.body_patch import BodyPatch
from gateway.dialects.openai_chat import effort
from gateway.dialects.tool_reasoning import KeptReasoning, ReasoningNote

type Object = dict[str, Json]

REASONING_MEMBERS = ("reasoning_content", "reasoning", "reasoning_text")
"""Where hosts put reasoning; some of them say it in two places at once."""
DETAILS = "reasoning_details"
"""The member in which a labelled state and OpenRouter's blocks stand."""
_MESSAGES = "messages"
_MOST = 100
"""Turns of a tool loop that are looked up, the newest."""

_JOINED = frozenset({"text", "summary", "data"})


def read_reasoning_text(details: Iterable[Json]) -> str:
    """The readable text of blocks."""
    found = []
    for detail in details:
        if isinstance(detail, dict):
            text = detail.get("text") or detail.get("summary")
            if isinstance(text, str):
                found.append(text)
    return "".join(found)


def has_sealed_state(details: Iterable[Object]) -> bool:
    """Whether blocks hold a state for their maker alone."""
    return any(detail.get("data") or detail.get("signature") for detail in details)


def join_details(held: list[Object], pieces: Iterable[Json]) -> list[Object]:
    """Blocks, and more pieces of them."""
    for piece in pieces:
        if not isinstance(piece, dict):
            continue
        last = held[-1] if held else {}
        index = piece.get("index")
        if isinstance(index, int) and index == last.get("index") and _kind(piece) == _kind(last):
            for name, value in piece.items():
                if name in _JOINED and isinstance(value, str):
                    last[name] = (last.get(name) or "") + value
                elif value is not None:
                    last[name] = value
        else:
            held.append(dict(piece))
    return held


def _kind(detail: Object) -> Json:
    return detail.get("type")


def remove_foreign_reasoning(body: RequestBody, target: Target) -> BodyPatch:
    """A body on its way to a target, without the reasoning of others."""
    if not reasoning_state.may_hold_label(body):
        return BodyPatch(body)
    seals = reasoning_state.ReasoningLabels(target, "openai-chat")

    def fix(raw: bytes, block: Json) -> bytes | None:
        state = seals.read_slot(block.get("data")) if isinstance(block, dict) else None
        if state is None:
            return raw
        details = _read_details(state)
        if not details:
            seals.has_losses = True
        return b",".join(map(jsonio.dumps, details)) or None

    message = reasoning_state.fix_member(DETAILS, reasoning_state.fix_items(fix))
    return reasoning_state.patch_member(body, "messages", seals, reasoning_state.fix_items(message))


def _read_details(state: str) -> list[Json]:
    """The blocks of a host; a state that is the name of a member is none, and its text stands."""
    try:
        value = jsonio.loads(state.encode())
    except jsonio.JsonError:
        return []
    return value if isinstance(value, list) else []


def find_missing_reasoning(messages: list[Object]) -> list[str]:
    """First calls of the turns in the tool loop whose reasoning state is missing, oldest first."""
    found: list[str] = []
    for message in reversed(messages):
        if message.get("role") == "user" or len(found) == _MOST:
            break
        id = _first_call_id(message)
        if id and not message.get(DETAILS):
            found.append(id)
    return found[::-1]


def hash_user_messages(messages: list[Object]) -> str:
    """What the requests of one tool loop have in common: all that the user has said.

    Some hosts count the ids of calls anew in each conversation (Moonshot's `functions.name:0`).
    """
    said = [message.get("content") for message in messages if message.get("role") == "user"]
    return hashlib.blake2b(jsonio.dumps(said), digest_size=16).hexdigest()


def restore_native_reasoning(
    body: RequestBody, notes: Mapping[str, ReasoningNote], maker: str
) -> tuple[RequestBody, str]:
    """A body with what `maker` noted of its calls, and the model whose reasoning is left out."""
    lost = ""

    def fix(raw: bytes, message: Json) -> bytes | None:
        nonlocal lost
        note = notes.get(_first_call_id(message))
        if note is None or _has_reasoning(message):
            return raw
        if note.maker != maker:
            lost = note.model
            return raw
        for called in note.calls.values():
            for kept in called.thoughts:
                raw = _put_thought(raw, kept)
        return raw

    return _fix_messages(body, fix), lost


def add_empty_reasoning(edit: BodyPatch, target: Target) -> None:
    """Empty reasoning, where a host wants some and there is none."""
    body = edit.body
    thinks = effort.effective(body.prompt, target) != "none"
    if not (target.facts.replays_reasoning and thinks):
        return

    def fix(raw: bytes, message: Json) -> bytes | None:
        missing = _first_call_id(message) and not _has_reasoning(message)
        return reasoning_state.set_member(raw, REASONING_MEMBERS[0], "") if missing else raw

    fixed = _fix_messages(body, fix)
    if fixed is not body:
        edit.set_member(_MESSAGES, fixed.members[_MESSAGES])


def _fix_messages(body: RequestBody, fix: reasoning_state.ValueFixer) -> RequestBody:
    raw = bytes(memoryview(body.members[_MESSAGES]))
    fixed = reasoning_state.fix_items(fix)(raw, body.value[_MESSAGES])
    if fixed is raw or fixed is None:
        return body
    members = {**body.members, _MESSAGES: msgspec.Raw(fixed)}
    value = {**body.value, _MESSAGES: jsonio.loads(fixed)}
    return RequestBody(jsonio.join_members(members), members, value, body.prompt)


def _put_thought(raw: bytes, kept: KeptReasoning) -> bytes:
    """A message with a thought in the member that it was told in."""
    if kept.state in REASONING_MEMBERS:
        before = jsonio.loads(raw).get(kept.state)
        return reasoning_state.set_member(raw, kept.state, (before or "") + kept.text)
    if kept.state[:1] != "[":
        return raw
    parts = jsonio.read_members(raw)
    parts[DETAILS] = msgspec.Raw(kept.state.encode())
    return jsonio.join_members(parts)


def _first_call_id(message: Json) -> str:
    """The id of the first call of an assistant's message; empty where there is none."""
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    call = calls[0] if isinstance(calls, list) and calls else None
    id = call.get("id") if isinstance(call, dict) else None
    return id if isinstance(id, str) else ""


def _has_reasoning(message: Object) -> bool:
    return any(isinstance(message.get(name), str) for name in REASONING_MEMBERS) or bool(
        message.get(DETAILS)
    )
