"""State that the gateway labelled, in items of reasoning: see dialects.reasoning_state."""

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json, JsonError
from gateway.core.target import Target
from gateway.dialects import reasoning_state
from gateway.dialects.base import RequestBody
from gateway.dialects.body_patch import BodyPatch

_SLOT_MEMBER = "encrypted_content"
_REDACTED_PREFIX = "redacted:"
_CALL_PREFIX = "call:"


def edit(body: RequestBody, target: Target) -> BodyPatch:
    """A body on its way to a target, without the reasoning of others."""
    if not reasoning_state.may_hold_label(body):
        return BodyPatch(body)
    seals = reasoning_state.ReasoningLabels(target, "openai-responses")
    return reasoning_state.patch_member(body, "input", seals, _InputFixer(seals).fix)


class _InputFixer:
    """The items of one request."""

    __slots__ = ("_made", "_seals")

    def __init__(self, seals: reasoning_state.ReasoningLabels) -> None:
        self._seals = seals
        self._made: set[str] = set()
        """Beginnings of the ids of items in answers that the gateway wrote."""

    def fix(self, raw: bytes, given: Json) -> bytes | None:
        """All items."""
        items = [it for it in given if _is_reasoning(it)] if isinstance(given, list) else []
        ours = [it for it in items if self._seals.is_labelled(it.get(_SLOT_MEMBER))]
        self._made = {_read_answer_prefix(it) for it in ours} - {""}
        return reasoning_state.fix_items(self._item)(raw, given) if ours else raw

    def _item(self, raw: bytes, item: Json) -> bytes | None:
        if not _is_reasoning(item):
            return raw
        said = item.get(_SLOT_MEMBER)
        if said is None and _read_answer_prefix(item) in self._made:
            self._seals.has_losses = True
            return None
        state = self._seals.read_slot(said)
        if state is None:
            return raw
        kept = read_slot(state)
        if kept.call is not None:
            self._seals.has_losses = True
            return None
        return reasoning_state.set_member(raw, _SLOT_MEMBER, kept.state) if kept.state else None


def _is_reasoning(item: Json) -> bool:
    return isinstance(item, dict) and item.get("type") == "reasoning"


def _read_answer_prefix(item: Json) -> str:
    """What the ids of all items of an answer of the gateway begin with; empty for no id."""
    id = item.get("id")
    return id.rpartition("_")[0] if isinstance(id, str) else ""


class SlotContent(msgspec.Struct, frozen=True):
    """A maker's state, and what it stands for."""

    state: str
    redacted: bool = False
    call: str | None = None
    """The id of the call that it hangs on."""


def write_slot(kept: SlotContent) -> str:
    """The state with what it stands for; a label goes before it."""
    if kept.call is not None:
        return f"{_CALL_PREFIX}{jsonio.dumps([kept.call, kept.state]).decode()}"
    return f"{_REDACTED_PREFIX}{kept.state}" if kept.redacted else kept.state


def read_slot(text: str) -> SlotContent:
    """What `write_slot` wrote."""
    if text.startswith(_REDACTED_PREFIX):
        return SlotContent(text.removeprefix(_REDACTED_PREFIX), redacted=True)
    if text.startswith(_CALL_PREFIX):
        try:
            call, state = jsonio.loads(text.removeprefix(_CALL_PREFIX).encode())
        except (JsonError, TypeError, ValueError):
            return SlotContent(text)
        return SlotContent(str(state), call=str(call))
    return SlotContent(text)
