"""What is read straight from a line is what reading the row with all care gives, or is left to that."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core.conversation import ConversationTurn
from gateway.core.decision_context import DecisionContext, Score
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import FinalRow
from gateway.ledger import ingest, quick
from gateway.ledger.ingest import MAX_COUNT, MAX_TIMESTAMP
from gateway.ledger.journal import decode_row, encode_row
from gateway.ledger.schema import ENTRY_COLUMNS
from tests.ledger.rows import entry

FULL = entry(
    "a", at=1_794_000_000.5, tags=("b", "a"), asked="auto", stream=True, status=200, rule="é \U0001f600", confidence=0.25,
    dropped=("top_k",), usage="provider", input=900, cache_read=1200, output=MAX_COUNT - 1, cost=Decimal("0.00227375"),
    wasted=Decimal(0), estimate=Decimal("12345678901234.5"), billed=None, baseline=Decimal("0.10"), duration=0.5,
    basis=DecisionRecord(user_tokens=7, tools=("read",), signals={"words": 9, "code": 0.5}),
)  # fmt: skip


def line(**changes: object) -> bytes:
    """A row with some of its members as another hand might write them."""
    value: dict[str, Any] = jsonio.loads(encode_row(FULL))
    return jsonio.dumps({**value, **changes}) + b"\n"


def careful(data: bytes) -> list[object] | None:
    row = decode_row(data)
    good = isinstance(row, FinalRow) and 0 <= row.at < MAX_TIMESTAMP
    return ingest.encode_entry(row) if good and row is not None else None


def test_a_row_as_gateways_write_it_is_read_at_once() -> None:
    for row in (FULL, entry("b", cost=None), entry("c", basis=None, tags=(), v=1)):
        assert quick.parse_values(encode_row(row)) == careful(encode_row(row))
        assert quick.parse_values(encode_row(row)) is not None
    old = jsonio.dumps({"kind": "final", "id": "d", "at": 1, "key": "k", "dialect": "x", "state": "failed", "config": "c"})  # fmt: skip
    assert quick.parse_values(old) == careful(old) != None  # noqa: E711 - both of them


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": "a\0b"}, {"basis": {"language": "\0"}}, {"input": MAX_COUNT}, {"output": -MAX_COUNT}, {"attempts": 2**70},
        {"cost": "1E-7"}, {"cost": "NaN"}, {"cost": "007"}, {"cost": "1."}, {"cost": ".5"}, {"cost": "-1"}, {"cost": ""},
        {"cost": "\u0661"}, {"cost": "0" * 50}, {"cost": 0.5}, {"cost": "1\n"}, {"tags": ["a", "a"]}, {"tags": "a"},
        {"tags": [1]}, {"tags": None}, {"tools": {"web_search": 2}}, {"cache_write_by": []}, {"at": -1.0}, {"at": MAX_TIMESTAMP},
        {"at": "now"}, {"basis": 5}, {"state": "odd"}, {"id": None}, {"kind": "other"},
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_more_care(changes: dict[str, object]) -> None:
    assert quick.parse_values(line(**changes)) is None


_VALUES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8) | st.decimals(allow_nan=True).map(str) | st.from_regex(r"\A[0-9.eE-]{1,6}\Z")
    | st.lists(st.text(max_size=3), max_size=3) | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)  # fmt: skip


@given(st.dictionaries(st.sampled_from((*ENTRY_COLUMNS, "new")), _VALUES, max_size=3))
def test_no_line_is_read_in_two_ways(changes: dict[str, object]) -> None:
    try:
        data = line(**changes)
    except (OverflowError, TypeError, jsonio.JsonError):  # no JSON of ours
        return
    found = quick.parse_values(data)
    assert found is None or found == careful(data)


def test_every_column_is_read() -> None:
    assert quick._Line.__struct_fields__ == ENTRY_COLUMNS


_BASES = st.builds(
    DecisionRecord,
    user_tokens=st.integers(0, 9),
    tools=st.lists(st.text(max_size=3), max_size=2).map(tuple),
    signals=st.none() | st.dictionaries(st.text(max_size=3), st.integers(0, 9) | st.floats(0, 1) | st.booleans(), max_size=2),
    language=st.none() | st.text(max_size=3),
    outcomes=st.dictionaries(st.text(max_size=3), st.booleans(), max_size=2),
    turn=st.none() | st.builds(ConversationTurn, conversation=st.text(max_size=3), explicit=st.booleans()),
    score=st.none() | st.builds(Score, fast=st.floats(0, 1), smart=st.floats(0, 1)),
    evidence=st.none() | st.builds(DecisionContext, at=st.just(0.0)),
)  # fmt: skip


@given(st.none() | _BASES, st.text(max_size=3), st.lists(st.text(max_size=2), max_size=2))
def test_a_row_of_its_own_is_read_as_any_other(
    basis: DecisionRecord | None, rule: str, tags: list[str]
) -> None:
    """As it stands; a basis is stored as it was written."""
    data = encode_row(entry("a", basis=basis, rule=rule, tags=tuple(tags)))
    assert quick.parse_own_values(data) == quick.parse_values(data)


@pytest.mark.parametrize("data", [b"torn", b'{"kind":"final","id":"d"}', encode_row(FULL)[:-9]])
def test_what_is_no_row_of_its_own_is_left_to_more_care(data: bytes) -> None:
    assert quick.parse_own_values(data) is None
