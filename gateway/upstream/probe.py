"""One tiny request to a target, as a call would be sent there: whether it answers, and how soon."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from decimal import Decimal

import msgspec

from gateway.core import jsonio
from gateway.core.call import NO_STEER, OPEN, Call
from gateway.core.decision import Plan
from gateway.core.errors import Problem, ProblemError
from gateway.core.price import cost
from gateway.core.target import Catalogue, Provider, Target, Tier
from gateway.core.usage import Usage
from gateway.dialects import OPENAI_CHAT, TranslatableRequest
from gateway.routing import capabilities, features
from gateway.upstream.attempt import AttemptRunner
from gateway.upstream.client import ProviderClient, Transports
from gateway.upstream.provider_state import ProviderState
from gateway.upstream.retry import Candidate, candidates
from gateway.upstream.upstream_request import UpstreamRequest

OUTPUT = 64
"""Tokens that an answer may have: fewer are refused by some models that reason."""
INPUT = 40
"""Tokens that the request is taken to have, at most."""
_PATIENCE = 30.0
"""Seconds until the answer must be whole."""
_AT_ONCE = 4


class ProbeTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A target with an account of its provider, in a place of a lab."""

    lab: str
    tier: Tier
    candidate: Candidate

    @property
    def name(self) -> str:
        """The target; with its account where its provider has several."""
        target, account = self.candidate.target, self.candidate.account
        several = len(target.provider.accounts) > 1
        return f"{target.name} ({account.name})" if several else target.name

    def most(self, at: float) -> Decimal | None:
        """USD that the request may cost; None where the price is unknown."""
        price = self.candidate.target.price
        used = Usage(input=INPUT, output=OUTPUT)
        return cost(used, price.on(at) if price is not None else None)


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one request."""

    asking: ProbeTarget
    seconds: float
    """Until the answer was whole, or had failed."""
    usd: Decimal | None = None
    """What it cost; None where nobody knows."""
    problem: Problem | None = None


def every(catalogue: Catalogue) -> Iterator[ProbeTarget]:
    """Each target that is on, once, with each account of its provider.

    Those that the gateway itself starts are left out: it has not started them.
    """
    seen: set[tuple[str, str]] = set()
    for lab in catalogue.labs.values():
        for tier, row in lab.tiers.items():
            for target in row:
                own = target.provider.command or not target.provider.on
                if own or target.name in {name for name, _ in seen}:
                    continue
                plain = msgspec.structs.replace(target, effort=None, max_output=None, params={})
                _, _, door = _said(plain)
                plan = Plan(targets=(plain,), doors=(door,))
                for candidate in candidates(plan) if door else ():
                    seen.add((target.name, candidate.account.name))
                    yield ProbeTarget(lab=lab.name, tier=tier, candidate=candidate)


def _said(target: Target) -> tuple[bytes, TranslatableRequest, str]:
    """The request, and the dialect in which a target is asked it; empty where in none."""
    raw = jsonio.dumps(
        {
            "model": target.name,
            "max_tokens": OUTPUT,
            "messages": [{"role": "user", "content": "Say OK."}],
        }
    )
    body = OPENAI_CHAT.read(raw)
    asked = TranslatableRequest(OPENAI_CHAT, body)
    call = features.read(body.prompt, OPENAI_CHAT.name, OPEN, NO_STEER, asked)
    door, _ = capabilities.door(target, call, OPENAI_CHAT)
    return raw, asked, door


async def ask(
    asking: Iterable[ProbeTarget],
    *,
    transports: Transports | None = None,
    wall: Callable[[], float] = time.time,
    tick: Callable[[], None] = lambda: None,
) -> list[ProbeResult]:
    """Send each request, a few at a time, none of them twice; `tick` is called behind each."""
    client = ProviderClient(transports)
    known = ProviderState(jitter=lambda: 0.0)
    attempts = AttemptRunner(client, known.quota, known.health, ready=_ready, media=None, wall=wall)
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(asking: ProbeTarget) -> ProbeResult:
        async with turn:
            told = await _one(attempts, asking, wall())
        tick()
        return told

    try:
        return await asyncio.gather(*(one(some) for some in asking))
    finally:
        await client.close()


async def _ready(_: Provider) -> None: ...


async def _one(attempts: AttemptRunner, asking: ProbeTarget, now: float) -> ProbeResult:
    candidate, clock = asking.candidate, asyncio.get_running_loop().time
    raw, asked, _ = _said(candidate.target)
    began = clock()
    job = UpstreamRequest(
        call=Call(
            id="doctor", dialect=OPENAI_CHAT.name, operation="generate", body=raw,
            received_at=now, started=0.0,
        ),
        body=OPENAI_CHAT.read(raw),
        asked=asked,
        dialect=OPENAI_CHAT,
        plan=Plan(targets=(candidate.target,), doors=(candidate.door,)),
        tier=asking.tier,
        lab=asking.lab,
        began=began,
        ends=began + _PATIENCE,
        dialling=_silent,
        failing=lambda _: None,
    )  # fmt: skip
    try:
        begun = await attempts(job, candidate)
    except ProblemError as error:
        return ProbeResult(asking=asking, seconds=clock() - began, problem=error.problem)
    usage = begun.glance.usage if begun.glance is not None else None
    price = candidate.target.price
    usd = cost(usage, price.on(now) if price is not None else None)
    return ProbeResult(asking=asking, seconds=clock() - began, usd=usd)


def _silent(_: object, __: object) -> Awaitable[None] | None:
    return None
