"""The schema of rules: conditions, guards and choices.

Also the schema of a classifier's judge and exemplars, and of the bounds on its decisions.
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
from gateway.core.decision_context import JudgeKind
from gateway.core.target import Tier
from gateway.core.turn_evidence import EvidenceName
from gateway.settings.schema.base import (
    STRICT_CONFIG,
    CompleteSetting,
    Duration,
    Effort,
    EscalateSetting,
    NonEmptyWords,
    QualitySetting,
    Word,
    Words,
    wrap_in_list,
)
from gateway.settings.schema.schedule import TimePart

type Fraction = Annotated[float, Field(ge=0, le=1)]
type CalibrationLine = tuple[
    Annotated[float, Field(ge=0, le=10)], Annotated[float, Field(ge=-20, le=20)]
]
_CHAT_SECONDS, _DECISION_SECONDS = 1.0, 0.4
"""Seconds to wait for a verdict, by the kind of judge."""


class MostPart(BaseModel):
    """The largest shares that tiers may have of the turns that the classifier decides, 0 to 1."""

    model_config = STRICT_CONFIG

    reasoning: Fraction = 1.0
    smart: Fraction = 1.0


class JudgeCalibrationPart(BaseModel):
    """The lines that calibrate a decision model's probabilities: a slope and a level for each."""

    model_config = STRICT_CONFIG

    fast: CalibrationLine = (1.0, 0.0)
    """The slope and the level that turn the logit of `fast suffices` into the true one."""
    smart: CalibrationLine = (1.0, 0.0)


class JudgePart(BaseModel):
    """A model that the gateway asks which tier a turn needs."""

    model_config = STRICT_CONFIG

    kind: JudgeKind = "chat"
    """`chat`: a model that names a tier. `decision`: one that gives each tier a probability."""
    model: str = "fast"
    """A name that a client may ask for, except `auto`; a decision model has no tier's name."""
    timeout: Annotated[Duration, Field(gt=0)] | None = None
    """Seconds to wait for a verdict; None waits for a chat model 1 s, for another one 400 ms."""
    ask: Literal["unsure", "always"] | None = None
    """The turns to ask about; None asks a chat model about all turns that the classifier decides,
    and a decision model about those where the classifier is unsure."""
    unsure_below: Annotated[float, Field(gt=0, le=1)] = 0.08
    """The margin between the two best tiers below which the classifier counts as unsure.

    Of 2,195 written prompts that the classifier had not seen, a quarter has less, at the prices of
    four labs. It has half of these wrong and a fifth of the others. Among the prompts with the next
    higher margins it is no more often wrong than among all.
    """
    calibration: JudgeCalibrationPart | None = None

    @property
    def seconds(self) -> float:
        """The seconds to wait for a verdict."""
        return self.timeout or (_CHAT_SECONDS if self.kind == "chat" else _DECISION_SECONDS)

    @property
    def asks_unsure_only(self) -> bool:
        """True if the gateway asks only where the classifier is unsure."""
        return self.ask == "unsure" or (self.ask is None and self.kind == "decision")


type Phrases = Annotated[
    list[Annotated[str, Field(min_length=1)]], BeforeValidator(wrap_in_list), Field(min_length=1)
]
"""One text, or several that say the same."""


class ExemplarPart(BaseModel):
    """A prompt, and the tier that the classifier gives to turns near it."""

    model_config = STRICT_CONFIG

    prompt: Phrases
    """The prompt, or several wordings of it."""
    tier: Tier
    name: str = ""
    """The name in a trace; without a name the trace shows the exemplar's number, from 1."""


class RoutePart(BaseModel):
    """A kind of request in plain words, and the tier of turns that mean it."""

    model_config = STRICT_CONFIG

    description: Phrases
    """The description, or several of one kind of request."""
    tier: Tier
    name: str = ""
    """The name in a trace; without a name the trace shows the route's number, from 1."""


LOCAL_EMBEDDER = "local"
"""The name of the small embedder of the extra `semantic`."""
DEFAULT_LOCAL_NEAR, DEFAULT_MODEL_NEAR = 0.35, 0.5
"""Cosines from which on a turn gets the tier: by the small embedder, and by other models."""


