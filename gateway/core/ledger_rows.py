"""The rows of the ledger: the call, its decision, its usage and its cost.

    IntentRow      before each request to a provider
    AttemptRow     after a request that gave no answer
    FinalRow       one, when the call is over
    RepriceRow     when a price has come later
    FeedbackRow    when the client has judged the answer
    DamagedRow     made by readers where rows of a journal are missing

The gateway never changes a row. The store joins rows by the id of the call. None means unknown,
never zero. Times are in seconds. A `ReplayRow` has the fields that a replay of the decision reads.
An `ArmRow` has the fields that the results of arms read, a `SavingRow` those of the savings report.
"""

from decimal import Decimal
from typing import Literal

import msgspec

from gateway.core.decision_record import DecisionRecord
from gateway.core.target import Tier

ROW_VERSION = 5
"""The version of the rows. A later version only adds fields, so older readers still work."""

type CallState = Literal[
    "settled", "estimated", "aborted", "failed", "refused", "cache_hit", "unknown_crash"
]
ANSWERED_STATES: frozenset[CallState] = frozenset({"settled", "estimated", "cache_hit"})
"""The states of calls that have their whole answer."""
type AnswerFinding = Literal["passed", "empty", "refused", "schema"]
"""The finding of the free check in an answer.

`passed`: no fault. `empty`: neither text nor a tool call. `refused`: the model declines. `schema`:
it is not the JSON that the client asked for.
"""
type CacheOutcome = Literal["hit", "miss", "off"]
type Verdict = Literal["good", "bad"]
type DamageKind = Literal["missing", "altered"]
type UsageSource = Literal["provider", "partial", "estimate", "recording"]
_MIN_GOOD_SCORE = 0.5
"""The score below which an answer counts as bad."""


class IntentRow(msgspec.Struct, frozen=True, gc=False, tag="intent", tag_field="kind"):
    """A request to come, written to disk first: a crash leaves a trace of the possible bill."""

    id: str
    at: float
    key: str
    dialect: str
    lab: str
    tier: str
    provider: str
    model: str
    config: str
    v: int = ROW_VERSION
    attempt: int = 1
    """The number of the request in its call, from 1."""
    tenant: str = "default"
    team: str | None = None
    end_user: str | None = None
    tags: tuple[str, ...] = ()
    operation: str | None = None
    stream: bool = False
    account: str | None = None
    input: int | None = None
    """The estimated tokens of the prompt."""
    most: int | None = None
    """The most tokens that the answer may have."""
    reserved: Decimal | None = None
    """The most USD that the request may cost."""
    price: str | None = None


class AttemptRow(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="attempt", tag_field="kind"
):
    """A request to a provider that gave no answer, or none that the client got.

    The final row describes the one that did.
    """

    v: int = ROW_VERSION
    id: str
    """The id of the call."""
    attempt: int
    """The number of the request in its call, from 1."""
    at: float
    """The time when the gateway sent it, in seconds since the epoch."""
    provider: str
    account: str | None = None
    model: str
    status: int | None = None
    """The provider's HTTP status; None if there was none."""
    problem: str
    duration: float | None = None
    input: int | None = None
    output: int | None = None
    """All tokens of output, with those of reasoning."""
    cost: Decimal | None = None
    """USD; 0 if providers bill nothing for such an error, None if they may have billed it."""
    estimate: Decimal | None = None
    """The USD of `cost` that rest on estimated tokens."""
    reserved: Decimal | None = None
    """The most USD that it may have cost beyond `cost`, which is unknown or not final."""


