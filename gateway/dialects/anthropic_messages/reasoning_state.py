"""Slots for reasoning state: signatures, redacted data, and the gateway's labels in them.

Some state belongs to one tool call, but a `tool_use` block has no member for it. The gateway puts
it into an empty `thinking` block beside the call, with the id of the call. Clients send such a
block back unchanged. See gateway.dialects.reasoning_state for the labels.
"""

from collections.abc import Iterable

import msgspec

from gateway.core.canonical_request import Part, Thought, ToolUse
from gateway.core.jsonio import Json
from gateway.core.target import Target
from gateway.dialects import reasoning_state
from gateway.dialects.base import RequestBody
from gateway.dialects.body_patch import BodyPatch

_TOOL_PREFIX = "tool:"
"""Precedes the state of one tool call, behind the label. Base64 of makers has no colon."""
_SLOT_MEMBERS = {"thinking": "signature", "redacted_thinking": "data"}


def write_slot(label: str, state: str | None, tool: str = "") -> str:
    """Return the slot for a state, tied to a tool call if `tool` is its id; empty without a label.

    Thinking without a state gets the label alone, so that the gateway never sends it to a native
    provider, which would refuse it.
    """
    if not label:
        return ""
    state = state or ""
    return reasoning_state.write_label(label, f"{_TOOL_PREFIX}{tool}:{state}" if tool else state)


def read_slot(slot: object) -> tuple[str | None, str | None]:
    """Return the maker that a slot names, and the state in it, or None."""
    if not isinstance(slot, str):
        return None, None
    maker, state = reasoning_state.split_label(slot)
    return maker, state or None


def _is_tied(state: str) -> bool:
    """True if a state belongs to one tool call."""
    return state.startswith(_TOOL_PREFIX)


def move_tied_states(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Return the parts of a turn, with each tied state moved to its tool call."""
    kept: list[Part] = []
    tied: dict[str, tuple[str, str]] = {}
    for part in parts:
        if isinstance(part, Thought) and part.maker and (part.state or "").startswith(_TOOL_PREFIX):
            tool, _, state = (part.state or "").removeprefix(_TOOL_PREFIX).partition(":")
            tied[tool] = (part.maker, state)
        else:
            kept.append(part)
    for at, part in enumerate(kept):
        if isinstance(part, ToolUse) and part.id in tied:
            maker, state = tied[part.id]
            kept[at] = msgspec.structs.replace(part, maker=maker, state=state)
    return tuple(kept)


def edit(body: RequestBody, target: Target) -> BodyPatch:
    """Return a patch of the body that takes out the reasoning of other models."""
    if not reasoning_state.may_hold_label(body):
        return BodyPatch(body)
    labels = reasoning_state.ReasoningLabels(target, "anthropic-messages")
    return reasoning_state.patch_member(
        body, "messages", labels, reasoning_state.fix_items(_MessageFixer(labels).fix)
    )


class _MessageFixer:
    """Takes labels and the reasoning of other models out of messages."""

    __slots__ = ("_labels",)

    def __init__(self, labels: reasoning_state.ReasoningLabels) -> None:
        self._labels = labels

    def fix(self, raw: bytes, message: Json) -> bytes | None:
        """Return the bytes of a message; None if nothing is left of it."""
        return reasoning_state.fix_member("content", self._fix_content, is_required=True)(
            raw, message
        )

    def _fix_content(self, raw: bytes, content: Json) -> bytes | None:
        """Return the bytes of a message's content, unchanged if no block has a label."""
        blocks = content if isinstance(content, list) else []
        if not any(read_slot(_find_slot(block)[1])[0] for block in blocks):
            return raw
        return reasoning_state.fix_items(self._fix_block)(raw, content)

    def _fix_block(self, raw: bytes, block: Json) -> bytes | None:
        """Return the bytes of a block; None for unsigned thinking and for the state of others."""
        name, state_slot = _find_slot(block)
        if state_slot == "":
            self._labels.has_losses = True
            return None
        state = self._labels.read_slot(state_slot)
        if state is None:
            return raw
        if _is_tied(state):
            self._labels.has_losses = True
            return None
        return reasoning_state.set_member(raw, name, state) if state else None


def _find_slot(block: Json) -> tuple[str, Json]:
    """Return the member of a block that holds state, and its value; None for other blocks."""
    kind = block.get("type") if isinstance(block, dict) else None
    name = _SLOT_MEMBERS.get(kind, "") if isinstance(kind, str) else ""
    return name, block.get(name) if name else None
