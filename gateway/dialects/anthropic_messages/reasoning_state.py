"""Slots for the state of a maker: signatures, redacted data, and labels of the gateway in them.

A state that hangs on one use of a tool has no place in a `tool_use` block. It stands in an empty
`thinking` block beside it, which clients send back as they got it, and names the use by its id.
See gateway.dialects.reasoning_state for the labels.
"""

from collections.abc import Iterable

import msgspec

from gateway.core.canonical_request import Part, Thought, ToolUse
from gateway.core.jsonio import Json
from gateway.core.target import Target
from gateway.dialects import reasoning_state
from gateway.dialects.base import RequestBody
from gateway.dialects.body_patch import BodyPatch

_TIED = "tool:"
"""How the state of one use begins behind its label; base64, as makers write it, has no colon."""
_SLOTS = {"thinking": "signature", "redacted_thinking": "data"}


def write_slot(label: str, state: str | None, tool: str = "") -> str:
    """A state as it stands in the slot, tied to a use by its id; empty where none may stand.

    Thinking without a state has the label alone: a provider at home would refuse it as its own.
    """
    if not label:
        return ""
    state = state or ""
    return reasoning_state.write_label(label, f"{_TIED}{tool}:{state}" if tool else state)


def read_slot(slot: object) -> tuple[str | None, str | None]:
    """The maker that a slot names, and the state in it, where there is any."""
    if not isinstance(slot, str):
        return None, None
    made, state = reasoning_state.split_label(slot)
    return made, state or None


def _is_tied(state: str) -> bool:
    """Whether a state hangs on one use of a tool."""
    return state.startswith(_TIED)


def move_tied_states(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts of a turn with each tied state on the use that it hangs on."""
    kept: list[Part] = []
    tied: dict[str, tuple[str, str]] = {}
    for part in parts:
        if isinstance(part, Thought) and part.maker and (part.state or "").startswith(_TIED):
            tool, _, state = (part.state or "").removeprefix(_TIED).partition(":")
            tied[tool] = (part.maker, state)
        else:
            kept.append(part)
    for at, part in enumerate(kept):
        if isinstance(part, ToolUse) and part.id in tied:
            made, state = tied[part.id]
            kept[at] = msgspec.structs.replace(part, maker=made, state=state)
    return tuple(kept)


def edit(body: RequestBody, target: Target) -> BodyPatch:
    """A body on its way to a target, without the reasoning of others."""
    if not reasoning_state.may_hold_label(body):
        return BodyPatch(body)
    seals = reasoning_state.ReasoningLabels(target, "anthropic-messages")
    return reasoning_state.patch_member(
        body, "messages", seals, reasoning_state.fix_items(_Messages(seals).fix)
    )


class _Messages:
    """Messages, one after another."""

    __slots__ = ("_seals",)

    def __init__(self, seals: reasoning_state.ReasoningLabels) -> None:
        self._seals = seals

    def fix(self, raw: bytes, message: Json) -> bytes | None:
        """One message; it goes where nothing is left of it."""
        return reasoning_state.fix_member("content", self._content, is_required=True)(raw, message)

    def _content(self, raw: bytes, content: Json) -> bytes | None:
        blocks = content if isinstance(content, list) else []
        if not any(read_slot(_slot(block)[1])[0] for block in blocks):
            return raw
        return reasoning_state.fix_items(self._block)(raw, content)

    def _block(self, raw: bytes, block: Json) -> bytes | None:
        """A block of a message that the gateway wrote; it wrote unsigned thinking there too."""
        name, said = _slot(block)
        if said == "":
            self._seals.has_losses = True
            return None
        state = self._seals.read_slot(said)
        if state is None:
            return raw
        if _is_tied(state):
            self._seals.has_losses = True
            return None
        return reasoning_state.set_member(raw, name, state) if state else None


def _slot(block: Json) -> tuple[str, Json]:
    """The member of a block that holds state, and what it holds; None for any other block."""
    kind = block.get("type") if isinstance(block, dict) else None
    name = _SLOTS.get(kind, "") if isinstance(kind, str) else ""
    return name, block.get(name) if name else None
