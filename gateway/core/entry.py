"""One row of the ledger: what a call was, what was decided, what it used and what it cost."""

from decimal import Decimal
from typing import Literal

import msgspec

type State = Literal[
    "settled", "estimated", "aborted", "failed", "refused", "cache_hit", "unknown_crash"
]
type Cache = Literal["hit", "miss", "off"]


class Intent(msgspec.Struct, frozen=True, kw_only=True, tag="intent", tag_field="kind"):
    """Written before a provider is dialled, so that a crash leaves a trace of what it may bill."""

    v: int = 1
    id: str
    at: float
    key: str
    tenant: str = "default"
    tags: tuple[str, ...] = ()
    dialect: str
    lab: str
    tier: str
    provider: str
    model: str
    config: str


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag="final", tag_field="kind"):
    """The one final row of a call. None is unknown, never zero; times are seconds.

    States: `settled` the provider told its usage; `estimated` an answer was given and the usage is
    not known; `aborted` cut after content was shown; `failed` no target answered; `refused` by the
    gateway, nothing was sent; `cache_hit`; `unknown_crash` closed by recovery after a crash.
    """

    v: int = 1
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
    state: State
    status: int | None = None
    """HTTP status sent to the client; 499 where it had left; None where nobody knows."""
    problem: str | None = None
    aborted_by: str | None = None
    """client, upstream or timeout."""
    lab: str | None = None
    tier: str | None = None
    source: str | None = None
    rule: str | None = None
    confidence: float | None = None
    provider: str | None = None
    account: str | None = None
    model: str | None = None
    """The model that was called."""
    effort: str | None = None
    """What the client set, else what its tier does."""
    served: str | None = None
    """The model that the provider says answered."""
    attempts: int = 0
    cache: Cache = "off"
    dropped: tuple[str, ...] = ()
    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None
    cost: Decimal | None = None
    """USD."""
    price: str | None = None
    """The version of the price that was used."""
    first_content: float | None = None
    """Seconds from receipt to the first content sent."""
    duration: float | None = None
    """Seconds from receipt to the last byte."""
    upstream_id: str | None = None
    """The provider's own id of its last answer."""
    config: str
    """Version of the configuration."""


type Row = Intent | Entry
