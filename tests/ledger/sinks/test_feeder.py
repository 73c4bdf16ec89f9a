"""Test how a sink is fed beside calls: failures wait longer, and nobody else notices."""

import asyncio
from pathlib import Path

import pytest

from gateway.ledger.errors import SinkError
from gateway.ledger.sinks.feeder import SinkFeeder
from gateway.ledger.sinks.open_sink import open_sink
from tests.ledger.sinks.test_base import Clock, ListSink, write_lines


@pytest.fixture
def events() -> list[dict[str, object]]:
    return []


@pytest.fixture
def feeder(tmp_path: Path, events: list[dict[str, object]]) -> SinkFeeder:
    clock = Clock()

    def log(event: str, **fields: object) -> None:
        events.append({"event": event, **fields})

    return SinkFeeder("list", ListSink(clock), tmp_path, log, clock)


def list_sink(feeder: SinkFeeder) -> ListSink:
    assert isinstance(feeder.sink, ListSink)
    return feeder.sink


def test_a_sink_that_is_away_is_asked_less_and_less_often(
    tmp_path: Path, feeder: SinkFeeder, events: list[dict[str, object]]
) -> None:
    write_lines(tmp_path, "a")
    list_sink(feeder).failures = 12
    waits = []
    for _ in range(13):
        waits.append(feeder.wait_seconds)
        feeder.feed()
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60, 60]
    assert feeder.wait_seconds == 2
    assert feeder.failures == 12
    assert [event.get("failures", event.get("text")) for event in events] == [
        1, 11, "takes rows again",
    ]  # fmt: skip
    assert list_sink(feeder).ids == ["a"]


def test_a_mistake_of_an_engines_client_is_a_failure_and_its_text_is_not_logged(
    tmp_path: Path,
    feeder: SinkFeeder,
    events: list[dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a prompt")

    write_lines(tmp_path, "a")
    monkeypatch.setattr(ListSink, "write", fail)
    feeder.feed()
    assert feeder.failures == 1
    assert str(events[0]["error"]).startswith("RuntimeError at test_feeder.py:")
    assert "a prompt" not in str(events)


def test_lag_and_pending_bytes_show_how_far_a_sink_is_behind(
    tmp_path: Path, feeder: SinkFeeder
) -> None:
    write_lines(tmp_path, "a")
    feeder._clock.now += 5  # type: ignore[attr-defined]
    assert feeder.measure_lag() == 5
    assert feeder.count_pending_bytes() == (tmp_path / "1.sealed.jsonl").stat().st_size
    feeder.feed()
    assert feeder.measure_lag() == 0
    assert feeder.count_pending_bytes() == 0


async def test_a_feeder_delivers_until_it_is_cancelled(tmp_path: Path, feeder: SinkFeeder) -> None:
    write_lines(tmp_path, "a")
    turns = 0

    async def sleep(seconds: float) -> None:
        nonlocal turns
        assert seconds == 2
        turns += 1
        if turns == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await feeder.run(sleep)
    assert list_sink(feeder).ids == ["a"]


def test_a_url_of_no_engine_is_refused() -> None:
    with pytest.raises(SinkError, match="the sink lake must have a URL with one of"):
        open_sink("lake", "ftp://example.com")
