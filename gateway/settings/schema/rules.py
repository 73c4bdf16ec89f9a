"""The schema of rules: conditions, guards and choices.

The schema of what the classifier's decisions are bounded by.
"""

import re
from decimal import Decimal
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from gateway.core.call import Strategy
from gateway.core.conversation import CallKind
from gateway.core.target import Tier
from gateway.core.turn_evidence import EvidenceName
from gateway.settings.schema.base import (
    STRICT_CONFIG,
    CompleteSetting,
    Duration,
    Effort,
    NonEmptyWords,
    QualitySetting,
    Word,
    Words,
    wrap_in_list,
)
from gateway.settings.schema.schedule import TimePart

type Fraction = Annotated[float, Field(ge=0, le=1)]


class MostPart(BaseModel):
    """The shares that tiers may have of the turns that the classifier decides, 0 to 1."""

    model_config = STRICT_CONFIG

    reasoning: Fraction = 1.0
    smart: Fraction = 1.0


class JudgePart(BaseModel):
    """A model that is asked which tier a turn needs."""

    model_config = STRICT_CONFIG

    model: str = "fast"
    """Any name that a client may ask for, but `auto`."""
    timeout: Annotated[Duration, Field(gt=0)] = 1.0


class ExemplarPart(BaseModel):
    """A prompt, and the tier that turns near it get."""

    model_config = STRICT_CONFIG

    prompt: Annotated[str, Field(min_length=1)]
    tier: Tier
    name: str = ""
    """What a trace calls it; its number where it has none."""


type Language = Literal[
    "en", "de", "fr", "es", "pt", "it", "nl", "pl", "ru", "uk", "zh", "ja", "ko", "ar", "hi", "tr",
    "unknown",
]  # fmt: skip
"""Languages that are told apart, by their codes of ISO 639-1."""
LANGUAGES: tuple[Language, ...] = get_args(Language.__value__)

_BOOL_ADAPTER = TypeAdapter(bool)


def _parse_count(value: object) -> object:
    """A range, where only whether there are any is written."""
    if not isinstance(value, bool | str | int):
        return value
    try:
        return {"min": 1} if _BOOL_ADAPTER.validate_python(value) else {"max": 0}
    except ValidationError:
        raise ValueError("must be true, false or a range, as {min: 3}") from None


