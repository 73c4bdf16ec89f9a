"""`make replay`: law 8 over many configurations, and the time for 100,000 rows.

Exit status: 0 if both hold, 1 if the rows took more than `BOUND`. A breach of the law is shown.
"""

import sys
import tempfile
import time
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings

from gateway.core.ledger_rows import FinalRow
from gateway.evaluation.replay.replay import LedgerReplay
from gateway.ledger.journal import Journal
from gateway.ledger.store import open_store
from gateway.routing.router import Router
from tests.evaluation.replay.test_law import CONFIGS, RULES, TRAFFIC, assert_replay_changes_nothing
from tests.evaluation.replay.traffic import Ask, router, served

BOUND = 10.0
"""Seconds of one core."""
ROWS = 100_000
_WORDS = [
    "prove",
    "why",
    "is",
    "the",
    "merge",
    "sort",
    "of",
    "a",
    "list",
    "slow",
    "write",
    "functions",
    "that",
    "compare",
    "two",
    "designs",
    "hello",
]


def main() -> int:
    """Try so many configurations, then time the rows."""
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    law = given(rules=RULES, changes=CONFIGS, asks=TRAFFIC)(assert_replay_changes_nothing)
    settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))(law)()
    print(f"{examples} configurations: replaying what they served changed nothing")
    with tempfile.TemporaryDirectory(prefix="tiergate-replay-") as name:
        folder = Path(name)
        rows = _rows(folder)
        started = time.process_time()
        unmoved_walk = _walked(folder, router(folder, choices=[]))
        unmoved = time.process_time() - started
        rule = {"name": "short", "when": {"user_tokens": {"max": 12}}, "tier": "fast"}
        started = time.process_time()
        moved = _walked(folder, router(folder, choices=[rule]))
        spent = max(unmoved, time.process_time() - started)
    assert (unmoved_walk.totals.total.calls, unmoved_walk.totals.total.changed) == (rows, 0)
    print(f"{rows:,} rows: {unmoved:.1f} s of one core; {spent:.1f} s at most, where")
    print(f"{moved.totals.total.changed:,} of them would go elsewhere; at most {BOUND:.0f} s")
    return 1 if spent > BOUND else 0


def _rows(folder: Path) -> int:
    """Write a ledger of rows as the engine does: texts, lengths and turns of all kinds."""
    asks = [
        Ask(" ".join(_WORDS[: 1 + n % 17] * (1 + n % 5)), talk=f"talk {n // 4}", turn=1 + n % 4)
        for n in range(400)
    ]
    _, entries = served(folder, asks, choices=[])
    data = folder / "ledger"
    journal = Journal(data)
    for number in range(ROWS):
        journal.write(_again(entries[number % len(entries)], number, len(entries)))
    journal.close()
    open_store(f"sqlite:///{folder / 'ledger.db'}").feed(data)
    return ROWS


def _again(row: FinalRow, number: int, of: int) -> FinalRow:
    """Return the same call at a later time, in a conversation of its own."""
    basis = row.basis
    if basis is not None and basis.turn is not None:
        turn = msgspec.structs.replace(
            basis.turn, conversation=f"{number // of}{basis.turn.conversation}"
        )
        basis = msgspec.structs.replace(basis, turn=turn)
    at = row.at + 1_000.0 * (number // of)
    return msgspec.structs.replace(row, id=f"tg-{number:023x}", at=at, basis=basis)


def _walked(folder: Path, router: Router) -> LedgerReplay:
    walk = LedgerReplay(router)
    for row in open_store(f"sqlite:///{folder / 'ledger.db'}").read_replay_rows():
        walk.replay_row(row)
    return walk


if __name__ == "__main__":
    sys.exit(main())
