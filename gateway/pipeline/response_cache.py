"""Answers that are kept for equal calls: where in the cache one stands, and how it gets there."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial

import msgspec

from gateway.cache.cached_response import CachedResponse, answer
from gateway.cache.coalescing import WHOLE
from gateway.cache.response_cache import ResponseStore
from gateway.cache.semantic.cache import ComparedQuestion, SemanticCache
from gateway.core.call import Call
from gateway.core.call_accounting import CallAccount
from gateway.core.decision import Decision, Plan
from gateway.core.usage import Usage
from gateway.dialects import Dialect, RequestBody
from gateway.pipeline.prefetch import Prefetch
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse


class ResponseCache:
    """The cache as calls use it; without one nothing is found and nothing is kept."""

    def __init__(
        self,
        cache: ResponseStore | None,
        wall: Callable[[], float],
        near: SemanticCache | None = None,
    ) -> None:
        """`wall` tells seconds since the epoch; `near` finds answers of near questions."""
        self._near = near
        self._cache = cache
        self.on = cache is not None
        self.find = _nothing if cache is None else cache.find
        """Find the answer at a place."""
        self._wall = wall
        self._later: set[asyncio.Task[None]] = set()

    def place(self, call: Call, body: RequestBody, decision: Decision, plan: Plan) -> str | None:
        """Where in the cache the answer of a call may be kept; None where it may not."""
        cache = self._cache
        if cache is None or not cache.policy.serves(call, body.prompt, decision):
            return None
        return cache.key(call, body.members, plan.targets[0])

    def asking(
        self, call: Call, body: RequestBody, first: Plan, place: str | None, ahead: Prefetch
    ) -> Callable[[Decision, Plan], None]:
        """What is asked of the cache goes with what is asked of the gate."""

        def ask(decision: Decision, plan: Plan) -> None:
            at = place if plan is first else self.place(call, body, decision, plan)
            if at is not None and not call.steer.anew:
                ahead.begin(at, partial(self.find, at))

        return ask

    async def nearest(
        self, near: SemanticCache, job: UpstreamRequest, tally: CallAccount
    ) -> tuple[UpstreamRequest, tuple[CachedResponse, bytes] | None]:
        """A call with its question, and the answer of a near one: its recording, and as told."""
        asked = near.asked(job.call, job.body, job.plan.targets[0])
        if asked is None:
            return job, None
        job = msgspec.structs.replace(job, question=asked)
        found = await near.find(asked)
        if found is None:
            return job, None
        recording = await self.find(found.place)
        said = tell(recording, job.dialect, job.body)
        if recording is None or said is None:
            self._run_later(near.lost(found))
            return job, None
        tally.near = found.near
        self._run_later(near.told(job.call, found))
        return job, (recording, said)

    def recording(
        self,
        job: UpstreamRequest,
        begun: UpstreamResponse,
        data: bytes,
        usage: Usage | None,
        served: str | None,
        finish: str | None,
    ) -> CachedResponse:
        """An answer as it may be kept."""
        return CachedResponse(
            dialect=job.dialect.name,
            stream=job.body.prompt.stream,
            with_usage=job.dialect.asks_usage(job.body),
            body=data,
            usage=usage,
            served=served,
            finish=finish,
            provider=begun.target.provider.name,
            account=begun.account.name,
            model=begun.target.model,
            tier=job.tier,
            lab=job.lab,
            created=self._wall(),
        )

    def keep(
        self, job: UpstreamRequest, begun: UpstreamResponse, place: str, recording: CachedResponse
    ) -> None:
        """Store a complete answer of the plan's first target; nobody waits for it."""
        cache = self._cache
        first = begun.target is job.plan.targets[0]
        if cache is None or not cache.keeps(recording, status=200, complete=True, first=first):
            return
        cache.store(place, recording)
        if self._near is not None and isinstance(job.question, ComparedQuestion):
            self._run_later(self._near.keep(job.question, place))

    def _run_later(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def settle(self) -> None:
        """Wait for all that is being stored."""
        while self._later:
            await asyncio.wait(self._later)
        if self._cache is not None:
            await self._cache.drain()


async def _nothing(_: str) -> CachedResponse | None:
    return None


def tell(found: CachedResponse | None, dialect: Dialect, body: RequestBody) -> bytes | None:
    """A kept answer as a call asks for it; None where it cannot be told so."""
    if found is None:
        return None
    with_usage = dialect.asks_usage(body)
    return answer(found, dialect, stream=body.prompt.stream, with_usage=with_usage)


def form(dialect: Dialect, body: RequestBody, decision: Decision) -> str:
    """How a client takes an answer: a flight gives streams as they were asked for alone.

    Who wants an answer finished that breaks off shares none with those that do not.
    """
    found = WHOLE
    if body.prompt.stream:
        found = "stream with usage" if dialect.asks_usage(body) else "stream"
    return found if decision.complete == "off" else f"{found}, {decision.complete}"
