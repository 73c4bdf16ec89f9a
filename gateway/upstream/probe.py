"""Send one tiny request to a target, as a call would, to see if it answers and how soon."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal

import msgspec

from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, OPEN_KEY, Call
from gateway.core.call_accounting import AttemptAccount, CallAccount
from gateway.core.decision import Plan
from gateway.core.errors import Problem, ProblemError
from gateway.core.price import compute_cost
from gateway.core.target import Account, Catalogue, Provider, Target, Tier
from gateway.core.usage import Usage
from gateway.dialects import OPENAI_CHAT, TranslatableRequest
from gateway.routing import capabilities, features
from gateway.upstream.attempt import AttemptRunner
from gateway.upstream.client import ProviderClient
from gateway.upstream.connection_pools import Transports
from gateway.upstream.credentials.cloud_credentials import CloudCredentials
from gateway.upstream.provider_state import ProviderState
from gateway.upstream.retry import Candidate, list_candidates
from gateway.upstream.upstream_request import UpstreamRequest

MAX_OUTPUT_TOKENS = 64
"""Tokens that an answer may have; some models that reason refuse fewer."""
MAX_INPUT_TOKENS = 40
"""Tokens that the request is assumed to have, at most."""
_TIMEOUT_SECONDS = 30.0
"""Seconds until the answer must be whole."""
_MAX_CONCURRENT_PROBES = 4


class ProbeAccount(CallAccount):
    """The account of a probe, which writes no row to the ledger."""

    async def attempt_started(
        self, target: Target, account: Account, *, is_parallel: bool
    ) -> AttemptAccount:
        """Begin an attempt."""
        return self.start_attempt(target, account, 0.0, 0.0, is_parallel=is_parallel)

    def attempt_failed(self, attempt: AttemptAccount, problem: Problem) -> None:
        """Do nothing: the result of the probe has the problem."""

    def mark_ended(self, attempt: AttemptAccount) -> None:
        """Do nothing: a probe asks no second target."""


class ProbeTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A target with an account of its provider, in a tier of a lab."""

    lab: str
    tier: Tier
    candidate: Candidate

    @property
    def name(self) -> str:
        """The name of the target, with its account if its provider has several."""
        target, account = self.candidate.target, self.candidate.account
        has_several_accounts = len(target.provider.accounts) > 1
        return f"{target.name} ({account.name})" if has_several_accounts else target.name

    def compute_max_cost(self, timestamp: float) -> Decimal | None:
        """Return the USD that the request may cost at most; None if the price is unknown."""
        price = self.candidate.target.price
        max_usage = Usage(input=MAX_INPUT_TOKENS, output=MAX_OUTPUT_TOKENS)
        return compute_cost(
            max_usage, price.find_in_force(timestamp) if price is not None else None
        )


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one probe."""

    probe_target: ProbeTarget
    seconds: float
    """Seconds until the answer was whole, or had failed."""
    usd: Decimal | None = None
    """The cost in USD; None if it is unknown."""
    problem: Problem | None = None


def list_targets(catalogue: Catalogue) -> Iterator[ProbeTarget]:
    """Yield each target that is on, once, with each account of its provider.

    Leave out targets that the gateway itself starts: they are not running.
    """
    listed_accounts: set[tuple[str, str]] = set()
    for lab in catalogue.labs.values():
        for tier, targets in lab.tiers.items():
            for target in targets:
                is_left_out = target.provider.command or not target.provider.enabled
                if is_left_out or target.name in {name for name, _ in listed_accounts}:
                    continue
                plain_target = msgspec.structs.replace(
                    target, effort=None, max_output=None, params={}
                )
                _, _, dialect_name = _build_request(plain_target)
                plan = Plan(targets=(plain_target,), dialects=(dialect_name,))
                for candidate in list_candidates(plan) if dialect_name else ():
                    listed_accounts.add((target.name, candidate.account.name))
                    yield ProbeTarget(lab=lab.name, tier=tier, candidate=candidate)


def _build_request(target: Target) -> tuple[bytes, TranslatableRequest, str]:
    """Return the request, and the dialect in which to ask a target; empty if there is none."""
    raw = jsonio.dumps(
        {
            "model": target.name,
            "max_tokens": MAX_OUTPUT_TOKENS,
            "messages": [{"role": "user", "content": "Say OK."}],
        }
    )
    body = OPENAI_CHAT.read(raw)
    translatable = TranslatableRequest(OPENAI_CHAT, body)
    call_features = features.read(body.prompt, OPENAI_CHAT.name, OPEN_KEY, NO_OPTIONS, translatable)
    dialect_name, _ = capabilities.choose_dialect(target, call_features, OPENAI_CHAT)
    return raw, translatable, dialect_name


async def run_probes(
    probe_targets: Iterable[ProbeTarget],
    *,
    transports: Transports | None = None,
    credentials: CloudCredentials | None = None,
    wall: Callable[[], float] = time.time,
    tick: Callable[[], None] = lambda: None,
) -> list[ProbeResult]:
    """Send each request once, a few at a time; call `tick` after each."""
    client = ProviderClient(transports, credentials=credentials)
    attempt_runner = build_probe_runner(client, wall)
    slots = asyncio.Semaphore(_MAX_CONCURRENT_PROBES)

    async def run_one(probe_target: ProbeTarget) -> ProbeResult:
        async with slots:
            result = await _run_probe(attempt_runner, probe_target, wall())
        tick()
        return result

    try:
        return await asyncio.gather(*(run_one(probe_target) for probe_target in probe_targets))
    finally:
        await client.close()
        if credentials is not None:
            await credentials.close()


def build_probe_runner(client: ProviderClient, wall: Callable[[], float]) -> AttemptRunner:
    """Return what sends probes: nothing that it learns of a provider goes on to later calls."""
    provider_state = ProviderState(jitter=lambda: 0.0)
    return AttemptRunner(
        client,
        provider_state.quota,
        provider_state.health,
        provider_state.balancer.loads,
        wait_until_ready=_wait_until_ready,
        media_fetcher=None,
        wall=wall,
    )


async def _wait_until_ready(_: Provider) -> None:
    """Do nothing: no probe goes to an engine that the gateway starts."""


async def _run_probe(
    attempt_runner: AttemptRunner, probe_target: ProbeTarget, now: float
) -> ProbeResult:
    candidate, clock = probe_target.candidate, asyncio.get_running_loop().time
    raw, translatable, _ = _build_request(candidate.target)
    started_at = clock()
    call = Call(
        id="doctor", dialect=OPENAI_CHAT.name, operation="generate", body=raw,
        received_at=now, started_at=0.0,
    )  # fmt: skip
    request = UpstreamRequest(
        call=call,
        call_account=ProbeAccount(call, ""),
        body=OPENAI_CHAT.read(raw),
        translatable=translatable,
        dialect=OPENAI_CHAT,
        plan=Plan(targets=(candidate.target,), dialects=(candidate.dialect_name,)),
        tier=probe_target.tier,
        lab=probe_target.lab,
        started_at=started_at,
        client_deadline=started_at + _TIMEOUT_SECONDS,
    )
    try:
        response = await attempt_runner(request, candidate)
    except ProblemError as error:
        return ProbeResult(
            probe_target=probe_target, seconds=clock() - started_at, problem=error.problem
        )
    usage = response.summary.usage if response.summary is not None else None
    price = candidate.target.price
    usd = compute_cost(usage, price.find_in_force(now) if price is not None else None)
    return ProbeResult(probe_target=probe_target, seconds=clock() - started_at, usd=usd)
