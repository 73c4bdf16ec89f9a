"""Queries on the journals themselves, in DuckDB, with the statements from the documentation."""

from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest

from gateway.ledger.journal import Journal
from tests.ledger.rows import attempt, entry, intent

duckdb = pytest.importorskip("duckdb", reason="no DuckDB: make dev")

ROWS = (
    "read_json('data/ledger/*.jsonl', format = 'newline_delimited', union_by_name = true,"
    " sample_size = -1, ignore_errors = true)"
)
COST = f"""
SELECT model, count(*) AS calls, sum(cost::DECIMAL(38, 15)) AS usd
FROM {ROWS} WHERE kind = 'final' GROUP BY model ORDER BY usd DESC NULLS LAST
"""  # noqa: S608 - of this test
TOKENS = f"""
SELECT make_timestamp(("at" * 1000000)::BIGINT)::DATE AS day,
    sum(input::BIGINT) AS input, sum(output::BIGINT) AS output
FROM {ROWS} WHERE kind = 'final' AND cache <> 'hit' GROUP BY day ORDER BY day
"""  # noqa: S608 - of this test
WAIT = f"""
SELECT model, count(*) AS calls, quantile_cont(first_content::DOUBLE, 0.95) AS p95
FROM {ROWS} WHERE kind = 'final' GROUP BY model ORDER BY model
"""  # noqa: S608 - of this test
OPEN = f"""
SELECT DISTINCT id, provider, model, reserved
FROM {ROWS} WHERE kind = 'intent'
    AND id NOT IN (SELECT id FROM {ROWS} WHERE kind = 'final')
"""  # noqa: S608 - of this test


def ask(sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect() as base:
        rows: list[tuple[object, ...]] = base.sql(sql).fetchall()
        return rows


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.chdir(tmp_path)
    tokens = count()
    return Journal(Path("data/ledger"), token=lambda: f"{next(tokens):08}", limit=2500)


def test_the_documented_statements_return_the_sums_of_the_journals(journal: Journal) -> None:
    for number in range(6):
        id, at = f"{number}", 1_793_000_000.5 + number * 43_200
        journal.write(intent(id, at=at, reserved=Decimal(number)))
        if number == 3:
            journal.write(attempt(id))
        if number < 5:
            model, usd = ("odd", "0.1") if number % 2 else ("even", "0.2")
            cost = Decimal(usd) if number else None
            row = entry(id, at=at, model=model, cost=cost, first_content=number / 4)
            journal.write(row)
    journal.close()
    segments = sorted(Path("data/ledger").glob("*.jsonl"))
    assert len(segments) > 1  # each segment begins with the calls that were open
    with segments[0].open("ab") as file:
        file.write(b'{"kind":"final","id":"torn')
    assert ask(COST) == [("even", 3, Decimal("0.4")), ("odd", 2, Decimal("0.2"))]
    assert [(str(day), *sums) for day, *sums in ask(TOKENS)] == [
        ("2026-10-26", 24, 60),
        ("2026-10-27", 24, 60),
        ("2026-10-28", 12, 30),
    ]
    assert ask(WAIT) == [("even", 3, pytest.approx(0.95)), ("odd", 2, pytest.approx(0.725))]
    assert ask(OPEN) == [("5", "openai", "gpt-5-nano", "5")]


def test_an_unknown_value_is_null_and_no_error(journal: Journal) -> None:
    """An empty column has no type of its own."""
    journal.write(intent("a"))
    journal.write(entry("a", cost=None, input=None, output=None))
    journal.close()
    assert ask(COST) == [("gpt-5-nano", 1, None)]
    assert [row[1:] for row in ask(TOKENS)] == [(None, None)]
    assert ask(WAIT) == [("gpt-5-nano", 1, None)]
    assert ask(OPEN) == []
