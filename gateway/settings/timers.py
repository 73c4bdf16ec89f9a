"""How long the steps of an attempt may take, as it is written: by tier, or for one provider."""

from typing import Literal

from pydantic import BaseModel

from gateway.settings.part import STRICT, Span

type Kind = Literal["fast", "smart", "reasoning", "embeddings"]
"""A tier, or the operation that is of none."""


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
