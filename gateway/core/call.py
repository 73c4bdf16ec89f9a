"""One client request, as it was received; never changed after."""

from decimal import Decimal
from typing import Literal

import msgspec

from gateway.core.target import Tier

type CompleteMode = Literal["off", "hold"]
"""Whether the gateway buffers an answer, and asks another target for it where it breaks off."""

type Strategy = Literal["turn", "sticky", "ratchet-up", "cost-aware", "pin"]
"""What keeps a conversation where it is: nothing but a tool loop, its prompt cache, that and only a
sure reason to go up, what leaving costs, or that it was there first."""

type CacheMode = Literal["off", "embeddings", "deterministic", "on"]
"""The calls that the response cache serves where nobody asks for it: none, embeddings, those and
chat at an explicit temperature of 0 without tools, or all that it can serve."""

type Dialect = str
"""openai-chat, openai-responses, anthropic-messages or gemini."""


class KeyLimit(msgspec.Struct, frozen=True, kw_only=True):
    """What one key may use at most, beside all other limits."""

    requests: tuple[int, float] | None = None
    """So many in so many seconds."""
    tokens: tuple[int, float] | None = None
    concurrency: int | None = None
    """Calls at once."""


class KeyBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What one key may spend at most, beside all other budgets."""

    usd: Decimal
    every: Literal["hour", "day", "month", "total"]
    tier: tuple[Tier, ...] | None = None
    """The tiers whose calls are counted."""
    soft: Decimal | None = None
    """The part of it at which a warning is due."""
    hard: bool = True
    then: Tier | None = None
    """The tier that its calls go to in place of a refusal."""
    reserve: Literal["cap", "expected"] = "cap"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling: the name and tenant of a client's credential, and what it may ask for."""

    name: str
    tenant: str = "default"
    lab: str | None = None
    """The lab of bare tier names for this key."""
    tags: tuple[str, ...] = ()
    """Tags that its calls always carry."""
    allowed_tags: tuple[str, ...] | None = None
    """Tags that its calls may add; None is any."""
    labs: tuple[str, ...] | None = None
    tiers: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    """Patterns with * of models, or of provider/model."""
    regions: tuple[str, ...] | None = None
    """Regions of the providers that may be asked; one of no region may not."""
    complete: CompleteMode | None = None
    """What holds for its calls that do not say it themselves."""
    quality: float | None = None
    """The share of quality that its calls keep; None leaves it to the lab."""
    max_quality: float | None = None
    """The greatest share that its calls may ask for; None is any."""
    conversation: Strategy | None = None
    """What keeps its conversations where they are."""
    cache: CacheMode | None = None
    """Which of its calls the response cache serves; None leaves it to the configuration."""
    admin: bool = False
    """Whether it opens what admins alone may see."""
    limits: tuple[KeyLimit, ...] = ()
    budgets: tuple[KeyBudget, ...] = ()


OPEN_KEY = Key(name="open")
"""The key of every call where the configuration says `keys: open`."""


class RequestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the x-tiergate-* request headers ask for."""

    lab: str | None = None
    tier: str | None = None
    cache: str | None = None
    """on, off, refresh or exact; no-cache where a cache-control header says so."""
    tags: tuple[str, ...] = ()
    conversation: str | None = None
    on_loss: str | None = None
    complete: CompleteMode | None = None
    quality: float | None = None
    """The share of quality to keep, see gateway.core.quality."""
    stream_cost: bool = False
    """The cost of a stream stands in a comment after its end."""

    @property
    def wants_new_answer(self) -> bool:
        """True if the client wants a new answer, also where the cache has one."""
        return self.cache in ("refresh", "no-cache")


NO_OPTIONS = RequestOptions()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One client request."""

    id: str
    dialect: Dialect
    operation: str
    """What is asked: "generate", "count_tokens"."""
    body: bytes
    path: str = ""
    """What of the request stands in its URL: "models/gemini-x:generateContent"."""
    query: str = ""
    """What of the query string goes on to a provider."""
    headers: dict[str, str] = {}
    """Client headers that go on to a provider, names in lower case."""
    hints: dict[str, str] = {}
    """Headers that tell of the client and of its conversation, names in lower case; they are for
    routing alone, and what of them goes on is in `headers`."""
    trace: str | None = None
    """The client's W3C traceparent, as it came."""
    key: Key = OPEN_KEY
    options: RequestOptions = NO_OPTIONS
    retry_count: int = 0
    """How often its client has asked before, by its own count."""
    client_timeout: float | None = None
    """Seconds after which its client leaves if it has not been told anything; None where unsaid."""
    received_at: float
    """Seconds since the epoch."""
    started_at: float
    """Seconds on the monotonic clock."""
