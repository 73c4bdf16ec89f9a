"""Whole gateways by seed: no call is lost, paid twice, stuck or answered to another, whatever fails.

`make simulate` runs more seeds.
"""

import asyncio
import os
import subprocess
import sys

import pytest

from tests.simulation.event_loop import Deadlock, SimulatedLoop
from tests.simulation.simulation import simulate

_SEEDS = range(1, 13)
_SHORT_SEEDS = 2000
_REPLAYED_SEEDS = ("2", "s7", "s11", "s36")


@pytest.mark.parametrize("seed", _SEEDS)
def test_every_seed_keeps_what_must_hold(seed: int) -> None:
    """One row a call, the provider's bill, budgets that hold, and nothing that is stuck."""
    report = simulate(str(seed))
    assert not report.wrong, report.describe()


def test_thousands_of_short_seeds_keep_what_must_hold() -> None:
    """They run as `make simulate` runs them, so its command replays a seed exactly."""
    run = _run_program(str(_SHORT_SEEDS), "s1")
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{_SHORT_SEEDS} seeds, 0 failed" in run.stdout


@pytest.mark.parametrize("seed", _REPLAYED_SEEDS)
def test_a_seed_replays_to_the_same_end(seed: str) -> None:
    """The trace has the time and place of each callback, and all bytes of networks and disks."""
    first, second = simulate(seed), simulate(seed)
    assert first.trace == second.trace
    assert (first.steps, first.answers, first.faults) == (
        second.steps,
        second.answers,
        second.faults,
    )


def test_a_seed_replays_to_the_same_end_in_another_process() -> None:
    runs = {_run_program("1", seed, "trace").stdout.splitlines()[0] for seed in ("s7", "s7")}
    assert len(runs) == 1
    assert _run_program("1", "s8", "trace").stdout.splitlines()[0] not in runs


def _run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: text for name, text in os.environ.items() if name != "PYTHONHASHSEED"}
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        env=environ, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip


def test_time_jumps_to_the_next_timer() -> None:
    loop = SimulatedLoop("time")
    loop.run(asyncio.sleep(86_400))
    assert loop.time() == pytest.approx(86_400, abs=0.001)


def test_a_killed_machine_runs_nothing_any_more() -> None:
    loop, ended = SimulatedLoop("kill"), list[str]()

    async def wait(name: str) -> None:
        try:
            await asyncio.sleep(5)
        finally:
            ended.append(name)

    async def main() -> None:
        tasks = []
        for name in ("dead", "alive"):
            with loop.on(name):
                tasks.append(loop.create_task(wait(name)))
        await asyncio.sleep(1)
        loop.kill("dead")
        await asyncio.sleep(10)
        assert ended == ["alive"]
        assert [task.done() for task in tasks] == [False, True]

    loop.run(main())


def test_a_simulation_that_waits_for_nothing_ends() -> None:
    loop = SimulatedLoop("nothing")
    with pytest.raises(Deadlock):
        loop.run(asyncio.Event().wait())
