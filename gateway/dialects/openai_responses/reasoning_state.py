"""State that the gateway labelled, in items of reasoning: see dialects.reasoning_state."""

from gateway.core.jsonio import Json
from gateway.core.target import Target
from gateway.dialects import reasoning_state
from gateway.dialects.base import RequestBody
from gateway.dialects.body_patch import BodyPatch
from gateway.dialects.openai_responses import slot

_SLOT = "encrypted_content"


def edit(body: RequestBody, target: Target) -> BodyPatch:
    """A body on its way to a target, without the reasoning of others."""
    if not reasoning_state.may_hold_label(body):
        return BodyPatch(body)
    seals = reasoning_state.ReasoningLabels(target, "openai-responses")
    return reasoning_state.patch_member(body, "input", seals, _Input(seals).fix)


class _Input:
    """The items of one request."""

    __slots__ = ("_made", "_seals")

    def __init__(self, seals: reasoning_state.ReasoningLabels) -> None:
        self._seals = seals
        self._made: set[str] = set()
        """Beginnings of the ids of items in answers that the gateway wrote."""

    def fix(self, raw: bytes, given: Json) -> bytes | None:
        """All items."""
        items = [it for it in given if _reasons(it)] if isinstance(given, list) else []
        ours = [it for it in items if self._seals.is_labelled(it.get(_SLOT))]
        self._made = {_answer(it) for it in ours} - {""}
        return reasoning_state.fix_items(self._item)(raw, given) if ours else raw

    def _item(self, raw: bytes, item: Json) -> bytes | None:
        if not _reasons(item):
            return raw
        said = item.get(_SLOT)
        if said is None and _answer(item) in self._made:
            self._seals.has_losses = True
            return None
        state = self._seals.read_slot(said)
        if state is None:
            return raw
        kept = slot.read(state)
        if kept.call is not None:
            self._seals.has_losses = True
            return None
        return reasoning_state.set_member(raw, _SLOT, kept.state) if kept.state else None


def _reasons(item: Json) -> bool:
    return isinstance(item, dict) and item.get("type") == "reasoning"


def _answer(item: Json) -> str:
    """What the ids of all items of an answer of the gateway begin with; empty for no id."""
    id = item.get("id")
    return id.rpartition("_")[0] if isinstance(id, str) else ""
