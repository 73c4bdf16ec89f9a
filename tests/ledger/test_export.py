"""Exports that programs read: exact sums and rows, harmless in a spreadsheet."""

import csv
import io
from decimal import Decimal

import pytest

from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow, FeedbackRow
from gateway.ledger import export
from gateway.ledger.query import QueryGroup
from gateway.ledger.store import StoredRow
from tests.ledger.rows import entry


def stored(**changes: object) -> StoredRow:
    plain = entry(**changes)  # type: ignore[arg-type]  # changes by name
    fields = {name: getattr(plain, name) for name in plain.__struct_fields__}
    return StoredRow(**fields, cursor="s.1")


def group(**changes: object) -> QueryGroup:
    plain = {
        "names": ("fast",), "calls": 1, "cached": 0, "failed": 0, "input": None, "cache_read": None,
        "cache_write": None, "output": None, "reasoning": None, "cost": None, "unknown": 1,
    }  # fmt: skip
    return QueryGroup(**{**plain, **changes})  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("value", "text"),
    [("1E-12", "0.000000000001"), ("1E+3", "1000"), ("-0.50", "-0.50"), ("0E-9", "0.000000000")],
)
def test_money_is_exported_with_all_digits_and_no_exponent(value: str, text: str) -> None:
    """Exports use no exponent, which some programs read as a float, and keep all digits."""
    row = stored(cost=Decimal(value))
    assert export.build_row(row)["cost"] == text
    assert jsonio.loads(export.format_rows_jsonl([row]))["cost"] == text
    (cells,) = csv.DictReader(io.StringIO(export.format_rows_csv([row])))
    assert cells["cost"] == text
    (sums,) = csv.DictReader(
        io.StringIO(export.format_groups_csv(["tier"], [group(saved=Decimal(value))]))
    )
    assert sums["saved"] == text, "a loss is a number, not a formula"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_sec_log_text_of_a_client_is_no_formula_in_a_csv(sign: str) -> None:
    """SEC-LOG: any text from a client stays one cell of text."""
    evil = f"{sign}cmd|' /C calc'!A0\r\n\x1b[2J,\"x"
    row = stored(asked=evil, key=evil, tags=(evil,), tools={evil: 1})
    (cells,) = csv.DictReader(io.StringIO(export.format_rows_csv([row])))
    safe = f"'{sign}cmd|' /C calc'!A0" + "\ufffd" * 3 + '[2J,"x'
    assert (cells["asked"], cells["key"]) == (safe, safe)
    assert jsonio.loads(cells["tags"].encode()) == [evil]
    assert jsonio.loads(cells["tools"].encode()) == {evil: 1}
    assert len(export.format_rows_csv([row], has_header=False).splitlines()) == 1


def test_sec_log_no_control_character_in_a_list_reaches_a_terminal() -> None:
    """SEC-LOG: signs that JSON leaves unescaped are replaced in lists and objects too."""
    evil = "\x9b2J\u202ex"
    table = export.format_rows_csv([stored(asked=evil, tags=(evil,), tools={evil: 1})])
    assert all(sign.isprintable() for sign in table.replace("\n", ""))
    (cells,) = csv.DictReader(io.StringIO(table))
    assert jsonio.loads(cells["tags"].encode()) == ["\ufffd2J\ufffdx"]


def test_an_unknown_value_is_exported_as_null_or_empty_and_never_as_0() -> None:
    row = stored(cost=None, input=None)
    exported = export.build_row(row)
    assert (exported["cost"], exported["input"], exported["repriced"]) == (None, None, None)
    (cells,) = csv.DictReader(io.StringIO(export.format_rows_csv([row])))
    assert (cells["cost"], cells["input"], cells["repriced"]) == ("", "", "")
    assert export.build_group(group(), ["tier"])["cost"] is None


def test_a_total_has_no_names() -> None:
    assert list(export.build_group(group(names=()), ())) == list(export.GROUP_FIELDS)


def test_an_exported_call_has_its_attempts_and_its_feedback() -> None:
    lost = AttemptRow(
        id="a", attempt=1, at=1.5, provider="p", model="m", problem="x", cost=Decimal("1E-9")
    )
    rating = FeedbackRow(id="a", at=2.5, key="ann", verdict="bad")
    exported = export.build_call(stored(), [lost], rating)
    assert exported["feedback"] == {"at": 2.5, "key": "ann", "verdict": "bad", "tier": None, "score": None}  # fmt: skip
    assert export.build_call(stored(), [], None)["feedback"] is None
    assert exported["tries"] == [export.build_attempt(lost)]
    assert export.build_attempt(lost)["cost"] == "0.000000001"
    assert export.build_attempt(lost)["kind"] == "attempt"
