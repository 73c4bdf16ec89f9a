"""The schema of rules: conditions, guards and choices."""

from typing import Annotated

from pydantic import BaseModel, Field

from gateway.core.target import Tier
from gateway.settings.part import STRICT, Complete, Some, Words


class Range(BaseModel):
    """From `min` to `max`, both included."""

    model_config = STRICT

    min: float | None = None
    max: float | None = None


class When(BaseModel):
    """Conditions; all that are written must hold."""

    model_config = STRICT

    any: Annotated[list["When"], Field(min_length=1)] | None = None
    all: Annotated[list["When"], Field(min_length=1)] | None = None
    not_: Annotated["When | None", Field(alias="not")] = None
    keywords: Some | None = None
    """One of these words stands in the last user turn, whole and in any case."""
    matches: str | None = None
    """A regular expression (RE2) that the last user turn contains, in any case."""
    user_tokens: Range | None = None
    prompt_tokens: Range | None = None
    turns: Range | None = None
    code: Range | None = None
    maths: Range | None = None
    tools: bool | None = None
    tool_names: Some | None = None
    tool_loop: bool | None = None
    images: bool | None = None
    json_schema: bool | None = None
    stream: bool | None = None
    dialect: Some | None = None
    asked: Some | None = None
    """The model name in the request."""
    key: Some | None = None
    tag: Some | None = None


class GuardPart(BaseModel):
    """A rule that bounds every decision, pins too."""

    model_config = STRICT

    name: str
    when: When = When()
    min_tier: Tier | None = None
    max_tier: Tier | None = None
    allow: Words | None = None
    """Labs it may go to."""
    deny: Words | None = None
    """Labs it may not go to."""
    refuse: str | None = None
    """Refuse the call, with this message."""
    no_cache: bool = False
    complete: Complete | None = None
    tag: Words | None = None


class ChoicePart(BaseModel):
    """A rule that decides; the first that matches wins."""

    model_config = STRICT

    name: str
    when: When = When()
    tier: Tier | None = None
    lab: str | None = None
    model: str | None = None
    complete: Complete | None = None
