"""Load shedding: measurements become one level, and a body is read only if there is memory."""

import asyncio
import re

import pytest

from gateway.core.errors import ProblemError
from gateway.limits.load_shedding import (
    SAMPLE_SECONDS,
    SHED_ALL,
    SHED_REASONING,
    SHED_SHARES,
    LoadSample,
    LoadShedder,
    MemoryReservation,
)
from gateway.telemetry.process import MemoryReach

GB = 1_000_000_000
MB = 1_000_000


class Machine:
    """A machine with given measurements, and a load shedder that samples it."""

    def __init__(
        self,
        memory: int | None = 100 * MB,
        group: MemoryReach | None = None,
        max_lag: float = 1.0,
    ) -> None:
        self.sample = LoadSample(memory, group, 10)
        self.log: list[dict[str, object]] = []
        self.leaned = 0
        self.chances = 0.0
        self.pressure = LoadShedder(
            lambda: self.sample, max_memory=GB, max_files=1000, max_lag=max_lag,
            log=self.note, trim_memory=self.lean, random_fraction=lambda: self.chances,
        )  # fmt: skip
        self.now = 0.0

    def note(self, event: str, **fields: object) -> None:
        self.log.append({"event": event, **fields})

    def lean(self) -> None:
        self.leaned += 1

    def look(self, late: float = 0.0, times: int = 1, **changes: object) -> int:
        """Take some samples with these changes; return the level."""
        self.sample = self.sample._replace(**changes)  # type: ignore[arg-type]
        for _ in range(times):
            self.now += SAMPLE_SECONDS
            self.pressure.take_sample(self.now, late)
        return self.pressure.level


@pytest.mark.parametrize(
    ("used", "level"),
    [(0.79, 0), (0.80, SHED_SHARES), (0.85, SHED_REASONING), (0.92, SHED_ALL), (2.0, SHED_ALL)],
)
def test_memory_in_use_raises_the_level(used: float, level: int) -> None:
    """Both the memory limit of the process and that of its control group count."""
    assert Machine().look(memory=int(used * GB)) == level
    assert Machine().look(group=MemoryReach(int(used * GB), GB)) == level


def test_on_a_large_machine_only_the_last_free_memory_counts() -> None:
    """24 GB with 23 in use leave the gateway all that it needs; 50 MB left do not."""
    assert Machine().look(group=MemoryReach(23 * GB, 24 * GB)) == 0
    assert Machine().look(group=MemoryReach(23_950 * MB, 24 * GB)) == SHED_ALL
    machine = Machine(group=MemoryReach(23 * GB, 24 * GB))
    assert machine.pressure.count_free_bytes() == pytest.approx(820 * MB)


@pytest.mark.parametrize(
    ("files", "level"), [(699, 0), (700, SHED_SHARES), (800, SHED_REASONING), (900, SHED_ALL)]
)
def test_open_files_raise_the_level(files: int, level: int) -> None:
    assert Machine().look(files=files) == level


@pytest.mark.parametrize(
    ("late", "level"), [(0.24, 0), (0.25, SHED_SHARES), (0.5, SHED_REASONING), (1.0, SHED_ALL)]
)
def test_an_event_loop_that_is_late_for_a_second_raises_the_level(late: float, level: int) -> None:
    """A single pause, however long, does not count."""
    machine = Machine()
    assert machine.look(late=9.0, times=3) == 0
    assert machine.look() == 0
    assert machine.look(late=late, times=4) == level
    assert Machine(max_lag=2.0).look(late=2 * late, times=4) == level


def test_without_a_bound_a_late_event_loop_sheds_no_load() -> None:
    pressure = LoadShedder(LoadSample)
    for moment in range(8):
        pressure.take_sample(float(moment), 99.0)
    assert pressure.level == 0


def test_the_highest_level_counts_and_is_logged_once() -> None:
    machine = Machine()
    assert machine.look(memory=810 * MB, files=860, times=3) == SHED_REASONING
    assert machine.log == [{"event": "pressure", "level": 2, "what": "files", "used": 0.86}]
    machine = Machine()
    machine.look(memory=861_249_000)
    assert machine.log == [{"event": "pressure", "level": 2, "what": "memory", "used": 0.861}]


def test_load_shedding_ends_a_second_after_the_load_is_clearly_lower() -> None:
    machine = Machine()
    assert machine.look(files=900) == SHED_ALL
    assert machine.look(files=880, times=9) == SHED_ALL  # too close to the edge
    assert machine.look(files=10, times=3) == SHED_ALL
    assert machine.look(files=10) == 0
    assert [row["level"] for row in machine.log] == [3, 0]
    assert machine.log[-1]["what"] is None


