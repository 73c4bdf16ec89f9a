"""State that the gateway labelled, in signatures of parts: see dialects.reasoning_state."""

from itertools import groupby

from gateway.core.jsonio import Json
from gateway.core.target import Target
from gateway.dialects import reasoning_state
from gateway.dialects.base import RequestBody
from gateway.dialects.body_patch import BodyPatch
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini import effort
from gateway.dialects.gemini.signature import SKIP, SLOT, Sign

_MARKS = (b"dGcxL", b"cjp0ZzEu")
"""How base64 of a label begins, and of one with "r:" before it: a body without either has none."""


def edit(body: RequestBody, target: Target) -> BodyPatch:
    """A body on its way to a target, without the reasoning of others."""
    if not any(mark in body.raw for mark in _MARKS):
        return BodyPatch(body)
    seals = reasoning_state.ReasoningLabels(target, effort.NAME)
    kind = effort.style(target.facts)
    contents = _Contents(seals, signs=kind is None or kind.level)
    return reasoning_state.patch_member(body, "contents", seals, contents.fix)


class _Contents:
    """The contents of one request."""

    __slots__ = ("_first", "_ours", "_seals", "_signs")

    def __init__(self, seals: reasoning_state.ReasoningLabels, *, signs: bool) -> None:
        self._seals = seals
        self._signs = signs
        """The model wants the first call of a turn signed, also where it did not make it."""
        self._ours: set[int] = set()
        """Parts, by identity, of answers that the gateway wrote."""
        self._first: set[int] = set()
        """Those of them that are the first call of their answer."""

    def fix(self, raw: bytes, contents: Json) -> bytes | None:
        """All contents; neighbours of the model are one answer."""
        for _, run in groupby(wire.rows(contents), key=lambda it: it.get("role") == "model"):
            parts = [part for content in run for part in wire.rows(content.get("parts"))]
            if any(Sign(part).maker is not None for part in parts):
                self._ours |= set(map(id, parts))
                self._first |= set([id(part) for part in parts if _call(part)][:1])
        content = reasoning_state.fix_member(
            "parts", reasoning_state.fix_items(self._part), is_required=True
        )
        return reasoning_state.fix_items(content)(raw, contents) if self._ours else raw

    def _part(self, raw: bytes, part: Json) -> bytes | None:
        """A part: its words and its call stay, thoughts do not, be they signed or not."""
        if id(part) not in self._ours:
            return raw
        sign, slot = Sign(part), wire.spelled(part, SLOT)
        if sign.state is not None:
            if sign.maker is None:
                return raw
            state = self._seals.filter_state(sign.maker, sign.state)
            if state:
                return reasoning_state.set_member(raw, slot, state)
        if _call(part):
            signed = SKIP if self._signs and id(part) in self._first else None
            return reasoning_state.set_member(raw, slot, signed) if signed or slot in part else raw
        if part.get("thought") is True:
            self._seals.has_losses = True
            return None
        if slot not in part:
            return raw
        said = any(value for name, value in part.items() if name != slot)
        return reasoning_state.set_member(raw, slot, None) if said else None


def _call(part: Json) -> bool:
    return bool(wire.group(part, "functionCall"))
