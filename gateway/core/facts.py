"""What is known of a model: sizes, abilities and restrictions, as data and never as branches."""

import re
from datetime import date
from typing import Literal

import msgspec

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""The one scale of effort, from no thinking to all there is."""

_SNAPSHOT = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2}|latest)\Z")

type Sampling = Literal["always", "effort-none", "never"]


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Facts of one model at one provider. None is unknown, and the unknown refuses nothing."""

    context: int | None = None
    """Tokens of prompt and answer together."""
    max_input: int | None = None
    max_output: int | None = None
    tools: bool | None = None
    forced_tools: bool | None = None
    """Whether `tool_choice` may force a tool."""
    vision: bool | None = None
    files: bool | None = None
    audio: bool | None = None
    json_schema: bool | None = None
    sampling: Sampling = "always"
    """When temperature, top_p and their like are accepted."""
    efforts: tuple[str, ...] = ()
    """Values of EFFORTS that the model accepts; empty where it has no such control."""
    effort_style: str | None = None
    """How effort is written, by its name in a dialect; None where the model has no such control."""
    effort_styles: dict[str, str] = {}
    """The same by dialect, where a model is reached through several."""
    default_effort: str | None = None
    chat_efforts: tuple[str, ...] | None = None
    """Efforts accepted on openai-chat, where fewer than `efforts`."""
    chat_tools_at: tuple[str, ...] | None = None
    """Efforts at which openai-chat takes function tools; None is any, empty is never."""
    replays_reasoning: bool = False
    """Whether it wants its reasoning back with its calls of tools, on openai-chat."""
    refuses: frozenset[str] = frozenset()
    """Top-level request members that the model answers with 400."""
    retires: date | None = None
    note: str = ""

    def style(self, dialect: str) -> str | None:
        """How effort is written on a dialect; None where the model has no such control there."""
        return self.effort_styles.get(dialect, self.effort_style)

    @property
    def window(self) -> int | None:
        """Tokens of prompt that fit."""
        return self.max_input or self.context


UNKNOWN = ModelFacts()


def base_name(model: str) -> str:
    """Return the name of a model without the date of its snapshot, and without `-latest`."""
    return _SNAPSHOT.sub("", model)


def nearest(effort: str, accepted: tuple[str, ...]) -> str:
    """The accepted effort closest to the one asked for; of two as close, the cheaper one."""
    at = EFFORTS.index(effort)
    return min(accepted, key=lambda item: (abs(EFFORTS.index(item) - at), EFFORTS.index(item)))
