"""Scale-in loses no row: a pod without a disk has given all its rows to a database when it ends."""

import time
from pathlib import Path

import pytest

from tests.e2e import kill_trial
from tests.e2e.scale_in_trial import ScaleInResult, trial
from tests.ledger import postgres


def check(result: ScaleInResult) -> None:
    """Check that the pod ended in time, served calls to the end, and closed each of them."""
    assert result.wrong == []
    assert result.status == 0
    assert result.during > 0
    assert len(result.books.finals) == len(result.books.intents) > result.during


def stored_ids(server: postgres.PostgresServer) -> list[str]:
    """Return the calls of the store, each as often as it is there."""
    return sorted(row[0] for row in server.read("SELECT id FROM entries"))


def test_a_pod_that_ends_leaves_no_row_that_postgresql_lacks(tmp_path: Path) -> None:
    with postgres.server() as server:
        result = trial(tmp_path, {"store": server.url()}, seed="1")
        assert stored_ids(server) == sorted(result.books.finals)
    check(result)


def test_a_pod_that_ends_while_postgresql_is_away_waits_for_it(tmp_path: Path) -> None:
    """PostgreSQL returns after the last call has ended, but before the grace period has."""
    with postgres.server() as server:

        def fail_over() -> None:
            server.stop()
            time.sleep(6)  # a real server is away, longer than the calls last
            server.start()

        result = trial(tmp_path, {"store": server.url()}, seed="2", after_signal=fail_over)
        assert stored_ids(server) == sorted(result.books.finals)
    check(result)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pod_that_ends_leaves_no_row_that_its_sink_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """The Parquet sink gathers the rows of five minutes: the last ones wait for no more."""
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(kill_trial, "WORKERS", workers)
    lake = tmp_path / "lake"
    result = trial(tmp_path, {"sinks": {"lake": f"file://{lake}"}}, seed="3")
    files = (lake / "calls").glob("day=*/*.parquet")
    ids = [id for file in files for id in parquet.read_table(file).column("id").to_pylist()]
    assert sorted(ids) == sorted(result.books.finals)
    check(result)
