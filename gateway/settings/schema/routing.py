"""The schema of what the classifier's decisions are bounded by."""

from typing import Annotated

from pydantic import BaseModel, Field

from gateway.core.target import Tier
from gateway.settings.schema.base import STRICT, Span

type Share = Annotated[float, Field(ge=0, le=1)]


class MostPart(BaseModel):
    """The shares that tiers may have of the turns that the classifier decides, 0 to 1."""

    model_config = STRICT

    reasoning: Share = 1.0
    smart: Share = 1.0


class JudgePart(BaseModel):
    """A model that is asked which tier a turn needs."""

    model_config = STRICT

    model: str = "fast"
    """Any name that a client may ask for, but `auto`."""
    timeout: Annotated[Span, Field(gt=0)] = 1.0


class ExemplarPart(BaseModel):
    """A prompt, and the tier that turns near it get."""

    model_config = STRICT

    prompt: Annotated[str, Field(min_length=1)]
    tier: Tier
    name: str = ""
    """What a trace calls it; its number where it has none."""
