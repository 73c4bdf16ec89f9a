"""A request in no dialect: turns, parts, tools and settings, for a target that speaks another one.

Read lazily: a call at home never becomes one of these. Every part, turn and tool keeps in `source`
the JSON object that it was read from, so that nothing need be guessed and nothing is lost unseen.
What a field is called in the client's own dialect stands in `CanonicalRequest.names`.
"""

from typing import Literal

import msgspec

from gateway.core.jsonio import Json

type Role = Literal["system", "developer", "user", "assistant"]


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """Words, of the role of their turn."""

    text: str
    cache: str | None = None
    """A prompt cache ends here: its lifetime, "" where that is unsaid."""
    source: Json = None


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """An image, a document, a sound or a film: one of `data`, `url`, `id` and `text` is set."""

    kind: Literal["image", "file", "audio", "video"]
    type: str | None = None
    """Media type, e.g. "image/png"."""
    data: str | None = None
    """Base64, without a data-URL prefix."""
    url: str | None = None
    id: str | None = None
    """The name of an upload at one provider; it means nothing to any other."""
    text: str | None = None
    """A document that is plain text."""
    name: str | None = None
    detail: str | None = None
    """How closely an image is looked at."""
    cache: str | None = None
    source: Json = None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The model's words where it declined."""

    text: str
    source: Json = None


class Thought(msgspec.Struct, frozen=True, kw_only=True):
    """Reasoning: its readable text, and the state that only its maker can read."""

    text: str = ""
    state: str | None = None
    """A signature, encrypted content or redacted data, as its maker wrote it."""
    redacted: bool = False
    """The state stands for all of it; there is no text."""
    maker: str | None = None
    """Who made the state, where the gateway has labelled it; None: whoever answered the client."""
    source: Json = None


class ToolUse(msgspec.Struct, frozen=True, kw_only=True):
    """The model's wish to use a tool."""

    id: str
    name: str
    arguments: str
    """JSON as the model wrote it; of a custom tool, free text."""
    custom: bool = False
    state: str | None = None
    """State of the maker that hangs on the call itself (Gemini's thoughtSignature)."""
    maker: str | None = None
    source: Json = None


class ToolResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool gave."""

    id: str
    name: str | None = None
    parts: "tuple[Text | Media, ...]" = ()
    error: bool = False
    cache: str | None = None
    custom: bool = False
    source: Json = None


class Foreign(msgspec.Struct, frozen=True, kw_only=True):
    """A part that no other dialect has: hosted tools at work, compactions, new kinds."""

    kind: str
    source: Json = None


type Part = Text | Media | Refused | Thought | ToolUse | ToolResult | Foreign


class CanonicalTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One message. Results of tools are parts of a user's turn, also where they are messages."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    source: Json = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model may use."""

    name: str
    kind: Literal["function", "custom", "hosted"] = "function"
    description: str | None = None
    parameters: Json = None
    """JSON Schema of a function's arguments; None where there are none."""
    strict: bool | None = None
    grammar: Json = None
    """What restrains the text of a custom tool."""
    cache: str | None = None
    source: Json = None


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Which tools the model must, may or must not use."""

    mode: Literal["auto", "none", "required", "tool"]
    name: str | None = None
    """The one tool of mode "tool"."""
    allowed: tuple[str, ...] = ()
    """Those of all the tools that may be used; empty is all."""


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The form that the answer must have: JSON, of a schema where there is one."""

    schema: Json = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class LostMember(msgspec.Struct, frozen=True):
    """A member of the client's request that no target of another dialect gets as it is."""

    path: str
    """From the top, with dots, without places in lists: `messages.content.citations`."""
    reason: str
    """Follows the name of the target's dialect."""
    is_essential: bool = False
    """True if the client depends on it: a target that does not get it is skipped."""
    action: Literal["dropped", "approximated"] = "dropped"


class CanonicalRequest(msgspec.Struct, frozen=True, kw_only=True):
    """All that a client asks. None is what it left to the model."""

    turns: tuple[CanonicalTurn, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    form: OutputFormat | None = None
    max_output: int | None = None
    stop: tuple[str, ...] = ()
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    choices: int = 1
    logit_bias: Json = None
    logprobs: bool = False
    top_logprobs: int | None = None
    verbosity: str | None = None
    effort: str | None = None
    """On the scale of core.target.EFFORTS."""
    budget: int | None = None
    """Tokens to think with, where the client says it so."""
    thoughts_shown: bool | None = None
    """Whether the client wants to read the reasoning or a summary of it."""
    service_tier: str | None = None
    """In OpenAI's words, of which "default" is the standard one."""
    user: str | None = None
    """Who the client's own user is."""
    metadata: Json = None
    cache_key: str | None = None
    """What calls that share a prompt prefix have in common."""
    stream: bool = False
    stream_usage: bool = False
    names: dict[str, str] = {}
    """The client's own words for fields of this class that it set: {"max_output": "max_tokens"}."""
    extra_members: dict[str, Json] = {}
    """Top-level members that no field of this class holds, by the client's own names."""
    lost_members: tuple[LostMember, ...] = ()
    """Members at any depth that are lost whatever the target's dialect is."""
    source: Json = None
    """The whole body, as it was read."""
