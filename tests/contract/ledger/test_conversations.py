"""Every ledger store lists conversations, newest first, with exact sums."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.ledger.conversations import ConversationSums, read_conversations
from gateway.ledger.sql_store import SqlStore
from tests.contract.ledger.conftest import fed
from tests.ledger.rows import entry, reprice


def names(page: list[ConversationSums]) -> list[str]:
    return [item.conversation for item in page]


def test_a_conversation_has_the_sums_of_its_calls_and_its_last_state(
    store: SqlStore, folder: Path
) -> None:
    rows = [
        entry("1", at=1.0, conversation="a", key="bob", cost=Decimal("0.1")),
        entry("2", at=5.0, conversation="b", cost=None),
        entry("3", at=9.0, conversation="a", key="ann", cost=Decimal("1E-12"), state="failed", status=502, problem="upstream_error"),
        entry("4", at=10.0),
    ]  # fmt: skip
    fed(store, folder, [*rows, reprice("1", cost=Decimal("0.2"))])
    first, second = read_conversations(store)
    assert (first.conversation, first.first, first.last) == ("a", 1.0, 9.0)
    assert (first.keys, first.sums.calls, first.sums.failed) == (("ann", "bob"), 2, 1)
    assert first.sums.cost == Decimal("0.200000000001")
    assert first.last_call == {
        "id": "3", "state": "failed", "status": 502, "problem": "upstream_error",
        "lab": "openai", "tier": "fast", "model": "gpt-5-nano",
    }  # fmt: skip
    assert (second.conversation, second.sums.cost, second.sums.unknown) == ("b", None, 1)


def test_conversations_are_paged_and_filtered_by_their_calls(store: SqlStore, folder: Path) -> None:
    rows = [entry(str(n), at=float(n // 2), conversation=f"c{n}", tier="smart" if n % 3 else "fast") for n in range(7)]  # fmt: skip
    fed(store, folder, [*rows, entry("late", at=9.0, conversation="c2", tier="reasoning")])
    listed: list[str] = []
    cursor = None
    while page := read_conversations(store, before=cursor, limit=2):
        listed += names(page)
        cursor = page[-1].cursor
    assert listed == ["c2", "c6", "c5", "c4", "c3", "c1", "c0"]
    fast = read_conversations(store, only={"tier": ["fast"]}, since=0.5, until=4.0)
    assert names(fast) == ["c6", "c3"]
    (only_one,) = read_conversations(store, only={"conversation": ["c2"]}, until=9.0)
    assert (only_one.last, only_one.sums.calls) == (1.0, 1)
    assert read_conversations(store, only={"key": ["nobody"]}, max_seconds=5.0) == []
    with pytest.raises(ValueError, match="colour"):
        read_conversations(store, only={"colour": ["red"]})
