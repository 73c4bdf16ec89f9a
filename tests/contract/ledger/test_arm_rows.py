"""Every ledger store gives the calls that have an arm, conversation by conversation."""

from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from gateway.core.ledger_rows import ArmRow, Row
from gateway.ledger import arm_rows
from gateway.ledger.arm_rows import read_arm_rows
from gateway.ledger.errors import QueryTooLargeError, QueryTooLongError
from gateway.ledger.sql_store import SqlStore
from tests.contract.ledger.conftest import fed
from tests.ledger.rows import entry, feedback, reprice


def test_a_call_has_its_latest_cost_and_the_last_feedback(store: SqlStore, folder: Path) -> None:
    rows: list[Row] = [
        entry("1", arm="canary:in", conversation="a", first_content=0.25, wasted=Decimal(0)),
        entry("2", arm="canary:out, cap:in", state="aborted", aborted_by="upstream", cost=None),
        entry("3", conversation="a"),
        reprice("1", cost=Decimal("0.000000000000000000001")),
        feedback("1", verdict="good", at=1.0), feedback("1", verdict=None, score=0.4, at=2.0),
        feedback("2", tenant="acme", verdict="good"),
    ]  # fmt: skip
    fed(store, folder, rows)
    by_arm = {row.arm: row for row in read_arm_rows(store)}
    plain: dict[str, Any] = {"tenant": "default", "key": "alice", "duration": 0.75}
    assert by_arm == {
        "canary:in": ArmRow(
            arm="canary:in", conversation="a", state="settled", aborted_by=None,
            cost=Decimal("0.000000000000000000001"), has_unknown_cost=False, first_content=0.25,
            is_good=False, **plain,
        ),
        "canary:out, cap:in": ArmRow(
            arm="canary:out, cap:in", conversation=None, state="aborted", aborted_by="upstream",
            cost=None, has_unknown_cost=True, first_content=None, is_good=None, **plain,
        ),
    }  # fmt: skip


def test_the_calls_of_a_conversation_or_of_a_key_come_together(
    store: SqlStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arm_rows, "_PAGE_ROWS", 5)
    fed(store, folder, [
        entry(str(n), arm="canary:in", conversation=f"c{n % 3}" if n % 4 else None, key=f"k{n % 2 + n % 5}", tenant=f"t{n % 2}")
        for n in range(40)
    ])  # fmt: skip
    rows = list(read_arm_rows(store))
    owners = [row.conversation or (row.tenant, row.key) for row in rows]
    groups = [owner for owner, _ in groupby(owners)]
    assert len(rows) == 40
    assert len(groups) == len(set(groups)) > 6


@pytest.mark.parametrize("rule", ["canary", "a%b", "50%_!", "weird: one, two"])
def test_a_rule_has_the_calls_of_its_name_alone(store: SqlStore, folder: Path, rule: str) -> None:
    others = ["canary 2:in", "can:in", "a-b:in", "50 %_!:in", "two:in"]
    fed(store, folder, [
        *(entry(f"o{n}", arm=arm) for n, arm in enumerate(others)),
        entry("first", arm=f"{rule}:in"), entry("second", arm=f"cap:in, {rule}:out"),
    ])  # fmt: skip
    assert {row.arm for row in read_arm_rows(store, rule)} == {f"{rule}:in", f"cap:in, {rule}:out"}
    assert list(read_arm_rows(store, "\0")) == []


def test_arms_are_filtered_by_their_calls(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [entry(str(n), at=float(n), arm="canary:in", tier="fast" if n % 2 else "smart", key=str(n)) for n in range(6)])  # fmt: skip
    fast = read_arm_rows(store, since=1.5, until=5.0, only={"tier": ["fast"]}, max_seconds=60.0)
    assert [row.key for row in fast] == ["3"]
    with pytest.raises(ValueError, match="colour"):
        list(read_arm_rows(store, only={"colour": ["red"]}))


def test_more_calls_than_the_bound_are_refused(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [entry(str(n), arm="canary:in") for n in range(4)])
    assert len(list(read_arm_rows(store, max_calls=4))) == 4
    with pytest.raises(QueryTooLargeError, match="more than 3 calls"):
        list(read_arm_rows(store, max_calls=3))


def test_a_question_that_takes_too_long_ends(store: SqlStore, folder: Path) -> None:
    fed(store, folder, [entry(str(n), arm="canary:in") for n in range(3_000)])
    with pytest.raises(QueryTooLongError):
        list(read_arm_rows(store, max_seconds=0.0))
