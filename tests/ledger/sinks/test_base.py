"""Test the delivery of journals to a sink: at least once, in order, and resumed after failures."""

from pathlib import Path

import pytest

from gateway.ledger.errors import SinkError
from gateway.ledger.file_lock import lock_file
from gateway.ledger.ingest import RowBatch
from gateway.ledger.sinks.base import BatchOrigin, JournalSink
from tests.ledger.rows import attempt, entry, feedback, intent, reprice, sealed

SEGMENT = "1.sealed.jsonl"


class ListSink(JournalSink):
    """Keeps what it gets; fails as often as it is told."""

    def __init__(self, clock: "Clock") -> None:
        super().__init__("list", clock)
        self.deliveries: list[tuple[BatchOrigin, RowBatch]] = []
        self.failures = 0
        self.is_away = False
        self.erased: list[str] = []

    def check(self) -> None:
        if self.is_away:
            raise SinkError("away")

    def write(self, batch: RowBatch, origin: BatchOrigin) -> None:
        if self.failures:
            self.failures -= 1
            raise SinkError("away")
        self.deliveries.append((origin, batch))

    def erase_in_engine(self, end_user: str) -> None:
        self.erased.append(end_user)

    def close(self) -> None:
        pass

    @property
    def ids(self) -> list[str]:
        """The ids of all final rows that came in."""
        return [row.id for _, batch in self.deliveries for row in batch.entries]


class WaitingSink(ListSink):
    """Waits for the lines of two calls, or ten seconds."""

    batch_bytes = len(sealed(intent("a"), entry("a"))) + 1
    batch_seconds = 10.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_793_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def write_lines(folder: Path, *ids: str) -> None:
    """Append the rows of calls to the segment."""
    path = folder / SEGMENT
    data = sealed(*(row for id in ids for row in (intent(id), entry(id))))
    path.write_bytes(data)


def test_a_sink_gets_each_row_once_while_it_acknowledges(tmp_path: Path, clock: Clock) -> None:
    sink = ListSink(clock)
    write_lines(tmp_path, "a")
    assert sink.feed(tmp_path) == 2
    write_lines(tmp_path, "a", "b")
    assert sink.feed(tmp_path) == 2
    assert sink.feed(tmp_path) == 0
    assert sink.ids == ["a", "b"]
    assert sink.deliveries[1][0].start == sink.deliveries[0][0].end
    assert sink.state().fed_until == clock.now
    assert sink.read_offsets(tmp_path) == {SEGMENT: (tmp_path / SEGMENT).stat().st_size}


def test_all_kinds_of_rows_come_in_one_batch_with_its_origin(tmp_path: Path, clock: Clock) -> None:
    sink = ListSink(clock)
    rows = (entry("a"), attempt("a"), reprice("a"), feedback("a"))
    (tmp_path / SEGMENT).write_bytes(sealed(*rows))
    sink.feed(tmp_path)
    ((origin, batch),) = sink.deliveries
    assert [*batch.entries, *batch.attempts, *batch.reprices, *batch.feedback] == [*rows]
    assert origin.segment == SEGMENT
    assert origin.folder_id == (tmp_path / "id").read_text().strip()


def test_rows_that_a_sink_refused_come_again(tmp_path: Path, clock: Clock) -> None:
    sink = ListSink(clock)
    write_lines(tmp_path, "a", "b")
    sink.failures = 2
    for _ in range(2):
        with pytest.raises(SinkError):
            sink.feed(tmp_path)
    assert sink.state().fed_until is None
    sink.feed(tmp_path)
    assert sink.ids == ["a", "b"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]"])
def test_lost_progress_delivers_all_rows_again(tmp_path: Path, clock: Clock, damage: bytes) -> None:
    sink = ListSink(clock)
    write_lines(tmp_path, "a")
    sink.feed(tmp_path)
    (tmp_path / "sinks" / "list.json").write_bytes(damage)
    sink.feed(tmp_path)
    assert sink.ids == ["a", "a"]


