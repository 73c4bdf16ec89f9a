"""The `thoughtSignature` of a part: Gemini's own state, or a label and another maker's state.

The member is base64. SDKs decode it and write it anew in the alphabet of their choice, so the
gateway sends base64 of the label. It never looks into Google's own state. On the way to a target it
takes out the state of other makers: see dialects.reasoning_state.
"""

import base64
import binascii
from itertools import groupby

from gateway.core.jsonio import Json
from gateway.core.target import Target
from gateway.dialects import reasoning_state
from gateway.dialects.base import RequestBody
from gateway.dialects.body_patch import BodyPatch
from gateway.dialects.gemini import effort
from gateway.dialects.gemini.content import (
    Object,
    find_spelling,
    get_member,
    get_object,
    list_objects,
)
from gateway.dialects.json_values import as_text

SIGNATURE_MEMBER = "thoughtSignature"

SKIP_SIGNATURE = "skip_thought_signature_validator"
"""Stands for the signature of a call that this model did not make.

From Gemini 3 on, Google refuses a turn whose first call has no signature. Source: the page on
thought signatures of Google's API.
"""

_REDACTED_PREFIX = "r:"


def encode_state(label: str, state: str, *, redacted: bool = False) -> str:
    """Return a state as the client gets it, with its label."""
    whole = ("" if not redacted else _REDACTED_PREFIX) + reasoning_state.write_label(label, state)
    return base64.urlsafe_b64encode(whole.encode()).decode()


class Signature:
    """The signature that a client sent back: a state, and who made it."""

    __slots__ = ("maker", "redacted", "state")

    def __init__(self, part: Object) -> None:
        sent = as_text(get_member(part, SIGNATURE_MEMBER)) or None
        self.state = None if sent in _SKIP_SPELLINGS else sent
        """In the words of its maker."""
        self.maker: str | None = None
        self.redacted = False
        whole = _decode_label(sent) if sent else ""
        self.redacted = whole.startswith(_REDACTED_PREFIX + reasoning_state.LABEL_PREFIX)
        if self.redacted or whole.startswith(reasoning_state.LABEL_PREFIX):
            self.maker, state = reasoning_state.split_label(whole.removeprefix(_REDACTED_PREFIX))
            self.state = state or None


def _decode_label(sent: str) -> str:
    try:
        raw = base64.b64decode(sent.replace("-", "+").replace("_", "/"))
    except (ValueError, binascii.Error):
        return ""
    return raw.decode("utf-8", "replace")


_SKIP_SPELLINGS = (SKIP_SIGNATURE, base64.b64encode(SKIP_SIGNATURE.encode()).decode())
"""The stand-in, and the same from SDKs that take it as bytes."""


_LABEL_STARTS = (b"dGcxL", b"cjp0ZzEu")
"""The first letters of a label in base64, and of one with "r:" before it."""


def remove_foreign_reasoning(body: RequestBody, target: Target) -> BodyPatch:
    """Patch a body for a target: take out labelled reasoning of other makers."""
    if not any(mark in body.raw for mark in _LABEL_STARTS):
        return BodyPatch(body)
    labels = reasoning_state.ReasoningLabels(target, effort.NAME)
    style = effort.find_style(target.facts)
    contents = _ContentsPatch(labels, needs_signature=style is None or style.level)
    return reasoning_state.patch_member(body, "contents", labels, contents.fix)


class _ContentsPatch:
    """Patches the contents of one request."""

    __slots__ = ("_first_calls", "_labels", "_needs_signature", "_translated")

    def __init__(self, labels: reasoning_state.ReasoningLabels, *, needs_signature: bool) -> None:
        self._labels = labels
        self._needs_signature = needs_signature
        """True if the model requires a signature on the first call of a turn."""
        self._translated: set[int] = set()
        """Identities of the parts of answers that the gateway wrote."""
        self._first_calls: set[int] = set()
        """Identities of the first call of each such answer."""

    def fix(self, raw: bytes, contents: Json) -> bytes | None:
        """Patch all contents; neighbours of the model are one answer."""
        for _, run in groupby(list_objects(contents), key=lambda it: it.get("role") == "model"):
            parts = [part for content in run for part in list_objects(content.get("parts"))]
            if any(Signature(part).maker is not None for part in parts):
                self._translated |= set(map(id, parts))
                self._first_calls |= set([id(part) for part in parts if _is_call(part)][:1])
        content = reasoning_state.fix_member(
            "parts", reasoning_state.fix_items(self._fix_part), is_required=True
        )
        return reasoning_state.fix_items(content)(raw, contents) if self._translated else raw

    def _fix_part(self, raw: bytes, part: Json) -> bytes | None:
        """Patch a part: its text and its call stay, thoughts go, signed or not."""
        if id(part) not in self._translated:
            return raw
        sign, slot = Signature(part), find_spelling(part, SIGNATURE_MEMBER)
        if sign.state is not None:
            if sign.maker is None:
                return raw
            state = self._labels.filter_state(sign.maker, sign.state)
            if state:
                return reasoning_state.set_member(raw, slot, state)
        if _is_call(part):
            signature = (
                SKIP_SIGNATURE if self._needs_signature and id(part) in self._first_calls else None
            )
            return (
                reasoning_state.set_member(raw, slot, signature)
                if signature or slot in part
                else raw
            )
        if part.get("thought") is True:
            self._labels.has_losses = True
            return None
        if slot not in part:
            return raw
        has_more = any(value for name, value in part.items() if name != slot)
        return reasoning_state.set_member(raw, slot, None) if has_more else None


def _is_call(part: Json) -> bool:
    return bool(get_object(part, "functionCall"))
