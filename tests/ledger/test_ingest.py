"""How journals are read for a store: whole lines, a bounded number at a time."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core.conversation import ConversationTurn
from gateway.core.decision_context import DecisionContext, Score
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import FinalRow
from gateway.ledger.ingest import encode_entry, make_storable, read_batches
from gateway.ledger.journal import CLOSED_LINE, decode_row, encode_row
from gateway.ledger.schema import ENTRY_COLUMNS
from tests.ledger.rows import attempt, entry, intent, reprice


def test_batches_end_where_a_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    (rest,) = read_batches(path, second.end)
    assert rest == third
    assert list(read_batches(path, third.end)) == []


@pytest.mark.parametrize(
    ("name", "value", "held"),
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
def test_a_value_is_one_that_every_database_holds(name: str, value: object, held: object) -> None:
    assert make_storable(name, value) == held


FULL = entry(
    "a", at=1_794_000_000.5, tags=("b", "a"), asked="auto", stream=True, status=200, rule="é \U0001f600", confidence=0.25,
    dropped=("top_k",), usage="provider", input=900, cache_read=1200, output=2**40 - 1, cost=Decimal("0.00227375"),
    wasted=Decimal(0), estimate=Decimal("12345678901234.5"), billed=None, baseline=Decimal("0.10"), duration=0.5,
    basis=DecisionRecord(user_tokens=7, tools=("read",), signals={"words": 9, "code": 0.5}),
)  # fmt: skip


def write_line(**changes: object) -> bytes:
    """Write a row with some of its members as another program might write them."""
    members: dict[str, Any] = jsonio.loads(encode_row(FULL))
    return jsonio.dumps({**members, **changes}) + b"\n"


def read_columns(line: bytes, path: Path) -> dict[str, object] | None:
    """Return what SQLite stores for a line; None where the feed skips it."""
    path.write_bytes(line)
    (batch,) = read_batches(path, 0)
    if batch.skipped:
        return None
    (row,) = batch.entries
    return dict(zip(ENTRY_COLUMNS, encode_entry(row), strict=True))


def test_a_row_becomes_the_values_of_its_columns(tmp_path: Path) -> None:
    columns = read_columns(encode_row(FULL), tmp_path / "a.jsonl")
    assert columns is not None
    assert columns["tags"] == '["b","a"]'
    assert columns["cache_write_by"] == "{}"
    assert columns["rule"] == "é \U0001f600"
    assert (columns["stream"], columns["billed"], columns["duration"]) == (True, None, 0.5)
    assert [columns[name] for name in ("cost", "wasted", "estimate", "baseline")] == [
        "0.00227375", "0", "12345678901234.5", "0.10",
    ]  # fmt: skip
    assert columns["basis"] == '{"user_tokens":7,"tools":["read"],"signals":{"words":9,"code":0.5}}'


@pytest.mark.parametrize(
    ("changes", "stored"),
    [
        ({"rule": "a\0b"}, {"rule": "a\ufffdb"}),
        ({"basis": {"language": "\0"}}, {"basis": '{"language":"\ufffd"}'}),
        ({"input": 2**40 + 1}, {"input": None}),
        ({"attempts": 2**62}, {"attempts": 2**40}),
        ({"cost": "1E-7"}, {"cost": "0.0000001"}),
        ({"cost": "NaN"}, {"cost": None}),
        ({"cost": "007"}, {"cost": "7"}),
        ({"cost": "1."}, {"cost": "1"}),
        ({"cost": ".5"}, {"cost": "0.5"}),
        ({"cost": "-1"}, {"cost": "-1"}),
        ({"cost": "0" * 50}, {"cost": "0"}),
        ({"cost": 0.5}, {"cost": "0.5"}),
        ({"tags": ["a", "a"]}, {"tags": '["a"]'}),
        ({"tools": {"web_search": 2}}, {"tools": '{"web_search":2}'}),
        ({"new": [1]}, {}),
    ],
)
def test_a_member_of_another_program_is_stored_as_its_column_holds_it(
    changes: dict[str, object], stored: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    plain = read_columns(encode_row(FULL), path)
    assert plain is not None
    assert read_columns(write_line(**changes), path) == {**plain, **stored}


@pytest.mark.parametrize(
    "changes",
    [
        {"cost": ""}, {"tags": "a"}, {"tags": [1]}, {"tags": None}, {"cache_write_by": []},
        {"at": -1.0}, {"at": 1e10}, {"at": "now"}, {"basis": 5}, {"state": "odd"}, {"id": None}, {"kind": "other"},
    ],
)  # fmt: skip
def test_a_line_that_is_no_row_is_skipped(changes: dict[str, object], tmp_path: Path) -> None:
    assert read_columns(write_line(**changes), tmp_path / "a.jsonl") is None


_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3)
_DECISION_RECORDS = st.builds(
    DecisionRecord,
    user_tokens=st.integers(0, 9),
    tools=st.lists(_TEXT, max_size=2, unique=True).map(tuple),
    signals=st.none() | st.dictionaries(_TEXT, st.integers(0, 9) | st.floats(0, 1) | st.booleans(), max_size=2),
    language=st.none() | _TEXT,
    outcomes=st.dictionaries(_TEXT, st.booleans(), max_size=2),
    turn=st.none() | st.builds(ConversationTurn, conversation=_TEXT, explicit=st.booleans()),
    score=st.none() | st.builds(Score, fast=st.floats(0, 1), smart=st.floats(0, 1)),
    evidence=st.none() | st.builds(DecisionContext, at=st.just(0.0)),
)  # fmt: skip


@given(_DECISION_RECORDS)
def test_a_decision_record_is_stored_as_the_journal_has_it(record: DecisionRecord) -> None:
    line = encode_row(entry(basis=record))
    row = decode_row(line)
    assert isinstance(row, FinalRow)
    columns = dict(zip(ENTRY_COLUMNS, encode_entry(row), strict=True))
    assert str(columns["basis"]).encode() == bytes(jsonio.read_members(line)["basis"])
