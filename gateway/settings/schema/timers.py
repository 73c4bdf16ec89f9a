"""How long the steps of an attempt may take, as it is written: by tier, or for one provider."""

from math import inf
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator

from gateway.settings.schema.base import STRICT, Span, span

type Kind = Literal["fast", "smart", "reasoning", "embeddings"]
"""A tier, or the operation that is of none."""


def _patience(value: object) -> float | None:
    if value == "p95":
        return None
    try:
        seconds = float(str(span(value)))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < inf:
        raise ValueError("must be p95, or a duration above 0, as 800ms")
    return seconds


type Patience = Annotated[float | None, BeforeValidator(_patience)]
"""Seconds; None where it is what 95 % of answers take."""


class TimersPart(BaseModel):
    """Seconds of each step of an attempt; unset takes what stands before it."""

    model_config = STRICT

    pool: Span | None = None
    """Until a connection is free."""
    connect: Span | None = None
    headers: Span | None = None
    first_content: Span | None = None
    idle: Span | None = None
    total: Span | None = None
