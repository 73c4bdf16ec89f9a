"""Limits and budgets as written: in a configuration, or for one key in a key file."""

import re
from decimal import Decimal
from typing import Annotated, NamedTuple, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainValidator,
    model_validator,
)

from gateway.core.call import LEAST_OUTPUT, ReserveMode, WindowKind
from gateway.core.target import TIERS, Tier
from gateway.settings.schema.base import (
    STRICT_CONFIG,
    NonEmptyWords,
    Word,
    check_end,
    wrap_in_list,
)

_UNIT_SECONDS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_MULTIPLIERS = {"": 1, "k": 1_000, "M": 1_000_000}
MAX_COUNT = 10**12
"""The highest count. A Redis script has only doubles, and a double holds this exactly."""
PER_VALUES = ("all", "tenant", "team", "key", "user", "tag", "tier", "tenant,tag", "tenant,tier")
"""Values of `per`: who has a count of its own."""


class Rate(NamedTuple):
    """The maximum number of requests or tokens, and the window in seconds."""

    amount: int
    seconds: float


def parse_rate(value: object) -> Rate:
    """Read a rate such as 60/m. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)([kM]?)\s*/\s*([smhd])\s*", str(value))
    count = Decimal(match[1]) * _MULTIPLIERS[match[2]] if match else Decimal("0.5")
    if match is None or count != int(count):
        raise ValueError("must be a rate, as 10/s, 60/m, 200k/h or 1M/d")
    if count > MAX_COUNT:
        raise ValueError("must be at most 1000000M")
    return Rate(int(count), _UNIT_SECONDS[match[3]])


def parse_per(value: object) -> str:
    """Read who has a count of its own, as one of PER_VALUES. Raises ValueError."""
    words = [value] if isinstance(value, str) else value
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        text = ",".join(sorted(words, reverse=True, key=lambda word: word == "tenant"))
        if text in PER_VALUES:
            return text
    raise ValueError(
        "must be all, tenant, team, key, user, tag, tier, [tenant, tag] or [tenant, tier]"
    )


def _check_time_zone(name: str) -> str:
    try:
        ZoneInfo(name or "UTC")
    except (KeyError, ValueError, OSError):
        raise ValueError(f"no time zone {name!r}: write it as Europe/Berlin") from None
    return name


def _check_url(text: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return text


type TimeZoneName = Annotated[str, AfterValidator(_check_time_zone)]
"""The name of a time zone, as Europe/Berlin; empty is that of the ledger."""
type RateValue = Annotated[Rate, PlainValidator(parse_rate)]
type PerValue = Annotated[str, PlainValidator(parse_per)]
type TierList = Annotated[list[Tier], BeforeValidator(wrap_in_list), Field(min_length=1)]
type UsdAmount = Annotated[Decimal, Field(ge=0, max_digits=15, decimal_places=6)]
"""USD with at most six decimals: whole micro-dollars."""
type LeastOutput = Annotated[int, Field(ge=16, le=MAX_COUNT)]
"""Tokens of output; no dialect takes a cap below 16 from everybody."""
type BudgetShare = Annotated[Decimal, Field(ge=0, le=1, decimal_places=3)]


class CountPart(BaseModel):
    """The part that limits and budgets share: the calls they count, and the owners of counts."""

    model_config = STRICT_CONFIG

    name: Word
    key: NonEmptyWords | None = None
    """Names of keys; only their calls count."""
    team: NonEmptyWords | None = None
    """Names of teams; only calls of their keys count."""
    tag: NonEmptyWords | None = None
    """Tags; a call counts if it has one of them."""
    tier: TierList | None = None
    """Tiers; only their calls count."""
    per: PerValue = "all"
    """The owners of separate counts. `all` counts the calls of all tenants together.

    With `tenant`, `team`, `key`, `user`, `tag` or `tier` each one has a count of its own. Equal
    team names of two tenants are two teams. A `user` is an end user of a key. With `[tenant, tag]`
    or `[tenant, tier]` each tenant has a count for each tag or tier.
    """

    @property
    def counted_by(self) -> str | None:
        """The owner of a count besides tenants: team, key, user, tag or tier; None if none."""
        word = self.per.removeprefix("tenant,")
        return None if word in ("all", "tenant") else word

    @property
    def all_tenants(self) -> bool:
        """True if one count covers calls of all tenants. A key, team or end user belongs to one."""
        return self.per in ("all", "tag", "tier")


class LimitPart(CountPart):
    """A limit on requests, on tokens, or on calls at the same time.

    A rate allows its whole `count` at once; the count then refills gradually.
    """

    requests: RateValue | None = None
    tokens: RateValue | None = None
    concurrency: Annotated[int, Field(ge=0, le=MAX_COUNT)] | None = None
    """The maximum number of calls at the same time."""

    @model_validator(mode="after")
    def _check_has_limit(self) -> Self:
        if self.requests is None and self.tokens is None and self.concurrency is None:
            raise ValueError("limits nothing: give it `requests`, `tokens` or `concurrency`")
        return self


class RisePart(BaseModel):
    """USD that a budget has more, for a time."""

    model_config = STRICT_CONFIG

    usd: Annotated[UsdAmount, Field(gt=0)]
    until: Annotated[str, AfterValidator(check_end)]
    """A date, to the end of its day in the budget's time zone, or a moment."""


class BudgetPart(CountPart):
    """A budget: the USD that calls may cost in a window, or the share that a tier may have."""

    usd: UsdAmount | None = None
    share: BudgetShare | None = None
    """The highest share that the calls of `tier` may have, 0 to 1. The whole is all calls that
    `key`, `team` and `tag` count."""
    every: WindowKind
    """The window; a week begins on Monday."""
    time_zone: TimeZoneName = ""
    """The time zone in which the window begins and ends; empty is `ledger.time_zone`."""
    soft: Annotated[Decimal, Field(gt=0, le=1)] | None = None
    """The part of the budget, 0 to 1, at which the gateway warns."""
    hard: bool = True
    """True if the gateway refuses calls that do not fit; if false, it only warns."""
    then: Tier | None = None
    """The tier that serves calls that do not fit, so that they are not refused."""
    reserve: ReserveMode = "cap"
    """The amount reserved while a call runs: `cap` is the most it can cost, `expected` its usual
    cost. `fit` is as `cap`, and lowers the cap on the output if the call does not fit."""
    least_output: LeastOutput = LEAST_OUTPUT
    """With `reserve: fit`, the tokens of output below which the gateway refuses a call."""
    rise: RisePart | None = None
    """USD that the budget has more, for a time."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if (self.usd is None) == (self.share is None):
            raise ValueError("must have one of `usd` and `share`")
        if self.share is not None:
            self._check_share()
        if self.reserve == "fit" and not self.hard:
            raise ValueError("`reserve: fit` lowers calls, and `hard: false` lets all in")
        if self.reserve != "fit" and self.least_output != LEAST_OUTPUT:
            raise ValueError("`least_output` is for `reserve: fit`")
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
        if self.rise is not None:
            raise ValueError("`rise` is for `usd`: a `share` counts calls")


class UsersPart(BaseModel):
    """End users, whom clients name."""

    model_config = STRICT_CONFIG

    max: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000
    """The most end users of a key that limits and budgets count apart in one window. Later users
    share one count."""


class AlertsPart(BaseModel):
    """The receiver of alerts: soft limits passed, budgets used up, turns moved by a share."""

    model_config = STRICT_CONFIG

    webhook: Annotated[str, AfterValidator(_check_url), Field(repr=False)] = ""
    """The URL that gets a POST for each alert; empty sends none."""
