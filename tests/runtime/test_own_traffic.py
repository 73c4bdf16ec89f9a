"""The ledger feeds the quality dial: read at the start, renewed, given to each router."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.core.decision_context import Score
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import FinalRow
from gateway.ledger.errors import StoreError
from gateway.ledger.journal import Journal
from gateway.ledger.store import LedgerStore, open_store
from gateway.routing.quality_dial import MIN_OWN_CALLS, OwnTokens
from gateway.runtime.own_traffic import OwnTrafficReader, read_own_traffic
from tests.ledger.rows import entry
from tests.runtime.test_shadow import CURRENT, NEXT, ShadowTrial

OWN_REFERENCE = CURRENT.replace("routing: {", "routing: {quality_reference: own, ")


def fill(folder: Path, rows: list[FinalRow]) -> LedgerStore:
    """Return a store with these rows."""
    journal = Journal(folder / "ledger")
    for row in rows:
        journal.write(row)
    journal.close()
    store = open_store(f"sqlite:///{folder / 'ledger.db'}")
    store.feed(folder / "ledger")
    return store


def make_answers(count: int, tier: str, output: int, **changes: Any) -> list[FinalRow]:
    return [
        entry(f"{tier}-{output}-{number}", lab="acme", tier=tier, output=output, **changes)
        for number in range(count)
    ]


def make_scored_calls(count: int, *, source: str = "classifier") -> list[FinalRow]:
    """Return calls that need reasoning more, the later they are."""
    return [
        entry(
            f"tg-{number}",
            at=1e9 + number,
            source=source,
            basis=DecisionRecord(score=Score(1 - number / count, 1 - number / count / 2)),
        )
        for number in range(count)
    ]


def test_a_tier_with_enough_answers_has_a_mean_rounded_to_two_digits(tmp_path: Path) -> None:
    rows = [
        *make_answers(MIN_OWN_CALLS - 1, "smart", 100),
        *make_answers(40, "reasoning", 3_000, reasoning=1_000),
        *make_answers(20, "reasoning", 1_000),
        *make_answers(MIN_OWN_CALLS, "fast", 1, reasoning=None),
        *make_answers(MIN_OWN_CALLS, "other", 7),
    ]
    traffic = read_own_traffic(fill(tmp_path, rows), is_reference_own=True)
    assert traffic.tokens == {"acme": OwnTokens((1, 37, 3_000), ("fast", "reasoning"))}
    assert traffic.reference is None  # no call has a score


def test_a_few_more_calls_do_not_move_the_rounded_mean(tmp_path: Path) -> None:
    rows = [*make_answers(MIN_OWN_CALLS, "fast", 1_234), *make_answers(3, "fast", 1_300)]
    traffic = read_own_traffic(fill(tmp_path, rows), is_reference_own=False)
    assert traffic.tokens["acme"].tokens == (1_200, 1_900, 6_200)


def test_the_reference_set_is_drawn_evenly_from_the_newest_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.runtime.own_traffic._MAX_CLASSIFIED_CALLS", 600)
    store = fill(tmp_path, [*make_scored_calls(1_000), entry("none", at=2e9, source="classifier")])
    assert read_own_traffic(store, is_reference_own=False).reference is None
    reference = read_own_traffic(store, is_reference_own=True).reference
    assert reference is not None
    assert len(reference.worths) == 300
    fast = [worth.fast for worth in reference.worths]
    assert fast == sorted(fast)  # newest first, and the newest need most
    assert len(set(fast)) > 290


@pytest.mark.parametrize(
    "rows", [make_scored_calls(MIN_OWN_CALLS - 1), make_scored_calls(100, source="rule")]
)
def test_too_few_calls_make_no_reference_set(tmp_path: Path, rows: list[FinalRow]) -> None:
    assert read_own_traffic(fill(tmp_path, rows), is_reference_own=True).reference is None


async def test_routers_use_own_traffic_and_keep_it_when_reading_fails(tmp_path: Path) -> None:
    """Own calls become the reference set only if a configuration says so."""
    trial = ShadowTrial(
        tmp_path, CURRENT, NEXT.replace("routing: {", "routing: {quality_reference: own, ")
    )
    await trial.shadow.refresh()
    candidate = trial.shadow.candidate
    assert candidate is not None
    store = fill(
        tmp_path, [*make_scored_calls(MIN_OWN_CALLS), *make_answers(MIN_OWN_CALLS, "fast", 50)]
    )
    log: list[dict[str, object]] = []
    reader = OwnTrafficReader(
        store, lambda: [trial.own, candidate], lambda event, **fields: log.append(fields)
    )
    rounds = 0

    async def sleep(seconds: float) -> None:
        nonlocal rounds
        rounds += 1
        assert trial.own.router.own_traffic.find_tokens("acme") == (50, 75, 250)
        assert trial.own.router.own_traffic.reference is None
        assert candidate.router.own_traffic.reference is not None
        if rounds == 2:
            raise asyncio.CancelledError

        def fail(limit: int) -> None:
            raise StoreError("gone")

        store.sum_output_tokens = fail  # type: ignore[method-assign, assignment]  # a store that fails

    with pytest.raises(asyncio.CancelledError):
        await reader.watch(sleep)
    assert log == [{"error": "StoreError", "work": "own traffic"}]
    later = trial.build(OWN_REFERENCE)
    reader.adopt_into(later)
    assert later.router.own_traffic.reference is not None
