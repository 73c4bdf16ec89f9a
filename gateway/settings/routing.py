"""The schema of what the classifier's decisions are bounded by."""

from typing import Annotated

from pydantic import BaseModel, Field

from gateway.settings.part import STRICT

type Share = Annotated[float, Field(ge=0, le=1)]


class MostPart(BaseModel):
    """The shares that tiers may have of the turns that the classifier decides, 0 to 1."""

    model_config = STRICT

    reasoning: Share = 1.0
    smart: Share = 1.0
