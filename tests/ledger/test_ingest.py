"""Feeding a store from journals: whole lines, a bounded number at a time."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.ledger.chain import CLOSED_LINE
from gateway.ledger.ingest import make_storable, read_batches
from gateway.ledger.journal import encode_row
from tests.ledger.rows import attempt, entry, intent, reprice


def test_each_batch_ends_at_the_end_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ledger.ingest._BATCH_LINES", 3)
    path = tmp_path / "a.jsonl"
    lines = [
        *(encode_row(intent()), encode_row(entry("a")), b"torn\n"),
        *(encode_row(attempt("b")), encode_row(entry("b")), encode_row(reprice("a"))),
        *(CLOSED_LINE, b'{"kind":"final","id":"half'),
    ]
    path.write_bytes(b"".join(lines))
    first, second, third = read_batches(path, 0)
    assert ([row.id for row in first.entries], first.skipped) == (["a"], 1)
    assert first.end == sum(map(len, lines[:3]))
    assert (second.attempts, second.reprices) == ([attempt("b")], [reprice("a")])
    assert (third.lines, third.skipped, third.end) == (1, 0, path.stat().st_size - len(lines[-1]))
    (remaining,) = read_batches(path, second.end)
    assert remaining == third
    assert list(read_batches(path, third.end)) == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("input", 2**40, 2**40),
        ("input", 2**40 + 1, None),
        ("status", 2**63, 2**40),
        ("stream", True, True),
        ("tags", ("b", "a", "b"), ["b", "a"]),
        ("asked", "a\0", "a\ufffd"),
        ("cost", Decimal("1E-40"), Decimal("1E-40")),
        ("cost", Decimal("1E-41"), None),
        ("cost", Decimal("1E+39"), Decimal("1E+39")),
        ("cost", Decimal("1E+40"), None),
        ("cost", Decimal("Infinity"), None),
        ("at", 1.5, 1.5),
        ("model", None, None),
    ],
)
def test_make_storable_returns_a_value_that_every_database_can_hold(
    name: str, value: object, expected: object
) -> None:
    assert make_storable(name, value) == expected
