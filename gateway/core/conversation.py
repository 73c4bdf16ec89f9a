"""The place of a call in its conversation: plain values from its headers and body."""

from typing import Literal

import msgspec

type CallKind = Literal["main", "side", "agent"]
"""The kind of a call.

`main`: a call of the conversation itself. `side`: one beside it (a title, a summary). `agent`: a
call of a sub-agent.
"""


class ConversationTurn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The place of a call in its conversation."""

    conversation: str = ""
    """A hash that all calls of the conversation share; empty if nothing identifies it."""
    explicit: bool = False
    """True if the client names the conversation; otherwise the hash is of its beginning."""
    first: str = ""
    """A short hash of the first user message; empty if unknown."""
    kind: CallKind = "main"
    task: str = ""
    """The purpose of a call that is not the conversation's own: title, compaction, review, ..."""
    loop: bool = False
    """True if no user speaks: tools gave results, or the client asks about the conversation.

    Its prompt is the conversation's, which the provider has cached.
    """
    client: str = ""
    """The client's application; empty if unknown."""
    by: str = ""
    """The header or body member that names the conversation; empty if none does."""

    @property
    def is_user_turn(self) -> bool:
        """True if a user speaks: the gateway may leave its earlier decision."""
        return not self.loop

    @property
    def follows_session(self) -> bool:
        """True if it goes to its conversation's target; a side call does only with its prompt."""
        return self.kind != "side" or self.loop

    @property
    def description(self) -> str:
        """The turn in words, for the trace: `claude-code, side (title), named by x-claude-...`."""
        label = f"{self.kind} ({self.task})" if self.task else self.kind
        origin = f"named by {self.by}" if self.explicit else "known by how it begins"
        return ", ".join(filter(None, (self.client, label, origin if self.conversation else "")))