def _parse_traffic(value: object) -> object:
    """A fraction, where it is written as percent. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", value)
    if match is None:
        raise ValueError("must be a part of the traffic, as 5% or 0.05")
    return float(Decimal(match[1]) / (100 if match[2] else 1))


class RangePart(BaseModel):
    """From `min` to `max`, both included."""

    model_config = STRICT_CONFIG

    min: Annotated[float, Field(allow_inf_nan=False)] | None = None
    max: Annotated[float, Field(allow_inf_nan=False)] | None = None


def _require_end(limits: RangePart) -> RangePart:
    """Refuse a range without an end: a call may lack the number, so it would not say what holds."""
    if limits.min is None and limits.max is None:
        raise ValueError("needs `min`, `max` or both")
    return limits


BoundedRange = Annotated[RangePart, AfterValidator(_require_end)]
"""A range of a number that not every call has: where a call lacks it, the condition fails."""
type CountRange = Annotated[RangePart, BeforeValidator(_parse_count)]
"""How many there are; `true` is one at least, `false` is none."""
type TrafficPart = Annotated[float, BeforeValidator(_parse_traffic), Field(ge=0, le=1)]
type EffortList = Annotated[list[Effort], BeforeValidator(wrap_in_list), Field(min_length=1)]
type LanguageList = Annotated[list[Language], BeforeValidator(wrap_in_list), Field(min_length=1)]
type EvidenceList = Annotated[
    list[EvidenceName], BeforeValidator(wrap_in_list), Field(min_length=1)
]
type CallKindList = Annotated[list[CallKind], BeforeValidator(wrap_in_list), Field(min_length=1)]


class WhenPart(BaseModel):
    """Conditions; all that are written must hold."""

    model_config = STRICT_CONFIG

    any: Annotated[list["WhenPart"], Field(min_length=1)] | None = None
    all: Annotated[list["WhenPart"], Field(min_length=1)] | None = None
    not_: Annotated["WhenPart | None", Field(alias="not")] = None
    keywords: NonEmptyWords | None = None
    """One of these words stands in the last user turn, whole and in any case."""
    matches: str | None = None
    """A regular expression (RE2) that the last user turn contains, in any case."""
    user_tokens: RangePart | None = None
    prompt_tokens: RangePart | None = None
    turns: RangePart | None = None
    code: RangePart | None = None
    maths: RangePart | None = None
    need: BoundedRange | None = None
    """How much the turn needs more than the fast tier, 0 to 1, by the classifier's score."""
    confidence: BoundedRange | None = None
    """How sure the classifier is of the tier that it would choose, 0 to 1."""
    system_keywords: NonEmptyWords | None = None
    """As `keywords`, in the system prompt."""
    system_matches: str | None = None
    """As `matches`, in the system prompt."""
    max_tokens: BoundedRange | None = None
    """The cap on the answer that the request asks for."""
    temperature: BoundedRange | None = None
    effort: EffortList | None = None
    """The effort that the request asks for; a budget of thinking stands for one."""
    metadata: Annotated[dict[Word, NonEmptyWords], Field(min_length=1)] | None = None
    """Labels of the request, each with one of these values; * stands for anything."""
    user: NonEmptyWords | None = None
    """The end user that the request names; * stands for anything."""
    language: LanguageList | None = None
    """Of the last user turn."""
    tools: CountRange | None = None
    tool_names: NonEmptyWords | None = None
    """One of these is offered; * stands for anything."""
    tool_loop: bool | None = None
    images: CountRange | None = None
    files: CountRange | None = None
    audio: CountRange | None = None
    json_schema: bool | None = None
    stream: bool | None = None
    kind: CallKindList | None = None
    """The call is of the conversation itself, beside it, or of a sub-agent."""
    task: NonEmptyWords | None = None
    """What a call beside the conversation is for; * stands for anything."""
    evidence: EvidenceList | None = None
    """The history shows one of these against the last answer."""
    client: NonEmptyWords | None = None
    """The application that calls; * stands for anything."""
    dialect: NonEmptyWords | None = None
    asked: NonEmptyWords | None = None
    """The model name in the request; * stands for anything."""
    key: NonEmptyWords | None = None
    """The name of the client's key; * stands for anything."""
    tag: NonEmptyWords | None = None
    time: TimePart | None = None
    """When the call came."""
    cel: Word | None = None
    """An expression of the Common Expression Language; needs the extra `cel`."""
    traffic: TrafficPart | None = None
    """The part of the traffic that the rule takes, of what all its other conditions let through."""

    @model_validator(mode="after")
    def _check_traffic_is_outside(self) -> Self:
        """Refuse `traffic` inside another condition: a call would be on no clear side of it."""
        inner = [*(self.any or ()), *(self.all or ()), *([self.not_] if self.not_ else ())]
        if any(condition.traffic is not None for condition in inner):
            raise ValueError("`traffic` stands beside `any`, `all` and `not`, never inside them")
        return self


class GuardPart(BaseModel):
    """A rule that bounds every decision, pins too."""

    model_config = STRICT_CONFIG

    name: str
    when: WhenPart = WhenPart()
    min_tier: Tier | None = None
    max_tier: Tier | None = None
    allow: Words | None = None
    """Labs it may go to."""
    deny: Words | None = None
    """Labs it may not go to."""
    refuse: str | None = None
    """Refuse the call, with this message."""
    no_cache: bool = False
    cache: Literal["on"] | None = None
    """Turn the response cache on; another guard's `no_cache` is stronger."""
    complete: CompleteSetting | None = None
    quality: QualitySetting | None = None
    """The quality that the classifier keeps, as `routing.quality`."""
    conversation: Strategy | None = None
    """What keeps conversations where they are."""
    tag: Words | None = None


class ChoicePart(BaseModel):
    """A rule that decides; the first that matches wins."""

    model_config = STRICT_CONFIG

    name: str
    when: WhenPart = WhenPart()
    tier: Tier | None = None
    lab: str | None = None
    model: str | None = None
    complete: CompleteSetting | None = None
