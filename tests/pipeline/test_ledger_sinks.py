"""Test a ledger with a sink: it is measured, closed, erased, and its segments wait for it."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.ledger.chain import CLOSED_LINE
from gateway.ledger.erase import erase_user
from gateway.ledger.errors import StoreError
from gateway.ledger.journal import encode_row
from gateway.ledger.sinks.feeder import SinkFeeder
from gateway.pipeline import ledger_runtime as ledger_runtime_module
from gateway.pipeline.ledger_runtime import LedgerRuntime
from gateway.settings.schema.root import Config
from tests.ledger.rows import entry, intent
from tests.ledger.sinks.test_base import Clock, ListSink

USER = "0123456789abcdef"


@pytest.fixture
def sink() -> ListSink:
    return ListSink(Clock())


@pytest.fixture
def events() -> list[dict[str, object]]:
    return []


@pytest.fixture
def runtime(
    tmp_path: Path,
    sink: ListSink,
    events: list[dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[LedgerRuntime]:
    def log(event: str, **fields: object) -> None:
        events.append({"event": event, **fields})

    monkeypatch.setattr(ledger_runtime_module, "open_sink", lambda _name, _url: sink)
    config = Config.model_validate(
        {
            "version": 1,
            "ledger": {
                "sinks": {"list": "file:///lake"},
                "keep_journal": "1s",
                "deliver_on_stop": "2s",
            },
        }
    )
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    runtime = LedgerRuntime(config, tmp_path, log, url=url, info={}, providers={})
    yield runtime
    if not runtime.is_ended:
        runtime.close()


def test_metrics_show_how_far_a_sink_is_behind(runtime: LedgerRuntime, sink: ListSink) -> None:
    runtime.journal.write(intent("a"))

    def read() -> str:
        runtime.metrics.refresh()
        return runtime.metrics.render()[0].decode()

    assert 'tiergate_ledger_sink_pending_bytes{sink="list"} 0.0\n' not in read()
    sink.feed(runtime.journal_folder)
    text = read()
    assert 'tiergate_ledger_sink_pending_bytes{sink="list"} 0.0\n' in text
    assert 'tiergate_ledger_sink_failures{sink="list"} 0.0\n' in text
    assert 'tiergate_ledger_sink_lag_seconds{sink="list"}' in text


def test_a_segment_stays_until_a_sink_has_all_of_it(runtime: LedgerRuntime, sink: ListSink) -> None:
    path = runtime.journal_folder / "1.jsonl"
    path.write_bytes(encode_row(entry("a")) + CLOSED_LINE)
    os.utime(path, (1.0, 1.0))
    runtime.feed()
    runtime.sweep()
    assert path.exists()
    sink.feed(runtime.journal_folder)
    runtime.sweep()
    assert not path.exists()


def test_a_user_is_erased_in_a_sink_after_the_journals(
    tmp_path: Path, runtime: LedgerRuntime, sink: ListSink
) -> None:
    runtime.journal.write(entry("a", end_user=USER))
    erase_user(runtime.journal_folder, tmp_path, runtime.store, USER, [sink])
    sink.feed(runtime.journal_folder)
    assert sink.erased == [USER]
    assert [row.end_user for _, batch in sink.deliveries for row in batch.entries] == [None]


async def test_a_running_gateway_feeds_its_sinks(
    runtime: LedgerRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []

    async def run(self: SinkFeeder, sleep: object) -> None:
        names.append(self.name)

    monkeypatch.setattr(SinkFeeder, "run", run)
    runtime.start()
    await asyncio.sleep(0)
    await runtime.stop()
    assert names == ["list"]


def end(runtime: LedgerRuntime) -> None:
    """Close the journal, as the last process does before it delivers."""
    runtime.close()
    runtime.is_ended = True


def stop_clock(runtime: LedgerRuntime, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Give the runtime a clock that only waiting moves, and return the function that waits."""
    clock = Clock()

    def wait(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(runtime, "_monotonic", clock)
    return wait


def test_a_gateway_that_stops_delivers_its_last_rows_to_the_store_and_the_sinks(
    runtime: LedgerRuntime, sink: ListSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also rows that would wait for more rows, and after failures of an engine."""
    monkeypatch.setattr(ListSink, "batch_bytes", 10**9)
    monkeypatch.setattr(ListSink, "batch_seconds", 300.0)
    runtime.journal.write(entry("a"))
    sink.feed(runtime.journal_folder)
    assert sink.ids == []
    end(runtime)
    sink.failures = 2
    runtime.deliver_rest(stop_clock(runtime, monkeypatch))
    assert sink.ids == ["a"]
    assert [row.id for row in runtime.store.read_entries(limit=9)] == ["a"]


def test_a_gateway_stops_waiting_for_engines_that_stay_away(
    runtime: LedgerRuntime,
    sink: ListSink,
    events: list[dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rows wait in the journal: the exit status says nothing is wrong with the gateway."""

    def refuse(_: Path) -> int:
        raise StoreError("the store is newer")

    monkeypatch.setattr(runtime.store, "feed", refuse)
    runtime.journal.write(entry("a"))
    end(runtime)
    sink.failures = 99
    runtime.deliver_rest(stop_clock(runtime, monkeypatch))
    assert sink.failures == 99 - 5  # at once, and each half second of the two
    assert "the store is newer" in [event.get("error") for event in events]
    assert events[-1] == {
        "event": "ledger",
        "error": "the last rows wait in the journal for the next start",
        "engines": 2,
    }
