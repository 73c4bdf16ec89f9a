"""Where in a conversation a call stands: plain values, read from the wire."""

from typing import Literal

import msgspec

type CallKind = Literal["main", "side", "agent"]
"""A call of the conversation, one beside it (a title, a summary), one of a sub-agent."""


class ConversationTurn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call's place in its conversation."""

    conversation: str = ""
    """What all calls of the conversation share, a hash; empty where nothing tells it."""
    explicit: bool = False
    """The client has named the conversation; else its name is made of how it begins."""
    first: str = ""
    """A short hash of the first user message; empty where that is not known."""
    kind: CallKind = "main"
    task: str = ""
    """What a call that is not the conversation's own is for: title, compaction, review, ..."""
    loop: bool = False
    """No user speaks in it: tools have given their results, or the client asks something of the
    conversation as it stands. It has the conversation's prompt, which its provider has cached."""
    client: str = ""
    """The application, where it is known."""
    by: str = ""
    """The header or the member of the body that names the conversation."""

    @property
    def is_user_turn(self) -> bool:
        """Whether it is the user's turn: what was decided before may be left."""
        return not self.loop

    @property
    def follows_session(self) -> bool:
        """Whether it goes where its conversation sits; one beside it does with its prompt."""
        return self.kind != "side" or self.loop

    @property
    def description(self) -> str:
        """What told it, for the trace: `claude-code, side (title), named by x-claude-...`."""
        label = f"{self.kind} ({self.task})" if self.task else self.kind
        origin = f"named by {self.by}" if self.explicit else "known by how it begins"
        return ", ".join(filter(None, (self.client, label, origin if self.conversation else "")))