class MeaningPart(BaseModel):
    """An embedder that compares turns with exemplars and routes by their meaning."""

    model_config = STRICT_CONFIG

    embed: Word
    """An embedding model that a lab has, or `local`: the small model of the extra `semantic`."""
    near: Annotated[float, Field(gt=0, le=1)] | None = None
    """The cosine from which on a turn gets the tier; unset, 0.35 for `local`, 0.5 for a model."""
    timeout: Annotated[Duration, Field(gt=0)] = 0.3
    """The longest wait of a call, in seconds, for the comparison."""

    @property
    def least(self) -> float:
        """The cosine from which on a turn gets the tier."""
        if self.near is not None:
            return self.near
        return DEFAULT_LOCAL_NEAR if self.embed == LOCAL_EMBEDDER else DEFAULT_MODEL_NEAR


type Language = Literal[
    "en", "de", "fr", "es", "pt", "it", "nl", "pl", "ru", "uk", "zh", "ja", "ko", "ar", "hi", "tr",
    "unknown",
]  # fmt: skip
"""Languages that the gateway tells apart, as ISO 639-1 codes."""
LANGUAGES: tuple[Language, ...] = get_args(Language.__value__)

_BOOL_ADAPTER = TypeAdapter(bool)


def _parse_count(value: object) -> object:
    """Return the range that true (at least one) or false (none) stands for. Raises ValueError."""
    if not isinstance(value, bool | str | int):
        return value
    try:
        return {"min": 1} if _BOOL_ADAPTER.validate_python(value) else {"max": 0}
    except ValidationError:
        raise ValueError("must be true, false or a range, as {min: 3}") from None


