"""Whatever gateways and the machine do, in any order, the ledger keeps each row once: a state machine.

Two gateways write journals in one folder, and one store reads it. They write intents, attempts and
final rows, begin new segments, sync, stop, and are killed. The machine loses its power: of each
segment the synced bytes stay, and any part of the rest. At each step the store has exactly one row of
each call that was acknowledged, and the right one.
"""

import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.core.ledger_rows import Row
from gateway.ledger import ingest, recovery
from gateway.ledger.journal import Journal, list_segments
from gateway.ledger.recovery import read_open_calls, recover
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.verify import verify
from tests.ledger.rows import attempt, entry, intent, with_lines

GATEWAYS = 2
_DAY = 86_400.0
_numbers = st.integers(0, GATEWAYS - 1)


class _Gateway:
    """One gateway: its journal, and the calls that it serves."""

    def __init__(self, folder: Path, machine: "LedgerStates") -> None:
        self.journal = Journal(
            folder, sync=machine.note_sync, clock=lambda: machine.now, token=machine.make_token,
            limit=2_500,
        )  # fmt: skip
        self.open_calls: list[str] = []
        self.unsynced: set[str] = set()
        """Calls with a row that a loss of power may take."""

    def die(self) -> None:
        """Let go of all files, as the kernel does for a killed process."""
        for segment in (self.journal._segment, *self.journal._retired_segments):
            os.close(segment.descriptor)


