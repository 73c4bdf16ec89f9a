"""Run applications at the same time, with their steps in an order that a seed chooses."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from itertools import count

from tests.applications.apps.agent import Agent
from tests.applications.apps.application import Application
from tests.applications.apps.batch import Batch
from tests.applications.apps.chat import Chat
from tests.applications.apps.claude import Claude
from tests.applications.apps.google import Google
from tests.applications.apps.rag import Rag
from tests.applications.apps.sampler import Sampler
from tests.applications.process import Gateway

KINDS: tuple[type[Application], ...] = (
    Rag, Chat, Sampler, Agent, Batch, Claude, Google,
)  # fmt: skip
_AT_ONCE = (1, 1, 2, 3)
"""Numbers of applications that step at the same time; the seed picks one."""
_names = count(1)


def mix(gateway: Gateway, seed: int, many: int = 12) -> None:
    """Run this many applications to their ends, at least one of each kind."""
    chance = random.Random(seed)
    kinds = [*KINDS, *(chance.choice(KINDS) for _ in range(many - len(KINDS)))]
    applications = [
        kind(
            f"{kind.__name__.lower()}{next(_names)}", gateway.url, chance.choice(gateway.keys),
            random.Random(f"{seed} {number}"), gateway.provider,
        )
        for number, kind in enumerate(kinds)
    ]  # fmt: skip
    gateway.applications += applications
    asyncio.run(_run(applications, chance))


async def _run(applications: Sequence[Application], chance: random.Random) -> None:
    running = {application: application.steps() for application in applications}
    while running:
        many = min(len(running), chance.choice(_AT_ONCE))
        chosen = chance.sample(list(running), many)
        goes_on = await asyncio.gather(
            *(_step(application, running[application]) for application in chosen)
        )
        for application, goes in zip(chosen, goes_on, strict=True):
            if not goes:
                del running[application]


async def _step(application: Application, steps: AsyncIterator[None]) -> bool:
    """Do one step; return False once there is no other."""
    try:
        await anext(steps)
    except StopAsyncIteration:
        return False
    except Exception as error:  # noqa: BLE001 - the others go on, and all is judged together
        application.error = error
        return False
    return True