class FinalRow(msgspec.Struct, frozen=True, gc=False, tag="final", tag_field="kind"):
    """The one final row of a call. None means unknown, never zero. Times are in seconds.

    States: `settled`: the provider reported its usage. `estimated`: the client got an answer, and
    the provider did not report all usage. `aborted`: the answer was cut, or its end has no reason.
    `failed`: no target answered. `refused`: the gateway refused the call and sent nothing.
    `cache_hit`: the answer came from the cache. `unknown_crash`: recovery closed the call after a
    crash.
    """

    id: str
    at: float
    """The time when the gateway received the call, in seconds since the epoch."""
    key: str
    dialect: str
    state: CallState
    config: str
    """The version of the configuration."""
    v: int = ROW_VERSION
    tenant: str = "default"
    team: str | None = None
    """The team of the key; None if it belongs to none."""
    end_user: str | None = None
    """A keyed hash of the end user whom the client names; None if it names none."""
    tags: tuple[str, ...] = ()
    operation: str | None = None
    """The name of the pass-through endpoint, as `images.generate`; None for text and embeddings."""
    asked: str | None = None
    """The model name in the request; None if the gateway could not read it."""
    stream: bool = False
    status: int | None = None
    """The HTTP status that the client got; 499 if it had left; None after a crash."""
    problem: str | None = None
    aborted_by: str | None = None
    """client, client_slow (it read nothing for too long), upstream, timeout or drain."""
    lab: str | None = None
    tier: str | None = None
    source: str | None = None
    rule: str | None = None
    arm: str | None = None
    """The rules whose `traffic` condition was evaluated, each with `in` or `out`."""
    guards: tuple[str, ...] = ()
    """The names of the guards that matched; empty in rows older than this field."""
    confidence: float | None = None
    conversation: str | None = None
    """A hash that all calls of the conversation share."""
    switch_cost: Decimal | None = None
    """USD, once, for the prompt cache that the conversation lost by leaving its session's target.

    None if it left none, or if a price is unknown.
    """
    provider: str | None = None
    account: str | None = None
    model: str | None = None
    """The model that the gateway called last."""
    effort: str | None = None
    """The effort that the client set; otherwise the effort of the tier."""
    service: str | None = None
    """The provider's service tier that served; None for its standard tier."""
    served: str | None = None
    """The model that answered, by the provider's word."""
    attempts: int = 0
    cache: CacheOutcome = "off"
    near: float | None = None
    """The similarity to the question whose cached answer this is, 0 to 1; None if equal."""
    dropped: tuple[str, ...] = ()
    usage: UsageSource | None = None
    """The party that counted the tokens.

    `provider`: the provider. `partial`: the provider in part. `estimate`: the gateway. `recording`:
    the provider, when the cache recorded the answer.
    """
    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_by: dict[str, int] = {}
    """`cache_write` by lifetime ("5m", "1h"; "" if the provider does not say)."""
    output: int | None = None
    reasoning: int | None = None
    tools: dict[str, int] = {}
    """Requests of the provider's own tools that it bills one by one."""
    media: dict[str, int] = {}
    """The tokens in `input` to `reasoning` that are not text, as in `Usage.media`."""
    units: dict[str, Decimal] = {}
    """Amounts that the provider bills beside tokens, by unit, as in `Usage.units`."""
    cost: Decimal | None = None
    """USD of the answer, and of earlier attempts as far as known. A bill that the provider states
    is the cost of its answer."""
    wasted: Decimal | None = None
    """USD of `cost` for attempts that gave no answer, and for an answer that the client did not
    get; None if a bill for one is unknown."""
    estimate: Decimal | None = None
    """The USD of `cost` that rest on estimated tokens."""
    billed: Decimal | None = None
    """USD for the answer, by the provider's word."""
    computed_cost: Decimal | None = None
    """USD for the answer by the gateway's prices, if the provider states its bill."""
    reserved: Decimal | None = None
    """The most USD beyond `cost`, of which a part is unknown, estimated or not final."""
    baseline: Decimal | None = None
    """USD of the same tokens on the baseline, without cache and failures."""
    price: str | None = None
    """The version of the price."""
    first_content: float | None = None
    """Seconds from receipt to the first content that the gateway sent."""
    duration: float | None = None
    """Seconds from receipt to the last byte."""
    upstream_id: str | None = None
    """The id in the headers of the provider's last answer, for its support."""
    response_id: str | None = None
    """The id in the body of that answer, as in the provider's exports and bills."""
    finish: str | None = None
    """The provider's own word for why the answer ended, as `stop` or `max_tokens`."""
    checked: AnswerFinding | None = None
    """The finding of the free check in the first answer; None if it was not checked."""
    escalated: str | None = None
    """The decided tier, if the tier above was asked too; None if it was not.

    `tier` is the tier that served: it is the same if the first answer was served after all.
    """
    basis: DecisionRecord | None = None
    """The facts that the decision rested on; None without a decision, or after a crash."""