def test_a_segment_shorter_than_its_progress_is_another_one(tmp_path: Path, clock: Clock) -> None:
    sink = ListSink(clock)
    write_lines(tmp_path, "a", "b")
    sink.feed(tmp_path)
    write_lines(tmp_path, "c")
    sink.feed(tmp_path)
    assert sink.ids == ["a", "b", "c"]


def test_progress_of_removed_segments_is_forgotten(tmp_path: Path, clock: Clock) -> None:
    sink = ListSink(clock)
    write_lines(tmp_path, "a")
    sink.feed(tmp_path)
    (tmp_path / SEGMENT).unlink()
    (tmp_path / "2.sealed.jsonl").write_bytes(sealed(entry("b")))
    sink.feed(tmp_path)
    assert [*sink.read_offsets(tmp_path)] == ["2.sealed.jsonl"]


def test_nothing_is_delivered_without_a_folder_or_beside_another_process(
    tmp_path: Path, clock: Clock
) -> None:
    sink = ListSink(clock)
    assert sink.feed(tmp_path / "none") == 0
    write_lines(tmp_path, "a")
    (tmp_path / "sinks").mkdir()
    with lock_file(tmp_path / "sinks" / "list.lock"):
        assert sink.feed(tmp_path) is None
    assert sink.ids == []


def test_few_lines_wait_for_more_until_their_time_is_over(tmp_path: Path, clock: Clock) -> None:
    sink = WaitingSink(clock)
    write_lines(tmp_path, "a")
    assert sink.feed(tmp_path) == 0
    assert sink.state().fed_until is None
    write_lines(tmp_path, "a", "b")
    assert sink.feed(tmp_path) == 4
    write_lines(tmp_path, "a", "b", "c")
    assert sink.feed(tmp_path) == 0
    clock.now += 10
    assert sink.feed(tmp_path) == 2
    assert sink.ids == ["a", "b", "c"]
    assert len(sink.deliveries) == 2


def test_batches_are_joined_up_to_the_rows_that_a_sink_wants(tmp_path: Path, clock: Clock) -> None:
    sink = ListSink(clock)
    sink.batch_rows = 3000  # type: ignore[misc]
    (tmp_path / SEGMENT).write_bytes(sealed(*(entry(f"call-{index}") for index in range(5000))))
    sink.feed(tmp_path)
    assert [batch.lines for _, batch in sink.deliveries] == [3072, 1928]


class GatheringSink(ListSink):
    """Gathers rows; the engine takes them at each flush."""

    flush_rows = 3000

    def __init__(self, clock: "Clock") -> None:
        super().__init__(clock)
        self.flushed: list[int] = []

    def flush(self) -> None:
        if self.is_away:
            raise SinkError("away")
        self.flushed.append(self.deliveries[-1][0].end)


def test_rows_that_a_sink_gathers_count_once_they_are_flushed(tmp_path: Path, clock: Clock) -> None:
    sink = GatheringSink(clock)
    path = tmp_path / SEGMENT
    path.write_bytes(sealed(*(entry(f"call-{index}") for index in range(5120))))
    sink.is_away = True
    with pytest.raises(SinkError):
        sink.feed(tmp_path)
    assert sink.read_offsets(tmp_path) == {}
    sink.is_away = False
    sink.deliveries.clear()
    sink.feed(tmp_path)
    assert [batch.lines for _, batch in sink.deliveries] == [1024] * 5
    assert sink.flushed == [sink.deliveries[2][0].end, path.stat().st_size]
    assert sink.read_offsets(tmp_path) == {SEGMENT: path.stat().st_size}


def test_a_user_is_erased_while_nobody_delivers(tmp_path: Path, clock: Clock) -> None:
    sink = ListSink(clock)
    sink.erase_user(tmp_path, "0123456789abcdef")
    assert sink.erased == ["0123456789abcdef"]
