"""Limits and budgets as they are written: in a configuration, and for one key in a file of keys."""

import re
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainValidator,
    model_validator,
)

from gateway.core.target import TIERS, Tier
from gateway.settings.schema.base import STRICT_CONFIG, NonEmptyWords, Word, wrap_in_list

_UNIT_SECONDS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_MULTIPLIERS = {"": 1, "k": 1_000, "M": 1_000_000}
MAX_COUNT = 10**12
"""What is counted stays exact in a double, which is all that a script in Redis has."""
PER_VALUES = ("all", "tenant", "key", "tag", "tier", "tenant,tag", "tenant,tier")
"""Who can have a count of its own."""


class Rate(NamedTuple):
    """So many in so many seconds."""

    amount: int
    seconds: float


def parse_rate(value: object) -> Rate:
    """A rate as it is written. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)([kM]?)\s*/\s*([smhd])\s*", str(value))
    count = Decimal(match[1]) * _MULTIPLIERS[match[2]] if match else Decimal("0.5")
    if match is None or count != int(count):
        raise ValueError("must be a rate, as 10/s, 60/m, 200k/h or 1M/d")
    if count > MAX_COUNT:
        raise ValueError("must be at most 1000000M")
    return Rate(int(count), _UNIT_SECONDS[match[3]])


def parse_per(value: object) -> str:
    """Read who has a count of its own, as one of PER. Raises ValueError."""
    words = [value] if isinstance(value, str) else value
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        text = ",".join(sorted(words, reverse=True, key=lambda word: word == "tenant"))
        if text in PER_VALUES:
            return text
    raise ValueError("must be all, tenant, key, tag, tier, [tenant, tag] or [tenant, tier]")


def _check_url(text: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return text


type BudgetPeriod = Literal["hour", "day", "month", "total"]
type RateValue = Annotated[Rate, PlainValidator(parse_rate)]
type PerValue = Annotated[str, PlainValidator(parse_per)]
type TierList = Annotated[list[Tier], BeforeValidator(wrap_in_list), Field(min_length=1)]
type UsdAmount = Annotated[Decimal, Field(ge=0, max_digits=15, decimal_places=6)]
"""USD, in whole micro-dollars."""
type BudgetShare = Annotated[Decimal, Field(ge=0, le=1, decimal_places=3)]


class CountPart(BaseModel):
    """Which calls are counted, and whether together or apart."""

    model_config = STRICT_CONFIG

    name: Word
    key: NonEmptyWords | None = None
    """Calls of these keys."""
    tag: NonEmptyWords | None = None
    """Calls that have one of these tags."""
    tier: TierList | None = None
    """Calls of these tiers."""
    per: PerValue = "all"
    """`all` counts the calls of all tenants together. With `tenant`, `key`, `tag` or `tier` each of
    them has a count of its own; `[tenant, tag]` and `[tenant, tier]` are each tenant's."""

    @property
    def counted_by(self) -> str | None:
        """What has a count of its own beside tenants: key, tag or tier."""
        word = self.per.removeprefix("tenant,")
        return None if word in ("all", "tenant") else word

    @property
    def all_tenants(self) -> bool:
        """True if one count has the calls of all tenants; a key is of one."""
        return self.per in ("all", "tag", "tier")


class LimitPart(CountPart):
    """How much may be asked for: of a rate, a whole `count` at once and then as it comes back."""

    requests: RateValue | None = None
    tokens: RateValue | None = None
    concurrency: Annotated[int, Field(ge=0, le=MAX_COUNT)] | None = None
    """Calls at a time."""

    @model_validator(mode="after")
    def _check_has_limit(self) -> Self:
        if self.requests is None and self.tokens is None and self.concurrency is None:
            raise ValueError("limits nothing: give it `requests`, `tokens` or `concurrency`")
        return self


class BudgetPart(CountPart):
    """What may be spent in a window, or which share of calls a tier may have."""

    usd: UsdAmount | None = None
    share: BudgetShare | None = None
    """Of all calls that its `key` and `tag` count; what `tier` names may have no more."""
    every: BudgetPeriod
    """The window, in `ledger.time_zone`."""
    soft: Annotated[Decimal, Field(gt=0, le=1)] | None = None
    """The part of it at which a warning is due."""
    hard: bool = True
    """Calls that do not fit are refused; `false` only warns."""
    then: Tier | None = None
    """Calls that do not fit go there in place of a refusal."""
    reserve: Literal["cap", "expected"] = "cap"
    """What a call is taken to cost while it runs: the most that it can, or what is usual."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if (self.usd is None) == (self.share is None):
            raise ValueError("must have one of `usd` and `share`")
        if self.share is not None:
            self._check_share()
        if self.then is None:
            return self
        if not self.hard:
            raise ValueError("`then` is for calls that do not fit, and `hard: false` lets all in")
        higher_tiers = [tier for tier in TIERS if TIERS.index(tier) > TIERS.index(self.then)]
        if not higher_tiers:
            raise ValueError(f"`then: {self.then}` is the highest tier: nothing is above it")
        if self.tier is None or not set(self.tier) <= set(higher_tiers):
            example = f"`tier: [{', '.join(higher_tiers)}]`"
            raise ValueError(f"`then: {self.then}` must be below all that it counts, as {example}")
        return self

    def _check_share(self) -> None:
        if self.tier is None:
            raise ValueError("a `share` is of tiers: give it `tier`, as `tier: [reasoning]`")
        if self.counted_by == "tier":
            raise ValueError("a `share` counts its tiers together: `per` may not be `tier`")
        if "reserve" in self.model_fields_set:
            raise ValueError("`reserve` is for `usd`: a `share` counts calls")


class AlertsPart(BaseModel):
    """Who is told where a soft limit is passed or a budget is used up."""

    model_config = STRICT_CONFIG

    webhook: Annotated[str, AfterValidator(_check_url), Field(repr=False)] = ""
    """A URL that is sent a POST for each; none where empty."""
