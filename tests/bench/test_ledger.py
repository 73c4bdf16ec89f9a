"""The ledger's cost per call: the measured calls, the table, and the effect of a missed bound."""

from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest

from bench import ledger
from gateway.core.ledger_rows import AttemptRow, FinalRow, IntentRow
from gateway.ledger.journal import Journal, list_segments, read_rows


def test_the_bench_measures_the_rows_of_priced_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    folders_to_use = iter(folders)
    monkeypatch.setattr("bench.ledger.Journal", lambda _: Journal(next(folders_to_use)))
    ledger.measure(1, 2)
    paths = [path for folder in folders for path in list_segments(folder)]
    rows = [row for path in paths for row, _ in read_rows(path) if row]
    kinds = [IntentRow, FinalRow] * 2 + [IntentRow, AttemptRow, IntentRow, FinalRow] * 2
    assert [type(row) for row in rows] == kinds
    for row in rows:
        if isinstance(row, FinalRow):
            assert (row.cost, row.baseline) == (Decimal("0.00825"), Decimal("0.01375"))
            assert (row.wasted, row.estimate) == (Decimal(0), Decimal(0))
            assert row.state == "settled"


def test_the_best_round_counts() -> None:
    """The rounds take 3, 1 and 2 seconds for 2 calls."""
    ticks = iter([0.0, 3.0, 3.0, 4.0, 4.0, 6.0] * 2)
    assert {cost.cost for cost in ledger.measure(3, 2, ticks.__next__)} == {5e5}


def test_the_table_marks_a_missed_bound(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--rounds", "1", "--calls", "1"]
    assert ledger.main(few, lambda: 0.0) == 0
    assert capsys.readouterr().out == (
        "a call                     0.0\n"
        "after a failed attempt     0.0\n"
        "microseconds of CPU; at most 25 a call\n"
    )
    assert ledger.main(few, map(float, count()).__next__) == 1
    assert capsys.readouterr().out.startswith("a call                  1000000.0!\nafter")
