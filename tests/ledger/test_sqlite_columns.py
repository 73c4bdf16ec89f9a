"""SQLite's form of ledger rows: the values of their columns."""

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
from gateway.ledger.ingest import read_batches
from gateway.ledger.journal import decode_row, encode_row
from gateway.ledger.schema import ENTRY_COLUMNS
from gateway.ledger.sqlite_columns import ENTRY_ENCODER
from tests.ledger.rows import entry


def encode(row: FinalRow) -> dict[str, object]:
    """Return the column values of a row."""
    (values,) = ENTRY_ENCODER.encode_rows([row])
    return dict(zip(ENTRY_COLUMNS, values, strict=True))


FULL = entry(
    "a", at=1_794_000_000.5, tags=("b", "a"), asked="auto", stream=True, status=200, rule="é \U0001f600", confidence=0.25,
    dropped=("top_k",), usage="provider", input=900, cache_read=1200, output=2**40 - 1, cost=Decimal("0.00227375"),
    wasted=Decimal(0), estimate=Decimal("12345678901234.5"), billed=None, baseline=Decimal("0.10"), duration=0.5,
    basis=DecisionRecord(user_tokens=7, tools=("read",), signals={"words": 9, "code": 0.5}),
)  # fmt: skip


def write_line(**changes: object) -> bytes:
    """Write a row with some members as another program might write them."""
    members: dict[str, Any] = jsonio.loads(encode_row(FULL))
    return jsonio.dumps({**members, **changes}) + b"\n"


def read_columns(line: bytes, path: Path) -> dict[str, object] | None:
    """Return what SQLite stores for a line; None if the feed skips it."""
    path.write_bytes(line)
    (batch,) = read_batches(path, 0)
    if batch.skipped:
        return None
    (row,) = batch.entries
    return encode(row)


def test_a_row_is_encoded_into_the_values_of_its_columns(tmp_path: Path) -> None:
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
def test_a_value_of_another_program_is_stored_as_its_column_can_hold_it(
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
def test_a_line_with_an_invalid_value_is_skipped(
    changes: dict[str, object], tmp_path: Path
) -> None:
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
def test_a_decision_record_is_stored_as_in_the_journal(record: DecisionRecord) -> None:
    line = encode_row(entry(basis=record))
    row = decode_row(line)
    assert isinstance(row, FinalRow)
    columns = encode(row)
    assert str(columns["basis"]).encode() == bytes(jsonio.read_members(line)["basis"])


_ROWS = st.builds(
    entry,
    id=st.sampled_from(["a", "b", "a\0"]),
    tags=st.sampled_from([(), ("x",), ("x", "x")]),
    stream=st.booleans(),
    rule=st.none() | st.sampled_from(["r", "r\0"]),
    input=st.none() | st.sampled_from([0, 1, 2**40 + 1]),
    tools=st.sampled_from([{}, {"web_search": 1}]),
    cost=st.none() | st.sampled_from([Decimal(0), Decimal("0.0"), Decimal("-0"), Decimal("NaN")]),
    duration=st.none() | st.sampled_from([0.0, -0.0, 1.5]),
)


@given(st.lists(_ROWS, min_size=1, max_size=5))
def test_rows_encoded_together_have_the_same_values_as_each_alone(rows: list[FinalRow]) -> None:
    """Equal amounts keep their own number of digits."""
    alone = [values for row in rows for values in ENTRY_ENCODER.encode_rows([row])]
    assert [*map(repr, ENTRY_ENCODER.encode_rows(rows))] == [*map(repr, alone)]


def test_encoding_no_rows_returns_none() -> None:
    assert ENTRY_ENCODER.encode_rows([]) == []
