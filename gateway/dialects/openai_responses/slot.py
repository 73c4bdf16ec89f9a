"""What `encrypted_content` of a reasoning item holds for a client of this dialect alone.

It is the one opaque slot of the dialect. Beside a maker's state it has to say what other dialects
say by the kind of a block: that there is no text, or that the state hangs on a call. A state is
whatever its maker wrote; what stands here before it is this gateway's, within its label.
"""

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import JsonError

_REDACTED = "redacted:"
_CALL = "call:"


class Kept(msgspec.Struct, frozen=True):
    """A maker's state, and what it stands for."""

    state: str
    redacted: bool = False
    call: str | None = None
    """The id of the call that it hangs on."""


def write(kept: Kept) -> str:
    """The state with what it stands for; a label goes before it."""
    if kept.call is not None:
        return f"{_CALL}{jsonio.dumps([kept.call, kept.state]).decode()}"
    return f"{_REDACTED}{kept.state}" if kept.redacted else kept.state


def read(text: str) -> Kept:
    """What `write` wrote."""
    if text.startswith(_REDACTED):
        return Kept(text.removeprefix(_REDACTED), redacted=True)
    if text.startswith(_CALL):
        try:
            call, state = jsonio.loads(text.removeprefix(_CALL).encode())
        except (JsonError, TypeError, ValueError):
            return Kept(text)
        return Kept(str(state), call=str(call))
    return Kept(text)
