"""Whose reasoning state it is: a label on what goes to a client of another dialect.

Signatures, encrypted reasoning and the like mean something to the model that made them alone. A
client keeps them in the slot that its own dialect has for such state and sends them back; the label
says whom they may go to. Nothing in it is secret.
"""

import hashlib

from gateway.core.target import Target

MARK = "tg1."
"""How every label begins; no provider's state does."""
_DIGEST = 8


def maker(target: Target, dialect: str) -> str:
    """Name the maker of a state, as a short hash: provider, model, and the dialect it was asked in.

    A model that is asked in another dialect writes its state in another form.
    """
    whole = f"{target.provider.name}\n{target.model}\n{dialect}"
    return hashlib.blake2b(
        whole.encode(), digest_size=_DIGEST, person=b"tiergate maker"
    ).hexdigest()


def label(maker: str, state: str) -> str:
    """A state as it goes to a client of another dialect."""
    return f"{MARK}{maker}.{state}"


def split(state: str) -> tuple[str | None, str]:
    """The maker that a label names and the state itself; None where there is no label."""
    if not state.startswith(MARK):
        return None, state
    name, dot, rest = state.removeprefix(MARK).partition(".")
    return (name, rest) if dot else (None, state)
