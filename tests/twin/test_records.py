"""The rows that gateways leave behind are compared one by one."""

import copy

from tests.twin import records

ROWS: records.Rows = {
    "tg-<3.1>": [{"kind": "intent", "id": "tg-<3.1>", "model": "m"}, {"kind": "final", "id": "tg-<3.1>", "cost": "0.1"}],
    "costs tg-<3.1>": [{"id": "tg-<3.1>", "cost": "0.1"}],
}  # fmt: skip


def compared(tree: records.Rows) -> list[tuple[str, str, str]]:
    differences = records.compare("ledger", ROWS, tree, {"tg-<3.1>": "an exchange"})
    return [(difference.exchange, *difference.kind) for difference in differences]


def test_equal_rows_differ_in_nothing() -> None:
    assert compared(copy.deepcopy(ROWS)) == []


def test_a_missing_row_is_seen() -> None:
    tree = copy.deepcopy(ROWS)
    del tree["tg-<3.1>"][0], tree["costs tg-<3.1>"]
    assert compared(tree) == [
        ("an exchange", "ledger intent", "row is gone"),
        ("an exchange", "ledger costs", "row is gone"),
    ]


def test_a_new_row_is_seen() -> None:
    tree = {**ROWS, "tg-<4.1>": [{"kind": "final"}]}
    assert compared(tree) == [("tg-<4.1>", "ledger final", "row is new")]


def test_a_changed_column_is_seen() -> None:
    tree = copy.deepcopy(ROWS)
    tree["tg-<3.1>"][1]["cost"] = "0.10"
    assert compared(tree) == [("an exchange", "ledger final", "$.cost")]
