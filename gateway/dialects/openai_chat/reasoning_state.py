"""Reasoning and its state in messages: `reasoning_content`, `reasoning_details` and the like.

`reasoning_details` is a list of blocks. OpenRouter's API reference has the types reasoning.text,
.summary and .encrypted; pieces of one block have the same type and index. States that the gateway
labelled stand there too: see gateway.dialects.reasoning_state.

Some hosts want the reasoning of a message with tool calls back (ModelFacts.replays_reasoning), in
the member in which they gave it, and refuse a request without. They accept an empty text. The
gateway changes only messages that lack it: all other bytes stay as they are.
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
"""Members for the text of reasoning; some hosts repeat it in two of them."""
DETAILS = "reasoning_details"
"""The member that holds labelled states and OpenRouter's blocks."""
_MESSAGES = "messages"
_MAX_TURNS = 100
"""The number of turns of a tool loop that the gateway looks up: the newest."""

_JOINED_MEMBERS = frozenset({"text", "summary", "data"})


def read_reasoning_text(details: Iterable[Json]) -> str:
    """Return the readable text of blocks."""
    texts = []
    for detail in details:
        if isinstance(detail, dict):
            text = detail.get("text") or detail.get("summary")
            if isinstance(text, str):
                texts.append(text)
    return "".join(texts)


def has_sealed_state(details: Iterable[Object]) -> bool:
    """True if blocks hold a state for their maker alone."""
    return any(detail.get("data") or detail.get("signature") for detail in details)


def join_details(blocks: list[Object], pieces: Iterable[Json]) -> list[Object]:
    """Add more pieces to blocks, and return the blocks."""
    for piece in pieces:
        if not isinstance(piece, dict):
            continue
        last = blocks[-1] if blocks else {}
        index = piece.get("index")
        if isinstance(index, int) and index == last.get("index") and _kind(piece) == _kind(last):
            for name, value in piece.items():
                if name in _JOINED_MEMBERS and isinstance(value, str):
                    last[name] = (last.get(name) or "") + value
                elif value is not None:
                    last[name] = value
        else:
            blocks.append(dict(piece))
    return blocks


def _kind(detail: Object) -> Json:
    return detail.get("type")


def remove_foreign_reasoning(body: RequestBody, target: Target) -> BodyPatch:
    """Return a patch of a body that leaves out reasoning of other makers than the target's."""
    if not reasoning_state.may_hold_label(body):
        return BodyPatch(body)
    labels = reasoning_state.ReasoningLabels(target, "openai-chat")

    def fix(raw: bytes, block: Json) -> bytes | None:
        state = labels.read_slot(block.get("data")) if isinstance(block, dict) else None
        if state is None:
            return raw
        details = _read_details(state)
        if not details:
            labels.has_losses = True
        return b",".join(map(jsonio.dumps, details)) or None

    message = reasoning_state.fix_member(DETAILS, reasoning_state.fix_items(fix))
    return reasoning_state.patch_member(
        body, "messages", labels, reasoning_state.fix_items(message)
    )


def _read_details(state: str) -> list[Json]:
    """Return the blocks of a state; none if the state is only the name of a member."""
    try:
        value = jsonio.loads_text(state)
    except jsonio.JsonError:
        return []
    return value if isinstance(value, list) else []


def find_missing_reasoning(messages: list[Object]) -> list[str]:
    """Return the first call of each turn in the tool loop without a state, oldest first."""
    ids: list[str] = []
    for message in reversed(messages):
        if message.get("role") == "user" or len(ids) == _MAX_TURNS:
            break
        id = _first_call_id(message)
        if id and not message.get(DETAILS):
            ids.append(id)
    return ids[::-1]


def hash_user_messages(messages: list[Object]) -> str:
    """Hash the user messages, which all requests of one tool loop share.

    Ids of calls are not enough: some hosts count them from 0 in each conversation (Moonshot's
    `functions.name:0`).
    """
    contents = [message.get("content") for message in messages if message.get("role") == "user"]
    return hashlib.blake2b(jsonio.dumps(contents), digest_size=16).hexdigest()


def restore_native_reasoning(
    body: RequestBody, notes: Mapping[str, ReasoningNote], maker: str
) -> tuple[RequestBody, str]:
    """Put the noted reasoning of `maker` into a body; return it with the model left out, if any."""
    lost_model = ""

    def fix(raw: bytes, message: Json) -> bytes | None:
        nonlocal lost_model
        note = notes.get(_first_call_id(message))
        if note is None or _has_reasoning(message):
            return raw
        if note.maker != maker:
            lost_model = note.model
            return raw
        for called in note.calls.values():
            for kept in called.thoughts:
                raw = _put_thought(raw, kept)
        return raw

    return _fix_messages(body, fix), lost_model


def add_empty_reasoning(edit: BodyPatch, target: Target) -> None:
    """Add empty reasoning to messages that lack it, if the host wants some."""
    body = edit.body
    thinks = effort.find_effective(body.prompt, target) != "none"
    if not (target.facts.replays_reasoning and thinks):
        return

    def fix(raw: bytes, message: Json) -> bytes | None:
        is_missing = _first_call_id(message) and not _has_reasoning(message)
        return reasoning_state.set_member(raw, REASONING_MEMBERS[0], "") if is_missing else raw

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
    """Put a thought into a message, in the member that it came in."""
    if kept.state in REASONING_MEMBERS:
        before = jsonio.loads(raw).get(kept.state)
        return reasoning_state.set_member(raw, kept.state, (before or "") + kept.text)
    if kept.state[:1] != "[":
        return raw
    parts = jsonio.read_members(raw)
    parts[DETAILS] = msgspec.Raw(kept.state.encode())
    return jsonio.join_members(parts)


def _first_call_id(message: Json) -> str:
    """Return the id of the first call of an assistant's message; empty if there is none."""
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    call = calls[0] if isinstance(calls, list) and calls else None
    id = call.get("id") if isinstance(call, dict) else None
    return id if isinstance(id, str) else ""


def _has_reasoning(message: Object) -> bool:
    return any(isinstance(message.get(name), str) for name in REASONING_MEMBERS) or bool(
        message.get(DETAILS)
    )
