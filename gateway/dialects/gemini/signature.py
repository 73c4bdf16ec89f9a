"""The thoughtSignature slot: state of Gemini's own, or a label and another maker's state.

The slot is base64, and SDKs decode it and write it anew in the alphabet of their choice; so what
goes to a client is base64 of the label. Google's own state is never looked into.
"""

import base64
import binascii

from gateway.dialects import reasoning_state
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini.content import Object

SLOT = "thoughtSignature"

SKIP = "skip_thought_signature_validator"
"""What stands for the signature of a call that this model did not make: from Gemini 3 on, the first
call of a turn without any is refused. Source: the page on thought signatures of Google's API."""

_REDACTED = "r:"


def wrap(label: str, state: str, *, redacted: bool = False) -> str:
    """A state as it goes to a client, in its slot."""
    whole = ("" if not redacted else _REDACTED) + reasoning_state.write_label(label, state)
    return base64.urlsafe_b64encode(whole.encode()).decode()


class Sign:
    """What a client sent back in the slot."""

    __slots__ = ("maker", "redacted", "state")

    def __init__(self, part: Object) -> None:
        said = wire.text(wire.get(part, SLOT)) or None
        self.state = None if said in _SKIPS else said
        """As its maker wrote it."""
        self.maker: str | None = None
        self.redacted = False
        whole = _decoded(said) if said else ""
        self.redacted = whole.startswith(_REDACTED + reasoning_state.LABEL_PREFIX)
        if self.redacted or whole.startswith(reasoning_state.LABEL_PREFIX):
            self.maker, state = reasoning_state.split_label(whole.removeprefix(_REDACTED))
            self.state = state or None


def _decoded(said: str) -> str:
    try:
        raw = base64.b64decode(said.replace("-", "+").replace("_", "/"))
    except (ValueError, binascii.Error):
        return ""
    return raw.decode("utf-8", "replace")


_SKIPS = (SKIP, base64.b64encode(SKIP.encode()).decode())
"""The stand-in, and what SDKs make of it that take it as bytes."""
