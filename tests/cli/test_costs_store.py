"""The option `--store` of `costs`: another store than the gateway's, read as it is."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.cli.session import LedgerLocation
from gateway.ledger.sinks.clickhouse import ClickHouseSink
from gateway.ledger.sqlite import SqliteStore
from tests.cli.test_costs import MONEY, ROWS, ledger_at, run, write
from tests.cli.test_costs_reprice import tiergate
from tests.ledger.clickhouse import PASSWORD, ClickHouseServer, clickhouse_server
from tests.ledger.rows import attempt


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    with clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerLocation:
    location = ledger_at(tmp_path)
    write(location, *ROWS, attempt("a"))
    return location


@pytest.fixture
def url(server: ClickHouseServer, ledger: LedgerLocation) -> str:
    """A database with the rows of the ledger."""
    url = server.make_database()
    sink = ClickHouseSink("warehouse", url)
    sink.feed(ledger.journal_folder)
    sink.close()
    return url


@pytest.mark.parametrize(
    "words", [("--by", "tier,key"), ("--by", "day", "--only", "tier=fast"), ("--since", "1d")]
)
def test_costs_over_clickhouse_are_those_of_the_gateways_store(
    ledger: LedgerLocation, url: str, words: tuple[str, ...]
) -> None:
    reports = [
        json.loads(run(ledger, *words, "--json", *more).output) for more in ((), ("--store", url))
    ]
    for report in reports:
        del report["since"]  # a moment of the command
        for group in (*report["groups"], report["total"]):
            group |= {name: group[name] and Decimal(group[name]) for name in MONEY}
    assert reports[0] == reports[1]
    assert run(ledger, *words, "--store", url).output == run(ledger, *words).output


def test_a_call_over_clickhouse_is_shown_with_its_attempts(tmp_path: Path, url: str) -> None:
    shown = tiergate(tmp_path, "show", "a", "--store", url)
    assert shown.exit_code == 0, shown.output
    assert "reasoning" in shown.output
    assert "Attempts that gave no answer" in shown.output
    for id in ("nobody's", "\ud800"):
        missing = tiergate(tmp_path, "show", id, "--store", url)
        assert (missing.exit_code, "the ledger has no row" in missing.output) == (1, True)


def test_a_store_that_the_command_names_is_read_without_the_rows_of_the_journals(
    tmp_path: Path, ledger: LedgerLocation
) -> None:
    other = f"sqlite:///{tmp_path}/other.db"
    missing = run(ledger, "--store", other)
    assert (missing.exit_code, "there is no such file" in missing.output) == (1, True)
    SqliteStore(other).feed(ledger.journal_folder)
    write(ledger, *ROWS)
    assert json.loads(run(ledger, "--store", other, "--json").output)["total"]["calls"] == 4


def test_a_clickhouse_that_does_not_answer_is_told_without_its_password(
    ledger: LedgerLocation,
) -> None:
    result = run(ledger, "--store", f"clickhouse://u:{PASSWORD[:4]}@127.0.0.1:1/db")
    assert result.exit_code == 1
    assert "the ledger cannot be read: ClickHouse at 127.0.0.1:1: " in result.output
    assert "Connection refused" in result.output
    assert PASSWORD[:4] not in result.output