class LedgerStates(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.home = tempfile.TemporaryDirectory(prefix="tiergate-ledger-")
        self.folder = Path(self.home.name) / "journal"
        self.now = 1_793_000_000.0
        self.ids = itertools.count()
        self.synced_bytes: dict[int, int] = {}
        """The bytes of each file that the disk has, by inode."""
        self.costs: dict[str, Decimal | None] = {}
        """What each acknowledged call has cost; None while it has no final row."""
        self.uncertain: dict[str, Decimal | None] = {}
        """Calls of which the disk may have lost a row, with the cost in that row."""
        self.store = SqliteStore(f"sqlite:///{self.home.name}/ledger.db")
        self.gateways: list[_Gateway] = []

    @initialize()
    def start(self) -> None:
        self.folder.mkdir()
        self.gateways = [_Gateway(self.folder, self) for _ in range(GATEWAYS)]

    def teardown(self) -> None:
        for gateway in self.gateways:
            gateway.die()
        self.store.close()
        self.home.cleanup()

    def note_sync(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self.synced_bytes[status.st_ino] = status.st_size

    def make_token(self) -> str:
        return f"{next(self.ids):08x}"

    # what gateways do

    @rule(number=_numbers, size=st.integers(1, 300))
    def begin(self, number: int, size: int) -> None:
        gateway, id = self.gateways[number], f"call-{next(self.ids)}"
        gateway.journal.write(intent(id, at=self.now, key="k" * size))
        gateway.open_calls.append(id)
        gateway.unsynced.add(id)
        self.costs[id] = None

    @precondition(lambda self: any(gateway.open_calls for gateway in self.gateways))
    @rule(choice=st.integers(0, 20), cents=st.integers(0, 99))
    def end(self, choice: int, cents: int) -> None:
        gateway, id = self.choose_open_call(choice)
        gateway.journal.write(entry(id, at=self.now, cost=Decimal(cents)))
        self.note_end(gateway, id, Decimal(cents))

    @precondition(lambda self: any(gateway.open_calls for gateway in self.gateways))
    @rule(choice=st.integers(0, 20))
    def fail_attempt(self, choice: int) -> None:
        gateway, id = self.choose_open_call(choice)
        gateway.journal.write(attempt(id, at=self.now))

    @rule(number=_numbers, begun=st.integers(0, 3), ended=st.integers(0, 3))
    def write_together(self, number: int, begun: int, ended: int) -> None:
        """Write intents and final rows at once, as a write batch does."""
        gateway = self.gateways[number]
        ids = [f"call-{next(self.ids)}" for _ in range(begun)]
        intents = [intent(id, at=self.now) for id in ids]
        ending = gateway.open_calls[:ended]
        final_rows = [entry(id, at=self.now, cost=Decimal(7)) for id in ending]
        gateway.journal.append_together(with_lines(*intents, *final_rows))
        gateway.open_calls += ids
        gateway.unsynced.update(ids)
        self.costs.update(dict.fromkeys(ids))
        for id in ending:
            self.note_end(gateway, id, Decimal(7))

    def choose_open_call(self, choice: int) -> tuple[_Gateway, str]:
        open_calls = [(gateway, id) for gateway in self.gateways for id in gateway.open_calls]
        return open_calls[choice % len(open_calls)]

    def note_end(self, gateway: _Gateway, id: str, cost: Decimal) -> None:
        gateway.open_calls.remove(id)
        gateway.unsynced.add(id)
        self.costs[id] = cost

    @rule(number=_numbers)
    def sync(self, number: int) -> None:
        gateway = self.gateways[number]
        gateway.journal.sync()
        gateway.unsynced.clear()

    @rule(days=st.sampled_from([0.0, 0.01, 1.0]))
    def wait(self, days: float) -> None:
        """Let time pass: at midnight the next row begins a segment."""
        self.now += days * _DAY + 1

    @rule()
    def feed(self) -> None:
        """Feed the store twice: the second time finds nothing."""
        self.store.feed(self.folder)
        assert self.store.feed(self.folder) == 0

    # how gateways end

    @rule(number=_numbers)
    def stop(self, number: int) -> None:
        """Stop a gateway in order; calls that still run are cut off, and end as unknown."""
        gateway = self.gateways[number]
        gateway.journal.close()
        for segment in gateway.journal._retired_segments:
            os.close(segment.descriptor)
        self.replace(number)

    @rule(number=_numbers)
    def kill(self, number: int) -> None:
        self.gateways[number].die()
        self.replace(number)

    def replace(self, number: int) -> None:
        """Start another gateway in the place of one that has ended. It recovers what that left."""
        self.gateways[number] = _Gateway(self.folder, self)
        self.recover(number)

    @rule(parts=st.lists(st.floats(0, 1), min_size=1, max_size=4))
    def lose_power(self, parts: list[float]) -> None:
        """End all gateways: of each segment the disk has what was synced, and some bytes more."""
        for gateway in self.gateways:
            for id in gateway.unsynced:
                self.uncertain[id] = self.costs.pop(id, self.uncertain.get(id))
            gateway.die()
        for path, part in zip(list_segments(self.folder), itertools.cycle(parts), strict=False):
            status = path.stat()
            synced = self.synced_bytes.get(status.st_ino, 0)
            os.truncate(path, synced + int((status.st_size - synced) * part))
        self.gateways = [_Gateway(self.folder, self) for _ in range(GATEWAYS)]
        self.recover(0)

    @rule(number=_numbers)
    def recover(self, number: int) -> None:
        """Recover, and again: gateways that run keep their calls, and the second time does nothing."""
        running = {id for gateway in self.gateways for id in gateway.open_calls}
        recovered = {row.id for row in recover(self.gateways[number].journal).entries}
        assert not recovered & running, "recovery has ended a call that runs"
        assert not recover(self.gateways[number].journal).entries
        self.gateways[number].unsynced.clear()  # recovery syncs its journal
        assert {row.id for row in read_open_calls(self.folder)} <= running

    # what must hold

    @invariant()
    def each_call_has_its_row(self) -> None:
        if not self.gateways:
            return
        running = {id for gateway in self.gateways for id in gateway.open_calls}
        self.store.feed(self.folder)
        rows = list(self.read_rows())
        stored = {id: (state, cost) for id, state, cost in rows}
        assert len(stored) == len(rows), "a call has two rows"
        assert stored.keys() <= self.costs.keys() | self.uncertain.keys()
        for id, cost in self.costs.items():
            if id in running:
                assert id not in stored, "a call that runs has a final row"
            elif cost is None:
                assert stored[id] == ("unknown_crash", None), "an open call is lost"
            else:
                assert stored[id] == ("settled", cost), "an acknowledged row is lost or changed"
        for id, cost in self.uncertain.items():
            assert stored.get(id) in (None, ("unknown_crash", None), ("settled", cost))

    @invariant()
    def no_damage_is_reported(self) -> None:
        """What interrupted writes leave is no damage: nobody has acknowledged it."""
        if self.folder.is_dir():
            assert [report.damages for report in verify(self.folder) if report.damages] == []

    def read_rows(self) -> Iterator[tuple[str, str, Decimal | None]]:
        with self.store.open_reader() as connection:
            for id, state, cost in connection.execute("SELECT id, state, cost FROM entries"):
                yield id, state, None if cost is None else Decimal(str(cost))


_SETTINGS = settings(max_examples=15, stateful_step_count=20, deadline=None)


def test_no_order_of_writes_crashes_and_recoveries_loses_or_doubles_a_row() -> None:
    run_state_machine_as_test(LedgerStates, settings=_SETTINGS)


def _forget_open_calls(patch: pytest.MonkeyPatch) -> None:
    """A new segment does not begin with the calls that are open."""
    append = Journal.append_together

    def append_and_forget(journal: Journal, rows: Sequence[tuple[Row, bytes]]) -> None:
        append(journal, rows)
        journal._open_calls.clear()

    patch.setattr(Journal, "append_together", append_and_forget)


def _take_all_segments(patch: pytest.MonkeyPatch) -> None:
    """Recovery takes segments whose gateway lives."""
    patch.setattr(recovery, "try_lock", lambda _: True)


def _skip_a_batch(patch: pytest.MonkeyPatch) -> None:
    """The store notes that it has read all of a segment before it has read it."""
    read = ingest.read_batches
    patch.setattr(
        "gateway.ledger.sql_store.read_batches",
        lambda *given: itertools.islice(read(*given), 1, None),
    )


@pytest.mark.parametrize("plant", [_forget_open_calls, _take_all_segments, _skip_a_batch])
def test_the_machine_notices_a_planted_bug(plant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(plant)
    plant(monkeypatch)
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(
            LedgerStates, settings=settings(_SETTINGS, derandomize=True, phases=(Phase.generate,))
        )
