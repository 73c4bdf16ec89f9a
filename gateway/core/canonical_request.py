"""A request in no dialect: turns, parts, tools and settings, for a target that speaks another one.

The gateway reads it lazily: a native call never becomes one. Every part, turn and tool keeps in
`source` the JSON object that it comes from. So the gateway guesses nothing, and loses nothing
unseen. `CanonicalRequest.names` has the names of fields in the client's own dialect.
"""

from typing import Literal

import msgspec

from gateway.core.jsonio import Json

type Role = Literal["system", "developer", "user", "assistant"]


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """Text by the role of its turn."""

    text: str
    cache: str | None = None
    """The lifetime of a prompt cache that ends here, "" if the client gives none."""
    source: Json = None


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """An image, a document, audio or video: one of `data`, `url`, `id` and `text` is set."""

    kind: Literal["image", "file", "audio", "video"]
    type: str | None = None
    """The media type, e.g. "image/png"."""
    data: str | None = None
    """Base64, without a data-URL prefix."""
    url: str | None = None
    id: str | None = None
    """The id of an upload at one provider; no other provider knows it."""
    text: str | None = None
    """The text of a plain-text document."""
    name: str | None = None
    detail: str | None = None
    """The level of detail at which the model looks at an image."""
    cache: str | None = None
    source: Json = None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The model's text where it declined."""

    text: str
    source: Json = None


class Thought(msgspec.Struct, frozen=True, kw_only=True):
    """Reasoning: its readable text, and a state that only the model's maker can read."""

    text: str = ""
    state: str | None = None
    """A signature, encrypted content or redacted data, as its maker wrote it."""
    redacted: bool = False
    """True if the state stands for all of the reasoning, and there is no text."""
    maker: str | None = None
    """The maker of the state by the gateway's label; None for the one that answered the client."""
    source: Json = None


class ToolUse(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a tool by the model."""

    id: str
    name: str
    arguments: str
    """JSON as the model wrote it; free text for a custom tool."""
    custom: bool = False
    state: str | None = None
    """The maker's state that belongs to the call itself (Gemini's thoughtSignature)."""
    maker: str | None = None
    source: Json = None


class ToolResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a tool."""

    id: str
    name: str | None = None
    parts: "tuple[Text | Media, ...]" = ()
    error: bool = False
    cache: str | None = None
    custom: bool = False
    source: Json = None


class Foreign(msgspec.Struct, frozen=True, kw_only=True):
    """A part that no other dialect has: use of a hosted tool, a compaction, a new kind."""

    kind: str
    source: Json = None


type Part = Text | Media | Refused | Thought | ToolUse | ToolResult | Foreign


class CanonicalTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One message. A tool result is a part of a user turn, even if the client sent a message."""

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
    """The JSON Schema of a function's arguments; None if it has none."""
    strict: bool | None = None
    grammar: Json = None
    """The grammar that the text of a custom tool must follow."""
    cache: str | None = None
    source: Json = None


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The tools that the model must, may or must not use."""

    mode: Literal["auto", "none", "required", "tool"]
    name: str | None = None
    """The tool that mode "tool" names."""
    allowed: tuple[str, ...] = ()
    """The names of the tools that the model may use; empty allows all."""


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The form that the answer must have: JSON, by `schema` if there is one."""

    schema: Json = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class LostMember(msgspec.Struct, frozen=True):
    """A member of the client's request that no target of another dialect gets unchanged."""

    path: str
    """The path from the top, with dots, without list indexes: `messages.content.citations`."""
    reason: str
    """The reason; in messages it follows the name of the target's dialect."""
    is_essential: bool = False
    """True if the client depends on it: the gateway skips a target that cannot get it."""
    action: Literal["dropped", "approximated"] = "dropped"


class CanonicalRequest(msgspec.Struct, frozen=True, kw_only=True):
    """All that a client asks for. None stands for a choice that the client leaves to the model."""

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
    """A value of `gateway.core.target.EFFORTS`."""
    budget: int | None = None
    """The tokens for reasoning, if the client sets effort in tokens."""
    thoughts_shown: bool | None = None
    """True if the client wants the reasoning, or a summary of it; None if it does not say."""
    service_tier: str | None = None
    """The service tier in OpenAI's words; "default" is the standard one."""
    user: str | None = None
    """The client's name for its own user."""
    metadata: Json = None
    cache_key: str | None = None
    """A key that calls with the same prompt prefix share."""
    stream: bool = False
    stream_usage: bool = False
    names: dict[str, str] = {}
    """The client's own names for fields of this class that it set: {"max_output": "max_tokens"}."""
    extra_members: dict[str, Json] = {}
    """Top-level members that no field of this class holds, by the client's own names."""
    lost_members: tuple[LostMember, ...] = ()
    """Members at any depth that are lost in any other dialect."""
    source: Json = None
    """The whole body, as decoded JSON."""
