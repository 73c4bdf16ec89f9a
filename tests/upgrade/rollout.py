"""The trial of a rollout: gateways of two versions on one Redis and one PostgreSQL, under load.

Three gateways behind nginx run the version before. One after the other becomes this version: the
first replaces its workers, the others stop and start. No call may fail, and at the end the ledger
has one row for each call, as the provider billed it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from gateway.core.ledger_rows import FinalRow
from tests.e2e.kill_audit import books
from tests.e2e.kill_trial import KilledGateway
from tests.e2e.scale_fleet import BUDGET, KEYS, Fleet, link_program
from tests.e2e.scale_trial import CLIENTS, ScaleTrialResult, roll, trial
from tests.upgrade.data import leave_out_newer_store, stop_gateway
from tests.upgrade.former import THIS, Program

_LB_DELAY = 3
"""Seconds that a gateway still takes calls after it is told to stop: more than nginx keeps a connection."""


@dataclass
class Rollout:
    """What was seen beside the calls."""

    former: Program
    calls: ScaleTrialResult = field(default_factory=ScaleTrialResult)
    """The records of the calls through nginx."""
    statuses: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """Statuses by version and path of what gateways answered while both versions ran."""
    versions: Counter[int] = field(default_factory=Counter)
    """Final rows by their version."""


def run_rollout(
    folder: Path, former: Program, seconds: float, seed: str, clients: int = CLIENTS
) -> Rollout:
    """Run the trial for at least some seconds."""
    rollout = Rollout(former)
    upgrade = partial(_upgrade_each, rollout)
    rollout.calls = trial(
        folder, seconds, seed, upgrade, former.folder, lb_delay=_LB_DELAY, clients=clients
    )
    rollout.calls.wrong = leave_out_newer_store(rollout.calls.wrong)
    rows = [row for gateway in folder.glob("gateway*") for row in _final_rows(gateway)]
    rollout.versions.update(row.v for row in rows)
    return rollout


def _final_rows(gateway: Path) -> Iterator[FinalRow]:
    for rows in books(gateway / "data/ledger").finals.values():
        yield from rows


async def _upgrade_each(
    rollout: Rollout, place: Fleet, result: ScaleTrialResult, seconds: float
) -> None:
    pause = seconds / (len(place.gateways) + 1)
    await asyncio.sleep(pause)
    for number, gateway in enumerate(place.gateways):
        link_program(gateway, THIS.folder)
        if number == 0:
            await roll(gateway, result)
        else:
            await asyncio.to_thread(_restart, gateway, result)
        await asyncio.sleep(pause)
        await _ask_all(rollout, place, place.gateways[: number + 1])


def _restart(gateway: KilledGateway, result: ScaleTrialResult) -> None:
    """Stop a gateway and start what is installed now."""
    result.wrong += stop_gateway(gateway)
    gateway.start()


async def _ask_all(rollout: Rollout, place: Fleet, upgraded: Sequence[KilledGateway]) -> None:
    """Ask each gateway for what its store and its metrics tell."""
    headers = {"authorization": f"Bearer {KEYS['dan']}"}
    for gateway in place.gateways:
        name = THIS.name if gateway in upgraded else rollout.former.name
        url = f"http://127.0.0.1:{gateway.port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
            for path in ("/v1/usage", "/v1/models", "/ready"):
                answer = await client.get(path, headers=headers)
                rollout.statuses[name, path, answer.status_code] += 1


def table(rollout: Rollout) -> list[tuple[str, str]]:
    """Return the figures of a trial."""
    calls = rollout.calls
    return [
        ("calls through nginx", f"{len(calls.outcomes):,}"),
        ("answered whole", f"{sum(outcome.whole for outcome in calls.outcomes.values()):,}"),
        ("calls that failed", f"{len(calls.hurt)}"),
        ("seconds to replace the workers of one", f"{calls.rolled:.1f}"),
        ("times that Redis was too late", f"{calls.lost}"),
        ("ann was billed", f"{calls.spent} of {BUDGET}"),
        *((f"rows of version {v}", f"{count:,}") for v, count in sorted(rollout.versions.items())),
        *(
            (f"{path} of {name}: {status}", f"{count}")
            for (name, path, status), count in sorted(rollout.statuses.items())
        ),
    ]
