"""The provider's bill of four days is the sum of each sink, to the last digit."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.ledger.sinks.base import LedgerSink
from gateway.ledger.sinks.open_sink import open_sink
from gateway.ledger.store import open_reader
from tests.applications.bill.play import play_days
from tests.contract.conftest import postgres
from tests.contract.ledger.conftest import clickhouse
from tests.e2e.conftest import loop
from tests.e2e.world import Loop
from tests.ledger.clickhouse import PASSWORD, ClickHouseServer
from tests.ledger.postgres import PostgresServer

__all__ = ["clickhouse", "loop", "postgres"]


def deliver_twice(sink: LedgerSink, journal: Path, name: str) -> None:
    """Deliver all rows, then all again, as after lost progress."""
    for _ in range(2):
        sink.feed(journal)
        (journal / "sinks" / f"{name}.json").unlink(missing_ok=True)
    sink.close()


def sum_lake(folder: Path) -> Decimal:
    """Return the cost of all calls in a folder of Parquet, by the documented views."""
    from tests.ledger.sinks.test_parquet import ask  # noqa: PLC0415 - needs the engines

    cost: Decimal = ask(folder, "SELECT sum(cost) AS cost FROM costs")[0]["cost"]
    return cost


def test_the_bill_is_that_of_every_sink(
    loop: Loop,
    tmp_path: Path,
    postgres: PostgresServer,
    clickhouse: ClickHouseServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pyarrow", reason="no engines of sinks: make engines")
    from gateway.ledger.sinks.parquet import ParquetSink  # noqa: PLC0415 - needs the engines

    monkeypatch.setenv("CLICKHOUSE_PASSWORD", PASSWORD)
    monkeypatch.setattr(ParquetSink, "batch_seconds", 0.0)
    billed = sum((day.usd for day in play_days(loop, tmp_path).values()), Decimal(0))
    journal = tmp_path / "data" / "ledger"
    urls = {
        "lake": f"file://{tmp_path}/lake",
        "replica": postgres.make_schema(),
        "warehouse": clickhouse.make_database(),
    }
    for name, url in urls.items():
        deliver_twice(open_sink(name, url), journal, name)
    costs = {"lake": sum_lake(tmp_path)}
    for name in "replica", "warehouse":
        (total,) = open_reader(urls[name]).sum_costs()
        assert total.cost is not None
        costs[name] = total.cost
    assert costs == dict.fromkeys(urls, billed)
    assert billed > 0
