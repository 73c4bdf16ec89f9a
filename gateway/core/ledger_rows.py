"""The rows of the ledger: what a call was, what was decided, what it used and what it cost.

An `IntentRow` is written before each request to a provider, an `AttemptRow` where one gave no
answer, one `FinalRow` when the call is over, a `RepriceRow` where a price has come later, and a
`FeedbackRow` where whoever got the answer has judged it. Rows are never changed:
the store puts them together by the id of the call. None is unknown, never zero; times are seconds.

A row of the ledger as far as deciding it again reads it.
"""

from decimal import Decimal
from typing import Literal

import msgspec

from gateway.core.decision_record import DecisionRecord
from gateway.core.target import Tier

ROW_VERSION = 3
"""Of the rows. A later one only adds fields, so a reader of an older one goes on working."""

type CallState = Literal[
    "settled", "estimated", "aborted", "failed", "refused", "cache_hit", "unknown_crash"
]
ANSWERED_STATES: frozenset[CallState] = frozenset({"settled", "estimated", "cache_hit"})
"""Of calls that have their whole answer."""
type CacheOutcome = Literal["hit", "miss", "off"]
type Verdict = Literal["good", "bad"]
type UsageSource = Literal["provider", "partial", "estimate", "recording"]


class IntentRow(msgspec.Struct, frozen=True, kw_only=True, tag="intent", tag_field="kind"):
    """Written before a provider is dialled, so that a crash leaves a trace of what it may bill."""

    v: int = ROW_VERSION
    id: str
    at: float
    attempt: int = 1
    """Which request of the call it is, from 1."""
    key: str
    tenant: str = "default"
    tags: tuple[str, ...] = ()
    dialect: str
    stream: bool = False
    lab: str
    tier: str
    provider: str
    account: str | None = None
    model: str
    input: int | None = None
    """Estimated tokens of the prompt."""
    most: int | None = None
    """Tokens that the answer may have."""
    reserved: Decimal | None = None
    """USD that it may cost at most, by that estimate."""
    price: str | None = None
    config: str


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True, tag="attempt", tag_field="kind"):
    """A request to a provider that gave no answer; the one that did is told by the final row."""

    v: int = ROW_VERSION
    id: str
    """Of the call."""
    attempt: int
    """Which request of the call it was, from 1."""
    at: float
    """When it was sent, seconds since the epoch."""
    provider: str
    account: str | None = None
    model: str
    status: int | None = None
    """HTTP status of the provider; None where there was none."""
    problem: str
    duration: float | None = None
    input: int | None = None
    output: int | None = None
    """All that came out, shown and reasoned."""
    cost: Decimal | None = None
    """USD; 0 where providers bill nothing for such an error, None where they may."""
    estimate: Decimal | None = None
    """USD of `cost` that rest on estimated tokens."""
    reserved: Decimal | None = None
    """USD that it may have cost at most, where `cost` is unknown."""