class RepriceRow(msgspec.Struct, frozen=True, kw_only=True, tag="reprice", tag_field="kind"):
    """A later cost of a call. The one that was written last counts."""

    v: int = ROW_VERSION
    id: str
    """The id of the call."""
    at: float
    """The time of the new price, in seconds since the epoch."""
    cost: Decimal | None
    estimate: Decimal | None = None
    baseline: Decimal | None = None
    computed_cost: Decimal | None = None
    price: str | None


class FeedbackRow(msgspec.Struct, frozen=True, kw_only=True, tag="feedback", tag_field="kind"):
    """The client's judgement of an answer. The last one counts."""

    v: int = ROW_VERSION
    id: str
    """The id of the call."""
    at: float
    """The time of the feedback, in seconds since the epoch."""
    key: str
    tenant: str = "default"
    verdict: Verdict | None = None
    tier: Tier | None = None
    """The tier that would have been right, by the client's word."""
    score: float | None = None
    """The quality of the answer, 0 to 1."""


def has_failed(state: CallState, aborted_by: str | None) -> bool:
    """True if a call has no answer, or a broken one although its client did not leave."""
    if state == "aborted":
        return aborted_by not in ("client", "client_slow")
    return state in ("failed", "refused", "unknown_crash")


def is_rated_good(verdict: Verdict | None, score: float | None) -> bool | None:
    """True if feedback calls an answer good; None if it has neither a verdict nor a score."""
    if verdict is None and score is None:
        return None
    return verdict != "bad" and (score is None or score >= _MIN_GOOD_SCORE)


class DamagedRow(msgspec.Struct, frozen=True, kw_only=True, tag="damaged", tag_field="kind"):
    """Consecutive rows of a journal that cannot be read. Readers make it; no journal has one.

    `missing`: nothing that was written is there, or it was changed. `altered`: intact rows do not
    follow each other, so some are of another journal or come twice.
    """

    v: int = ROW_VERSION
    id: str
    """The name of the journal's file, and the numbers of the rows."""
    segment: str
    """The name of the journal's file."""
    problem: DamageKind
    first: int
    """The number of the first such row in its segment, from 1."""
    last: int
    """The number of the last one."""
    since: float | None
    """The time from which calls of these rows may have begun; None if nobody knows."""
    until: float
    """The time until which these rows were written, in seconds since the epoch."""


type Row = IntentRow | AttemptRow | FinalRow | RepriceRow | FeedbackRow
"""Any row of the ledger."""


class ReplayRow(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a `FinalRow` for a replay of its decision; `cost` is the latest."""

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
    checked: AnswerFinding | None = None
    escalated: str | None = None
    config: str
    basis: DecisionRecord | None = None


class ArmRow(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a `FinalRow` for the results of its arms, at its latest cost."""

    arm: str
    """The rules whose `traffic` condition was evaluated, each with `in` or `out`."""
    conversation: str | None
    tenant: str
    key: str
    state: CallState
    aborted_by: str | None
    cost: Decimal | None
    """USD, as far as known."""
    has_unknown_cost: bool
    """True if something was or may have been billed, and nobody knows how much."""
    first_content: float | None
    duration: float | None
    is_good: bool | None
    """True if the last feedback calls the answer good; None if nobody has rated it."""


class SavingRow(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a `FinalRow` for what routing saved, at its latest cost."""

    conversation: str | None
    tenant: str
    key: str
    tags: tuple[str, ...]
    source: str | None
    state: CallState
    cost: Decimal | None
    """USD, as far as known."""
    baseline: Decimal | None
    has_unknown_cost: bool
    """True if something was or may have been billed, and nobody knows how much."""