def _parse_traffic(value: object) -> object:
    """Return the fraction of a text such as 5% or 0.05. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", value)
    if match is None:
        raise ValueError("must be a part of the traffic, as 5% or 0.05")
    return float(Decimal(match[1]) / (100 if match[2] else 1))


class RangePart(BaseModel):
    """A range from `min` to `max`, both included."""

    model_config = STRICT_CONFIG

    min: Annotated[float, Field(allow_inf_nan=False)] | None = None
    max: Annotated[float, Field(allow_inf_nan=False)] | None = None


def _require_end(limits: RangePart) -> RangePart:
    """Refuse a range without `min` and `max`. Raises ValueError.

    A call may lack the number, so such a range would not say when it holds.
    """
    if limits.min is None and limits.max is None:
        raise ValueError("needs `min`, `max` or both")
    return limits


BoundedRange = Annotated[RangePart, AfterValidator(_require_end)]
"""A range of a number that a call may lack; without the number the condition fails."""
type CountRange = Annotated[RangePart, BeforeValidator(_parse_count)]
"""A range of a count; `true` means at least one, `false` means none."""
type TrafficPart = Annotated[float, BeforeValidator(_parse_traffic), Field(ge=0, le=1)]
type EffortList = Annotated[list[Effort], BeforeValidator(wrap_in_list), Field(min_length=1)]
type LanguageList = Annotated[list[Language], BeforeValidator(wrap_in_list), Field(min_length=1)]
type EvidenceList = Annotated[
    list[EvidenceName], BeforeValidator(wrap_in_list), Field(min_length=1)
]
type CallKindList = Annotated[list[CallKind], BeforeValidator(wrap_in_list), Field(min_length=1)]


class WhenPart(BaseModel):
    """Conditions. All that are written must hold."""

    model_config = STRICT_CONFIG

    any: Annotated[list["WhenPart"], Field(min_length=1)] | None = None
    all: Annotated[list["WhenPart"], Field(min_length=1)] | None = None
    not_: Annotated["WhenPart | None", Field(alias="not")] = None
    keywords: NonEmptyWords | None = None
    """Words or phrases. One must stand in the last user turn as whole words, in any case."""
    matches: str | None = None
    """A regular expression (RE2) that must match somewhere in the last user turn, in any case."""
    user_tokens: RangePart | None = None
    prompt_tokens: RangePart | None = None
    turns: RangePart | None = None
    code: RangePart | None = None
    maths: RangePart | None = None
    need: BoundedRange | None = None
    """The classifier's score of how much the turn needs more than the fast tier, 0 to 1."""
    confidence: BoundedRange | None = None
    """The classifier's confidence in the tier that it would choose, 0 to 1."""
    system_keywords: NonEmptyWords | None = None
    """Words or phrases for the system prompt, read as `keywords` are."""
    system_matches: str | None = None
    """A regular expression for the system prompt, read as `matches` is."""
    max_tokens: BoundedRange | None = None
    """The cap on the answer that the request sets, in tokens."""
    temperature: BoundedRange | None = None
    effort: EffortList | None = None
    """Efforts; the request must ask for one. A thinking budget counts as an effort."""
    metadata: Annotated[dict[Word, NonEmptyWords], Field(min_length=1)] | None = None
    """Labels that the request must have, each with its allowed values; * matches anything."""
    user: NonEmptyWords | None = None
    """End users; the request must name one; * matches anything."""
    language: LanguageList | None = None
    """Languages; the last user turn must be in one of them."""
    tools: CountRange | None = None
    tool_names: NonEmptyWords | None = None
    """Names of tools; the request must offer one; * matches anything."""
    tool_loop: bool | None = None
    images: CountRange | None = None
    files: CountRange | None = None
    audio: CountRange | None = None
    json_schema: bool | None = None
    stream: bool | None = None
    kind: CallKindList | None = None
    """Kinds of call: `main` is the conversation itself, `side` beside it, `agent` a sub-agent."""
    task: NonEmptyWords | None = None
    """Tasks of calls beside the conversation; the call must have one; * matches anything."""
    evidence: EvidenceList | None = None
    """Kinds of evidence against the last answer; the history must show one."""
    client: NonEmptyWords | None = None
    """Client applications; one must make the call; * matches anything."""
    dialect: NonEmptyWords | None = None
    asked: NonEmptyWords | None = None
    """Model names; the request must have one; * matches anything."""
    key: NonEmptyWords | None = None
    """Names of client keys; the call must use one; * matches anything."""
    tag: NonEmptyWords | None = None
    time: TimePart | None = None
    """The times of the week at which the call must come."""
    cel: Word | None = None
    """An expression in the Common Expression Language; it needs the extra `cel`."""
    traffic: TrafficPart | None = None
    """The part of the traffic that the rule takes, 0 to 1, of the calls that meet its other
    conditions."""

    @model_validator(mode="after")
    def _check_traffic_is_outside(self) -> Self:
        """Refuse `traffic` inside another condition. Raises ValueError.

        Inside one, it would not be clear which side of the split a call is on.
        """
        inner = [*(self.any or ()), *(self.all or ()), *([self.not_] if self.not_ else ())]
        if any(condition.traffic is not None for condition in inner):
            raise ValueError("`traffic` stands beside `any`, `all` and `not`, never inside them")
        return self


class GuardPart(BaseModel):
    """A rule that bounds every decision, also for calls that name their model."""

    model_config = STRICT_CONFIG

    name: str
    when: WhenPart = WhenPart.model_construct()
    min_tier: Tier | None = None
    max_tier: Tier | None = None
    allow: Words | None = None
    """Labs that the call may go to, and no others."""
    deny: Words | None = None
    """Labs that the call may not go to."""
    refuse: str | None = None
    """The message with which the gateway refuses the call."""
    no_cache: bool = False
    cache: Literal["on"] | None = None
    """`on` turns the response cache on for the call; `no_cache` of another guard wins over it."""
    judge: Literal["off"] | None = None
    """`off`: no model that helps to decide sees the text, as a judge or an embedding model."""
    complete: CompleteSetting | None = None
    escalate: EscalateSetting | None = None
    quality: QualitySetting | None = None
    """The quality that the classifier keeps, written as in `routing.quality`."""
    conversation: Strategy | None = None
    """The affinity strategy: what keeps a conversation on its target."""
    tag: Words | None = None


class ChoicePart(BaseModel):
    """A rule that decides; the first one that matches wins."""

    model_config = STRICT_CONFIG

    name: str
    when: WhenPart = WhenPart.model_construct()
    tier: Tier | None = None
    lab: str | None = None
    model: str | None = None
    complete: CompleteSetting | None = None
    escalate: EscalateSetting | None = None
