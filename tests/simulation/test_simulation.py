"""Whole gateways by seed: no call is lost or paid twice, and no budget is passed, whatever fails.

`make simulate` runs more seeds.
"""

import asyncio

import pytest

from tests.simulation.event_loop import Deadlock, SimulatedLoop
from tests.simulation.scenario import simulate

_SEEDS = range(1, 21)


@pytest.mark.parametrize("seed", _SEEDS)
def test_every_seed_keeps_what_must_hold(seed: int) -> None:
    """One row a call, the provider's bill, and budgets that hold."""
    report = simulate(str(seed))
    assert not report.wrong, report.describe()


def test_a_seed_replays_to_the_same_end() -> None:
    """The number of callbacks would differ if anything but the seed had decided something."""
    first, second = simulate("7"), simulate("7")
    assert (first.seconds, first.steps) == (second.seconds, second.steps)
    assert first.answers == second.answers


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