def test_a_level_ends_below_its_bound_by_a_twentieth_of_it() -> None:
    machine = Machine()
    machine.look(files=900)
    assert machine.look(files=856, times=9) == SHED_ALL
    assert machine.look(files=854, times=4) == SHED_REASONING


def test_the_gateway_trims_memory_from_time_to_time_while_it_is_short() -> None:
    machine = Machine()
    machine.look()
    assert machine.leaned == 0
    machine.look(memory=900 * MB, times=4)
    assert machine.leaned == 1
    machine.look(times=20)
    assert machine.leaned == 2


def test_a_gateway_that_starts_short_of_memory_trims_at_once_and_after_five_seconds() -> None:
    machine = Machine(memory=900 * MB)
    assert machine.leaned == 1
    machine.look(times=19)
    assert (machine.now, machine.leaned) == (4.75, 1)
    machine.look()
    assert machine.leaned == 2


def test_values_that_cannot_be_measured_shed_no_load() -> None:
    pressure = LoadShedder(LoadSample, max_memory=GB, max_files=1000)
    pressure.take_sample(1.0, 99.0)
    assert (pressure.level, pressure.count_free_bytes()) == (0, float("inf"))
    MemoryReservation(pressure).reserve_body(10 * GB)


def refused(
    pressure: LoadShedder, size: int, hold: MemoryReservation | None = None
) -> tuple[str, float | None]:
    with pytest.raises(ProblemError) as caught:
        (hold or MemoryReservation(pressure)).reserve_body(size)
    return caught.value.problem.kind, caught.value.problem.retry_after


def test_the_gateway_reads_bodies_while_five_times_their_size_is_free() -> None:
    """920 of 1,000 MB may be used, and 100 are: four bodies fit, and a fifth once one has ended."""
    machine = Machine()
    holds = [MemoryReservation(machine.pressure) for _ in range(4)]
    for hold in holds:
        hold.reserve_body(40 * MB)
    assert refused(machine.pressure, 40 * MB) == ("overloaded", 1.0)
    holds[0].release()
    holds[0].release()
    MemoryReservation(machine.pressure).reserve_body(40 * MB)
    refused(machine.pressure, 40 * MB)
    assert machine.pressure.shed_count == 2


def test_a_body_fits_that_needs_exactly_what_is_free() -> None:
    machine = Machine()
    assert machine.pressure.count_free_bytes() == pytest.approx(820 * MB, abs=0.5)
    assert [machine.pressure.fits(size) for size in (820 * MB, 820 * MB + 1)] == [True, False]
    MemoryReservation(machine.pressure).reserve_body(164 * MB)
    assert machine.pressure.reserved_bytes == 820 * MB


def test_what_a_body_has_reserved_is_its_own_however_short_memory_becomes() -> None:
    machine = Machine()
    hold = MemoryReservation(machine.pressure)
    hold.reserve_body(10 * MB)
    machine.look(memory=GB)
    hold.reserve_body(10 * MB)
    assert machine.pressure.reserved_bytes == 50 * MB


def test_reserved_memory_that_is_in_use_counts_once() -> None:
    """Bodies have reserved 800 MB and use 500 of them: 300 MB more are to come."""
    machine = Machine()
    hold = MemoryReservation(machine.pressure)
    hold.reserve_body(160 * MB)
    machine.look(memory=600 * MB)
    assert machine.pressure.count_free_bytes() == pytest.approx(20 * MB)
    machine.look(memory=915 * MB)
    assert machine.pressure.count_free_bytes() == pytest.approx(5 * MB)
    hold.release()
    machine.look(memory=300 * MB)  # what is used after the release is the level without bodies
    assert machine.pressure.count_free_bytes() == pytest.approx(620 * MB)
    hold.reserve_body(20 * MB)
    assert machine.pressure.count_free_bytes() == pytest.approx(520 * MB)


def test_the_control_groups_free_memory_counts_if_it_is_less() -> None:
    machine = Machine(group=MemoryReach(400 * MB, 600 * MB))
    assert machine.pressure.count_free_bytes() == pytest.approx(152 * MB)
    assert refused(machine.pressure, 40 * MB)[0] == "overloaded"


