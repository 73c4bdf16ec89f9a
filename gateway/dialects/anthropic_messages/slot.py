"""The slot that a Messages client has for the state of a maker: signatures, and redacted data.

A state that hangs on one use of a tool has no place in a `tool_use` block. It stands in an empty
`thinking` block beside it, which clients send back as they got it, and names the use by its id.
"""

from collections.abc import Iterable

import msgspec

from gateway.core.canonical_request import Part, Thought, ToolUse
from gateway.dialects import reasoning_state

_TIED = "tool:"
"""How the state of one use begins behind its label; base64, as makers write it, has no colon."""


def put(label: str, state: str | None, tool: str = "") -> str:
    """A state as it stands in the slot, tied to a use by its id; empty where none may stand.

    Thinking without a state has the label alone: a provider at home would refuse it as its own.
    """
    if not label:
        return ""
    state = state or ""
    return reasoning_state.write_label(label, f"{_TIED}{tool}:{state}" if tool else state)


def take(slot: object) -> tuple[str | None, str | None]:
    """The maker that a slot names, and the state in it, where there is any."""
    if not isinstance(slot, str):
        return None, None
    made, state = reasoning_state.split_label(slot)
    return made, state or None


def tied(state: str) -> bool:
    """Whether a state hangs on one use of a tool."""
    return state.startswith(_TIED)


def untie(parts: Iterable[Part]) -> tuple[Part, ...]:
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
