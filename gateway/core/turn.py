"""Where in a conversation a call stands: plain values, read from the wire."""

from typing import Literal

import msgspec

type Kind = Literal["main", "side", "agent"]
"""A call of the conversation, one beside it (a title, a summary), one of a sub-agent."""


class Turn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call's place in its conversation."""

    conversation: str = ""
    """What all calls of the conversation share; empty where nothing tells it."""
    explicit: bool = False
    """The client has named the conversation; else its name is made of how it begins."""
    first: str = ""
    """A short hash of the first user message; empty where that is not known."""
    kind: Kind = "main"
    loop: bool = False
    """Inside a tool loop: the model has not yet answered the user."""
    client: str = ""
    """The application, where it is known."""

    @property
    def fresh(self) -> bool:
        """Whether it is the user's turn: what was decided before may be left."""
        return not self.loop
