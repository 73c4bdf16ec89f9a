"""What a call says, in no dialect: the read-only view that routing and accounting read."""

import msgspec


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """Plain facts of one request. Characters are Unicode code points."""

    model: str
    stream: bool = False
    user: str = ""
    """Text of the last user turn."""
    user_turns: int = 0
    chars: int = 0
    """All text that the model reads: system, turns, tool results and definitions."""
    tool_loop: bool = False
    """The last message is a tool's result: the model is in the middle of a turn."""
    injected_text: str = ""
    """How the last message begins, where it is a user's by name alone: an agent's reminder, or its
    order to sum up, that nobody typed."""
    tools: tuple[str, ...] = ()
    forced_tool: bool = False
    images: int = 0
    files: int = 0
    audio: int = 0
    json_schema: bool = False
    effort: str | None = None
    """What the client set itself."""
    max_output: int | None = None
    choices: int = 1
    service: str | None = None
    """The provider's service tier that is asked for, where it is not its standard one."""
    hosted_tools: bool = False
    stored: bool = False
    """The answer depends on, or leaves, state at the provider."""
    continuation_member: str = ""
    """The member that names an earlier answer, which only its provider has; empty if none does."""
    sampled: bool = False
    """Temperature is set above zero."""
    zero_temperature: bool = False
    """True if the client itself sets the temperature to 0."""
    logprobs: bool = False
    members: frozenset[str] = frozenset()
    """Names of the top-level members of the request, in the client's dialect."""

    @property
    def is_plain_text(self) -> bool:
        """Whether it is text that asks for one text, with no wish beside the size of it."""
        return not (
            self.tools
            or self.tool_loop
            or self.forced_tool
            or self.hosted_tools
            or self.images
            or self.files
            or self.audio
            or self.json_schema
            or self.stored
            or self.logprobs
            or self.effort is not None
            or self.service is not None
            or self.choices != 1
        )