class FinalRow(msgspec.Struct, frozen=True, kw_only=True, tag="final", tag_field="kind"):
    """The one final row of a call. None is unknown, never zero; times are seconds.

    States: `settled` the provider told its usage; `estimated` an answer was given and the usage is
    not known; `aborted` cut, or without a reason for its end; `failed` no target answered;
    `refused` by the gateway, nothing was sent; `cache_hit`; `unknown_crash` closed by recovery
    after a crash.
    """

    v: int = ROW_VERSION
    id: str
    at: float
    """When the call was received, seconds since the epoch."""
    key: str
    tenant: str = "default"
    tags: tuple[str, ...] = ()
    dialect: str
    asked: str | None = None
    """The model name in the request, where it could be read."""
    stream: bool = False
    state: CallState
    status: int | None = None
    """HTTP status sent to the client; 499 where it had left; None where nobody knows."""
    problem: str | None = None
    aborted_by: str | None = None
    """client, client_slow (it read nothing for too long), upstream, timeout or drain."""
    lab: str | None = None
    tier: str | None = None
    source: str | None = None
    rule: str | None = None
    arm: str | None = None
    """The rules whose part of the traffic was asked for, each with `in` or `out`."""
    guards: tuple[str, ...] = ()
    """The guards that matched; none in rows of before they were kept."""
    confidence: float | None = None
    conversation: str | None = None
    """A hash that the calls of its conversation share."""
    switch_cost: Decimal | None = None
    """USD, once, of the prompt cache that its conversation lost by leaving its seat; None where it
    left none, or where a price is not known."""
    provider: str | None = None
    account: str | None = None
    model: str | None = None
    """The model that was called."""
    effort: str | None = None
    """What the client set, else what its tier does."""
    service: str | None = None
    """The provider's service tier that served, where it is not its standard one."""
    served: str | None = None
    """The model that the provider says answered."""
    attempts: int = 0
    cache: CacheOutcome = "off"
    near: float | None = None
    """How near the question was whose answer the cache gave, 0 to 1; None where it was equal."""
    dropped: tuple[str, ...] = ()
    usage: UsageSource | None = None
    """Who counted the tokens: the provider all or in part, the gateway by its estimate, or, of an
    answer from the cache, the provider when it was recorded."""
    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_by: dict[str, int] = {}
    """`cache_write` by lifetime ("5m", "1h"; "" where unsaid)."""
    output: int | None = None
    reasoning: int | None = None
    tools: dict[str, int] = {}
    """Requests of the provider's own tools that are billed one by one."""
    media: dict[str, int] = {}
    """Tokens of `input` to `reasoning` that are not text, by direction and modality."""
    cost: Decimal | None = None
    """USD of the answer and of the attempts before it, as far as that is known of them."""
    wasted: Decimal | None = None
    """USD of `cost` for attempts that gave no answer; None where they may have been billed."""
    estimate: Decimal | None = None
    """USD of `cost` that rest on estimated tokens."""
    billed: Decimal | None = None
    """USD that the provider says it billed for the answer."""
    reserved: Decimal | None = None
    """USD that what is unknown may have cost at most."""
    baseline: Decimal | None = None
    """USD that the same tokens would have cost on the baseline, without cache and failures."""
    price: str | None = None
    """The version of the price that was used."""
    first_content: float | None = None
    """Seconds from receipt to the first content sent."""
    duration: float | None = None
    """Seconds from receipt to the last byte."""
    upstream_id: str | None = None
    """The id in the headers of the provider's last answer: what its support asks for."""
    response_id: str | None = None
    """The id in the body of that answer: what its exports and bills have."""
    config: str
    """Version of the configuration."""
    basis: DecisionRecord | None = None
    """What was decided on; None where nothing was, and of a call that a crash has ended."""


class RepriceRow(msgspec.Struct, frozen=True, kw_only=True, tag="reprice", tag_field="kind"):
    """A later cost of a call; of several the one that was written last stands."""

    v: int = ROW_VERSION
    id: str
    """Of the call."""
    at: float
    """When it was priced again, seconds since the epoch."""
    cost: Decimal | None
    estimate: Decimal | None = None
    baseline: Decimal | None = None
    price: str | None


class FeedbackRow(msgspec.Struct, frozen=True, kw_only=True, tag="feedback", tag_field="kind"):
    """What its client says of an answer; of several the last stands."""

    v: int = ROW_VERSION
    id: str
    """Of the call."""
    at: float
    """When it was said, seconds since the epoch."""
    key: str
    tenant: str = "default"
    verdict: Verdict | None = None
    tier: Tier | None = None
    """The tier that would have been right."""
    score: float | None = None
    """How good the answer was, 0 to 1."""


type Row = IntentRow | AttemptRow | FinalRow | RepriceRow | FeedbackRow
"""What is known of a call while it runs, the final entry it becomes, and its later price."""


class ReplayRow(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of an `Entry` by the same names; `cost` is the latest."""

    id: str
    at: float
    key: str
    tenant: str = "default"
    tags: tuple[str, ...] = ()
    dialect: str
    asked: str | None = None
    stream: bool = False
    state: CallState
    problem: str | None = None
    lab: str | None = None
    tier: str | None = None
    source: str | None = None
    rule: str | None = None
    confidence: float | None = None
    provider: str | None = None
    account: str | None = None
    model: str | None = None
    effort: str | None = None
    service: str | None = None
    cache: CacheOutcome = "off"
    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_by: dict[str, int] = {}
    output: int | None = None
    reasoning: int | None = None
    tools: dict[str, int] = {}
    media: dict[str, int] = {}
    cost: Decimal | None = None
    config: str
    basis: DecisionRecord | None = None
