"""Encrypted reasoning in requests and answers of this dialect: labels, and the slot behind them.

A reasoning item has one opaque slot, `encrypted_content`. Other dialects tell by the type of a
block that reasoning has no text, or that its state belongs to a tool call. In this dialect the
gateway writes that into the slot, between its label and the maker's state. See
dialects.reasoning_state.
"""

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
    """Start the patch of a body for a target, without the reasoning of other models."""
    if not reasoning_state.may_hold_label(body):
        return BodyPatch(body)
    labels = reasoning_state.ReasoningLabels(target, "openai-responses")
    return reasoning_state.patch_member(body, "input", labels, _InputFixer(labels).fix)


class _InputFixer:
    """Restores or removes labelled state in the input items of one request."""

    __slots__ = ("_labels", "_own_prefixes")

    def __init__(self, labels: reasoning_state.ReasoningLabels) -> None:
        self._labels = labels
        self._own_prefixes: set[str] = set()
        """Prefixes of the item ids in answers that the gateway wrote."""

    def fix(self, raw: bytes, value: Json) -> bytes | None:
        """Fix the `input` member; None if nothing is left of it."""
        reasoning_items = (
            [item for item in value if _is_reasoning(item)] if isinstance(value, list) else []
        )
        labelled_items = [
            item for item in reasoning_items if self._labels.is_labelled(item.get(_SLOT_MEMBER))
        ]
        self._own_prefixes = {_read_answer_prefix(item) for item in labelled_items} - {""}
        return reasoning_state.fix_items(self._fix_item)(raw, value) if labelled_items else raw

    def _fix_item(self, raw: bytes, item: Json) -> bytes | None:
        if not _is_reasoning(item):
            return raw
        slot = item.get(_SLOT_MEMBER)
        if slot is None and _read_answer_prefix(item) in self._own_prefixes:
            self._labels.has_losses = True
            return None
        state = self._labels.read_slot(slot)
        if state is None:
            return raw
        content = read_slot(state)
        if content.call is not None:
            self._labels.has_losses = True
            return None
        return (
            reasoning_state.set_member(raw, _SLOT_MEMBER, content.state) if content.state else None
        )


def _is_reasoning(item: Json) -> bool:
    return isinstance(item, dict) and item.get("type") == "reasoning"


def _read_answer_prefix(item: Json) -> str:
    """Return the prefix that all item ids of one answer share; empty if there is no id."""
    id = item.get("id")
    return id.rpartition("_")[0] if isinstance(id, str) else ""


class SlotContent(msgspec.Struct, frozen=True):
    """A maker's state, and what it belongs to."""

    state: str
    redacted: bool = False
    call: str | None = None
    """The id of the tool call that the state belongs to."""


def write_slot(content: SlotContent) -> str:
    """Write the content of a slot; the caller puts a label before it."""
    if content.call is not None:
        return f"{_CALL_PREFIX}{jsonio.dumps([content.call, content.state]).decode()}"
    return f"{_REDACTED_PREFIX}{content.state}" if content.redacted else content.state


def read_slot(text: str) -> SlotContent:
    """Read the content of a slot that `write_slot` wrote."""
    if text.startswith(_REDACTED_PREFIX):
        return SlotContent(text.removeprefix(_REDACTED_PREFIX), redacted=True)
    if text.startswith(_CALL_PREFIX):
        try:
            call, state = jsonio.loads_text(text.removeprefix(_CALL_PREFIX))
        except (JsonError, TypeError, ValueError):
            return SlotContent(text)
        return SlotContent(str(state), call=str(call))
    return SlotContent(text)
