"""A request in no dialect: the read-only view for routing and accounting."""

import msgspec

from gateway.core.usage import UNKNOWN_MODALITY


class Prompt(msgspec.Struct, frozen=True):
    """The plain facts of one request. Characters are Unicode code points."""

    model: str
    stream: bool = False
    user: str = ""
    """The text of the last user turn."""
    user_turns: int = 0
    chars: int = 0
    """Characters of all text that the model reads: system, turns, tool results, definitions."""
    tool_loop: bool = False
    """True if the last message is a tool's result: the model is in the middle of a turn."""
    injected_text: str = ""
    """The beginning of a last user message that no user typed; empty otherwise.

    It is an agent's reminder, or its order to sum up.
    """
    tools: tuple[str, ...] = ()
    forced_tool: bool = False
    images: int = 0
    image_bytes: int = 0
    """The bytes of the request that are data of these images, not text."""
    files: int = 0
    audio: int = 0
    json_schema: bool = False
    effort: str | None = None
    """The effort that the client itself set."""
    max_output: int | None = None
    choices: int = 1
    service: str | None = None
    """The provider's service tier that the client asks for; None for the standard one."""
    hosted_tools: bool = False
    stored: bool = False
    """True if the answer depends on state at the provider, or leaves some there."""
    is_unsized: bool = False
    """True if the model reads more than the request shows: a document, a video, what the provider
    keeps, or results of the provider's own tools."""
    continuation_member: str = ""
    """The member that names an earlier answer, which only its provider has; empty if none does."""
    sampled: bool = False
    """True if the client sets a temperature above 0."""
    zero_temperature: bool = False
    """True if the client itself sets the temperature to 0."""
    logprobs: bool = False
    members: frozenset[str] = frozenset()
    """Names of the top-level members of the request, in the client's dialect."""

    @property
    def media(self) -> tuple[str, ...]:
        """The modalities that the prompt may have beside text; a file may be of any."""
        counts = (("audio", self.audio), ("image", self.images), (UNKNOWN_MODALITY, self.files))
        return tuple([modality for modality, count in counts if count])

    @property
    def is_plain_text(self) -> bool:
        """True if a text asks for one text, with no wish but its size."""
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
