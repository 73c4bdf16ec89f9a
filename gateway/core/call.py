"""One client request, as the gateway received it. It never changes afterwards."""

from decimal import Decimal
from typing import Literal

import msgspec

from gateway.core.target import Tier

type CompleteMode = Literal["off", "hold"]
"""`hold`: buffer an answer, and ask another target if it breaks off. `off`: neither."""

type EscalateMode = Literal["off", "watch", "checked"]
"""`checked`: check a whole answer, and ask the tier above once if it has a fault. `watch`: check,
and only note the fault. `off`: neither."""

type Strategy = Literal["turn", "sticky", "ratchet-up", "cost-aware", "pin"]
"""The reason for which a conversation stays on its target.

`turn`: only a tool loop. `sticky`: its prompt cache. `ratchet-up`: its prompt cache, unless there
is a sure reason to go to a higher tier. `cost-aware`: the cost of leaving. `pin`: the target came
first.
"""

type CacheMode = Literal["off", "embeddings", "deterministic", "on"]
"""The calls that the response cache serves without being asked.

`off`: none. `embeddings`: embeddings. `deterministic`: embeddings, and chat without tools at an
explicit temperature of 0. `on`: all that the cache can serve.
"""

type WindowKind = Literal["minute", "hour", "day", "week", "month", "quarter", "year", "total"]
"""The window of a budget; `total` never ends."""

type ReserveMode = Literal["cap", "fit", "expected"]
"""The amount that a budget reserves for a call.

`cap` reserves the most that the call can cost, `expected` its usual cost. `fit` also reserves the
most, and lowers the cap on the output if that does not fit.
"""

LEAST_OUTPUT = 1024
"""Tokens below which a lowered cap is of little use: a model that thinks needs room to answer."""

type Dialect = str
"""openai-chat, openai-responses, anthropic-messages or gemini."""


class KeyLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit on the usage of one key, beside all other limits."""

    requests: tuple[int, float] | None = None
    """The maximum number of requests, and the window in seconds."""
    tokens: tuple[int, float] | None = None
    """The maximum number of tokens, and the window in seconds."""
    concurrency: int | None = None
    """The maximum number of calls at once."""


class BudgetRise(msgspec.Struct, frozen=True, kw_only=True):
    """USD that a budget has more, for a time."""

    usd: Decimal
    until: str
    """The date on which it ends, or the moment."""


class KeyBudget(msgspec.Struct, frozen=True, kw_only=True):
    """A budget of one key, beside all other budgets."""

    usd: Decimal
    every: WindowKind
    time_zone: str = ""
    """The time zone of its windows; empty is the zone of the ledger."""
    tier: tuple[Tier, ...] | None = None
    """The tiers whose calls count; None counts all."""
    soft: Decimal | None = None
    """The share of `usd` at which the gateway warns, 0 to 1."""
    hard: bool = True
    then: Tier | None = None
    """The tier that the calls go to instead of being refused."""
    reserve: ReserveMode = "cap"
    least_output: int = LEAST_OUTPUT
    """With `reserve: fit`, the tokens of output below which the gateway refuses a call."""
    rise: BudgetRise | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A client's credential: its name, its tenant, its team, and what it may ask for."""

    name: str
    tenant: str = "default"
    team: str | None = None
    """The team of the tenant that the key belongs to; None if it belongs to none."""
    lab: str | None = None
    """The lab that serves tier names without a lab."""
    tags: tuple[str, ...] = ()
    """Tags that the gateway adds to every call of the key."""
    allowed_tags: tuple[str, ...] | None = None
    """Tags that calls of the key may add; None allows any."""
    labs: tuple[str, ...] | None = None
    tiers: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    """Patterns with `*` for the names of models, or for provider/model."""
    regions: tuple[str, ...] | None = None
    """Regions of the providers that may serve the key; a provider without a region may not."""
    complete: CompleteMode | None = None
    """The setting for calls that do not set `complete` themselves."""
    escalate: EscalateMode | None = None
    """The setting for calls that do not set `escalate` themselves."""
    quality: float | None = None
    """The share of quality that calls of the key keep; None leaves it to the lab."""
    max_quality: float | None = None
    """The greatest share of quality that calls of the key may ask for; None allows any."""
    conversation: Strategy | None = None
    """The strategy that keeps conversations of the key on their targets."""
    cache: CacheMode | None = None
    """The calls that the response cache serves; None leaves it to the configuration."""
    admin: bool = False
    """True if the key opens pages and endpoints for admins."""
    denied_tokens: tuple[str, ...] = ()
    """Tokens of identity providers that do not open the key: `sub=SUBJECT` or `jti=TOKEN`."""
    limits: tuple[KeyLimit, ...] = ()
    budgets: tuple[KeyBudget, ...] = ()


OPEN_KEY = Key(name="open")
"""The key of every call if the configuration says `keys: open`."""


class RequestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The wishes in the x-tiergate-* request headers."""

    lab: str | None = None
    tier: str | None = None
    cache: str | None = None
    """on, off, refresh or exact; no-cache if a cache-control header says so."""
    tags: tuple[str, ...] = ()
    conversation: str | None = None
    on_loss: str | None = None
    complete: CompleteMode | None = None
    escalate: EscalateMode | None = None
    quality: float | None = None
    """The share of quality to keep, see `gateway.core.quality`."""
    stream_cost: bool = False
    """True if the gateway writes the cost of a stream in a comment after its end."""

    @property
    def wants_new_answer(self) -> bool:
        """True if the client wants a new answer, even if the cache has one."""
        return self.cache in ("refresh", "no-cache")


NO_OPTIONS = RequestOptions()


class Call(msgspec.Struct, frozen=True):
    """One client request."""

    id: str
    dialect: Dialect
    operation: str
    """The kind of request: "generate", "count_tokens" or "embeddings"."""
    body: bytes
    received_at: float
    """Seconds since the epoch."""
    started_at: float
    """Seconds on the monotonic clock."""
    path: str = ""
    """The part of the request that is in its URL: "models/gemini-x:generateContent"."""
    query: str = ""
    """The part of the query string that the gateway sends on to a provider."""
    headers: dict[str, str] = {}
    """Client headers that the gateway sends on to a provider, by names in lower case."""
    hints: dict[str, str] = {}
    """Headers that describe the client and its conversation, by names in lower case.

    Only routing reads them. The gateway sends on only what is in `headers`.
    """
    trace: str | None = None
    """The W3C traceparent header, as the client sent it."""
    key: Key = OPEN_KEY
    options: RequestOptions = NO_OPTIONS
    end_user: str = ""
    """The end user, whatever the body says; no row has the id itself."""
    default_end_user: str = ""
    """The end user of a call that names none."""
    retry_count: int = 0
    """The number of earlier attempts of the client, by its own count."""
    client_timeout: float | None = None
    """Seconds after which the client leaves if it gets no bytes; None if it does not say."""
    lifetime: float | None = None
    """Seconds for which a job of the call may run; None for a call that ends with its answer."""
