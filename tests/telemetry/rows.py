"""Ledger rows as a gateway writes them, made by hand."""

from decimal import Decimal
from typing import Any

from gateway.core.ledger_rows import AttemptRow, FinalRow, IntentRow

ID = "tg-019ab12cd34e5f60718293"
CANARY = "canary-of-a-client"
AT = 1_795_000_000.0


def entry(**more: Any) -> FinalRow:
    """Make the row of a streamed answer."""
    values: dict[str, Any] = {
        "id": ID, "at": AT, "key": "website", "tenant": "shop", "tags": ("web",),
        "dialect": "openai-chat", "asked": CANARY, "stream": True, "state": "settled",
        "status": 200, "lab": "acme", "tier": "smart", "source": "rule", "rule": "short",
        "provider": "acme", "account": "main", "model": "able-1", "served": "able-1-0924",
        "attempts": 1, "cache": "miss", "usage": "provider", "input": 100, "cache_read": 40,
        "cache_write": 10, "output": 20, "reasoning": 7, "cost": Decimal("0.0012"),
        "wasted": Decimal(0), "estimate": Decimal(0), "baseline": Decimal("0.02"),
        "first_content": 0.4, "duration": 1.5, "config": "c0ffee",
    }  # fmt: skip
    return FinalRow(**{**values, **more})


def hit(**more: Any) -> FinalRow:
    """Make the row of an answer from the cache."""
    values: dict[str, Any] = {
        "state": "cache_hit", "cache": "hit", "attempts": 0, "usage": "recording",
        "cost": Decimal(0), "first_content": 0.002, "duration": 0.002,
    }  # fmt: skip
    return entry(**{**values, **more})


def refused(**more: Any) -> FinalRow:
    """Make the row of a call that the gateway refused without an upstream request."""
    values: dict[str, Any] = {
        "state": "refused", "status": 404, "problem": "model_not_found", "lab": None,
        "tier": None, "source": None, "rule": None, "provider": None, "account": None,
        "model": None, "served": None, "attempts": 0, "cache": "off", "usage": None, "input": None,
        "cache_read": None, "cache_write": None, "output": None, "reasoning": None,
        "cost": Decimal(0), "baseline": None, "first_content": None, "duration": 0.001,
    }  # fmt: skip
    return entry(**{**values, **more})


def intent(**more: Any) -> IntentRow:
    """Make the row that is written before the first request."""
    values: dict[str, Any] = {
        "id": ID, "at": AT + 0.1, "attempt": 1, "key": "website", "dialect": "openai-chat",
        "stream": True, "lab": "acme", "tier": "smart", "provider": "acme", "account": "main",
        "model": "able-1", "input": 120, "most": 1000, "config": "c0ffee",
    }  # fmt: skip
    return IntentRow(**{**values, **more})


def attempt(**more: Any) -> AttemptRow:
    """Make the row of a first request that an overloaded provider refused."""
    values: dict[str, Any] = {
        "id": ID, "attempt": 1, "at": AT + 0.1, "provider": "acme", "account": "main",
        "model": "able-1", "status": 503, "problem": "upstream_overloaded", "duration": 0.2,
        "cost": Decimal(0), "estimate": Decimal(0),
    }  # fmt: skip
    return AttemptRow(**{**values, **more})
