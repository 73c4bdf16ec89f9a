"""State that the gateway labelled, in blocks of thinking: see dialects.reasoning_state."""

from gateway.core.jsonio import Json
from gateway.core.target import Target
from gateway.dialects import reasoning_state
from gateway.dialects.anthropic_messages import slot
from gateway.dialects.base import RequestBody
from gateway.dialects.body_patch import BodyPatch

_SLOTS = {"thinking": "signature", "redacted_thinking": "data"}


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
        if not any(slot.take(_slot(block)[1])[0] for block in blocks):
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
        if slot.tied(state):
            self._seals.has_losses = True
            return None
        return reasoning_state.set_member(raw, name, state) if state else None


def _slot(block: Json) -> tuple[str, Json]:
    """The member of a block that holds state, and what it holds; None for any other block."""
    kind = block.get("type") if isinstance(block, dict) else None
    name = _SLOTS.get(kind, "") if isinstance(kind, str) else ""
    return name, block.get(name) if name else None
