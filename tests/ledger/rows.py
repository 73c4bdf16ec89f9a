"""Rows for tests, with defaults for all that a test does not set."""

from decimal import Decimal
from typing import Any

from gateway.core.ledger_rows import (
    AttemptRow,
    FeedbackRow,
    FinalRow,
    IntentRow,
    RepriceRow,
    Row,
)
from gateway.ledger.chain import NO_LINK, Link, seal_lines
from gateway.ledger.journal import encode_row


def with_lines(*rows: Row) -> list[tuple[Row, bytes]]:
    """Return rows, each with its line."""
    return [(row, encode_row(row)) for row in rows]


def sealed(*rows: Row, link: Link = NO_LINK) -> bytes:
    """Return rows as the lines of a segment, from its beginning or after a link."""
    return seal_lines(map(encode_row, rows), link)[0]


def intent(id: str = "call-1", **changes: Any) -> IntentRow:
    plain: dict[str, Any] = {
        "at": 1_793_000_000.5,
        "key": "alice",
        "dialect": "openai-chat",
        "lab": "openai",
        "tier": "fast",
        "provider": "openai",
        "model": "gpt-5-nano",
        "config": "c0ffee",
    }
    return IntentRow(id=id, **{**plain, **changes})


def entry(id: str = "call-1", **changes: Any) -> FinalRow:
    plain: dict[str, Any] = {
        "at": 1_793_000_000.5,
        "key": "alice",
        "dialect": "openai-chat",
        "state": "settled",
        "status": 200,
        "lab": "openai",
        "tier": "fast",
        "provider": "openai",
        "model": "gpt-5-nano",
        "attempts": 1,
        "input": 12,
        "output": 30,
        "cost": Decimal("0.0000126"),
        "duration": 0.75,
        "config": "c0ffee",
    }
    return FinalRow(id=id, **{**plain, **changes})


def attempt(id: str = "call-1", **changes: Any) -> AttemptRow:
    plain: dict[str, Any] = {
        "attempt": 1,
        "at": 1_793_000_000.5,
        "provider": "openai",
        "model": "gpt-5-nano",
        "status": 500,
        "problem": "upstream_error",
        "cost": Decimal(0),
        "estimate": Decimal(0),
    }
    return AttemptRow(id=id, **{**plain, **changes})


def reprice(id: str = "call-1", **changes: Any) -> RepriceRow:
    plain: dict[str, Any] = {"at": 1_793_000_900.0, "cost": Decimal("0.02"), "price": "p2"}
    return RepriceRow(id=id, **{**plain, **changes})


def feedback(id: str = "call-1", **changes: Any) -> FeedbackRow:
    plain: dict[str, Any] = {"at": 1_793_000_090.0, "key": "alice", "verdict": "bad"}
    return FeedbackRow(id=id, **{**plain, **changes})
