"""Every ledger store gives calls with their cost and their baseline."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.ledger_rows import SavingRow
from gateway.ledger import saving_rows
from gateway.ledger.saving_rows import read_saving_rows
from gateway.ledger.sql_store import SqlStore
from tests.contract.ledger.conftest import fed
from tests.ledger.rows import entry, reprice


def test_a_call_has_its_latest_cost_its_baseline_and_its_tags(
    store: SqlStore, folder: Path
) -> None:
    exact = Decimal("0.000000000000000000001")
    fed(
        store,
        folder,
        [
            entry("1", conversation="a", tags=("label", "x"), source="rule", wasted=Decimal(0)),
            entry("2", state="aborted", cost=None, source="pin", tenant="acme"),
            reprice("1", cost=Decimal("0.5"), baseline=exact),
        ],
    )
    rows = sorted(read_saving_rows(store), key=lambda row: row.tenant, reverse=True)
    assert rows == [
        SavingRow(
            conversation="a", tenant="default", key="alice", tags=("label", "x"), source="rule",
            state="settled", cost=Decimal("0.5"), baseline=exact, has_unknown_cost=False,
        ),
        SavingRow(
            conversation=None, tenant="acme", key="alice", tags=(), source="pin", state="aborted",
            cost=None, baseline=None, has_unknown_cost=True,
        ),
    ]  # fmt: skip


def test_calls_are_filtered_and_come_in_pages(
    store: SqlStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving_rows, "_PAGE_ROWS", 2)
    fed(store, folder, [entry(str(n), at=float(n), lab="a" if n % 2 else "b") for n in range(9)])
    assert len([*read_saving_rows(store)]) == 9
    assert len([*read_saving_rows(store, since=2.5, until=8.0, only={"lab": ["a"]})]) == 3
    with pytest.raises(ValueError, match="colour"):
        list(read_saving_rows(store, only={"colour": ["red"]}))
