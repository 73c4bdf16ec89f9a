"""A row of the ledger as far as deciding it again reads it."""

from decimal import Decimal

import msgspec

from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import Cache, State


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
    state: State
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
    cache: Cache = "off"
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