def test_reservations_count_if_the_memory_cannot_be_read() -> None:
    machine = Machine(memory=None, group=MemoryReach(0, GB))
    MemoryReservation(machine.pressure).reserve_body(100 * MB)
    assert machine.pressure.count_free_bytes() == pytest.approx(420 * MB)
    machine = Machine(group=MemoryReach(0, GB))
    MemoryReservation(machine.pressure).reserve_body(100 * MB)
    machine.look(memory=None)
    assert machine.pressure.count_free_bytes() == pytest.approx(420 * MB)


def test_a_body_that_can_never_fit_is_too_large_and_a_small_one_needs_no_reservation() -> None:
    machine = Machine()
    assert refused(machine.pressure, 200 * MB) == ("request_too_large", None)
    machine.look(memory=GB)
    MemoryReservation(machine.pressure).reserve_body(65_536)
    assert machine.pressure.reserved_bytes == 0


def test_a_body_of_unknown_size_reserves_memory_as_it_arrives() -> None:
    machine = Machine()
    hold = MemoryReservation(machine.pressure)
    for size in (10 * MB, 50 * MB, 160 * MB):
        hold.reserve_body(size)
        assert machine.pressure.reserved_bytes == 5 * size
    assert refused(machine.pressure, 170 * MB, hold)[0] == "request_too_large"
    hold.release()
    assert machine.pressure.reserved_bytes == 0


def test_values_and_wide_texts_reserve_more_than_the_size_of_their_body() -> None:
    """100 of 920 MB are used, and 200,000 values reserve 80 MB. Many more do not fit."""
    machine = Machine()
    hold = MemoryReservation(machine.pressure)
    hold.reserve_values(150_000)
    hold.reserve_values(200_000)
    hold.reserve_values(100_000)
    assert machine.pressure.reserved_bytes == 80 * MB
    hold.reserve_body(2 * MB)
    hold.reserve_wide_text(2 * MB)
    assert machine.pressure.reserved_bytes == 130 * MB
    too_large = "This request body needs more memory than the gateway has (server.max_memory)."
    with pytest.raises(ProblemError, match=f"^{re.escape(too_large)}$"):
        hold.reserve_values(5_000_000)
    none_free = "The gateway has no memory for this body now. Try again shortly."
    with pytest.raises(ProblemError, match=f"^{re.escape(none_free)}$"):
        MemoryReservation(machine.pressure).reserve_values(2_000_000)
    hold.release()
    assert machine.pressure.reserved_bytes == 0


def test_clients_get_different_retry_times() -> None:
    machine = Machine()
    waits = set()
    for machine.chances in (0.0, 0.2, 0.5, 0.99):
        waits.add(machine.pressure.choose_retry_after())
    assert waits == {1.0, 2.0, 3.0, 5.0}


@pytest.mark.parametrize("level", [SHED_SHARES, SHED_REASONING, SHED_ALL])
def test_each_level_refuses_its_calls(level: int) -> None:
    machine = Machine()
    machine.look(files={SHED_SHARES: 700, SHED_REASONING: 800, SHED_ALL: 900}[level])
    for call_level in (SHED_SHARES, SHED_REASONING, SHED_ALL):
        if level >= call_level:
            message = r"^The gateway is overloaded\. Try again shortly\.$"
            with pytest.raises(ProblemError, match=message):
                machine.pressure.check(call_level)
        else:
            machine.pressure.check(call_level)


async def test_the_load_shedder_samples_periodically_and_measures_the_loops_lag() -> None:
    machine, now = Machine(), 0.0
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        if len(slept) > 6:
            raise asyncio.CancelledError
        now += seconds + 0.6

    with pytest.raises(asyncio.CancelledError):
        await machine.pressure.sample_periodically(sleep, lambda: now)
    assert set(slept) == {SAMPLE_SECONDS}
    assert machine.pressure.lag == pytest.approx(0.6)
    assert machine.pressure.level == SHED_REASONING
    machine, now = Machine(memory=900 * MB), 0.0
    slept.clear()
    with pytest.raises(asyncio.CancelledError):
        await machine.pressure.sample_periodically(sleep, lambda: now)
    assert machine.leaned == 2  # at the start, and in 6 samples of 0.85 s


def test_any_body_fits_if_the_system_does_not_report_its_memory() -> None:
    """If a system does not report its memory, `max_body` alone bounds a body."""
    assert LoadShedder(lambda: LoadSample(None, None, 10)).fits(10**18)
    assert LoadShedder(lambda: LoadSample(None, None, 10), max_memory=GB).fits(10**18)
    assert LoadShedder(lambda: LoadSample(100 * MB)).fits(10**18)
