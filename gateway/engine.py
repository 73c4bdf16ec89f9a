"""The story of one call: read, decide, look in the cache, call upstream, relay, account."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from decimal import Decimal

import msgspec

from gateway.cache.exact import Exact
from gateway.cache.recording import Recording, answer
from gateway.core import loss
from gateway.core.call import Call
from gateway.core.decision import Decision, Plan
from gateway.core.entry import Entry, Intent, State
from gateway.core.problem import Problem, ProblemError
from gateway.core.tally import Tally
from gateway.core.target import Account, Target
from gateway.core.usage import Usage
from gateway.dialects import OPERATIONS, Body, Dialect, Watch
from gateway.routing import features
from gateway.routing.decide import Router, decide
from gateway.telemetry.log import Log, where
from gateway.upstream.attempt import Begun, Job, Upstream, without

type Headers = list[tuple[bytes, bytes]]

_MOST_KEPT = 8_000_000
"""Bytes of a stream that are kept for the cache; a longer one is relayed and not stored."""
_FOLD_TYPE = b"application/json"
_STREAM_TYPE = b"text/event-stream; charset=utf-8"


class Reply(msgspec.Struct, kw_only=True):
    """What goes to the client: a status, headers, and a body that is whole or still coming."""

    status: int
    headers: Headers
    body: bytes = b""
    stream: AsyncGenerator[bytes] | None = None


class Engine:
    """Serves calls. Everything it needs is handed to it; it chooses nothing."""

    def __init__(
        self,
        *,
        router: Router,
        upstream: Upstream,
        cache: Exact | None,
        record: Callable[[Entry | Intent], None],
        log: Log,
        on_loss: str,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.router = router
        self._upstream = upstream
        self._cache = cache
        self._record = record
        self._log = log
        self._on_loss = on_loss
        self._clock = clock
        self._wall = wall
        self._later: set[asyncio.Task[None]] = set()

    async def serve(self, call: Call) -> Reply:
        """Answer a call. Never raises but for cancellation; every path leaves one final entry."""
        dialect = OPERATIONS[call.dialect, call.operation]
        tally = Tally(call, self.router.catalogue.version)
        try:
            return await self._serve(call, dialect, tally)
        except ProblemError as error:
            problem = error.problem
        except asyncio.CancelledError:
            self._close(tally, "aborted", 499, aborted_by="client")
            raise
        except Exception as error:  # noqa: BLE001 - the edge of the engine: a bug is an answer too
            problem = self._bug(error, tally)
        if not tally.closed:
            state: State = "failed" if tally.attempts else "refused"
            self._close(tally, state, dialect.status(problem), problem=problem.kind)
        return refusal(problem, dialect, call.id, self._told(tally))

    def explain(self, call: Call) -> tuple[Decision, Plan]:
        """The decision and plan of a call, without calling anybody. Raises ProblemError."""
        dialect = OPERATIONS[call.dialect, call.operation]
        prompt = dialect.read(call.body).prompt
        seen = features.read(prompt, call.dialect, call.key, call.steer)
        return decide(self.router, seen, dialect)

    async def settle(self) -> None:
        """Wait for what was begun after answers had been sent."""
        while self._later:
            await asyncio.wait(self._later)

    async def _serve(self, call: Call, dialect: Dialect, tally: Tally) -> Reply:
        body = dialect.read(call.body)
        tally.asked, tally.stream = body.prompt.model, body.prompt.stream
        seen = features.read(body.prompt, call.dialect, call.key, call.steer)
        decision, plan = decide(self.router, seen, dialect)
        tally.decision = decision
        stored = self._place(call, body, decision, plan)
        if stored is not None and self._cache is not None:
            tally.cache = "miss"
            if call.steer.cache != "refresh":
                found = await self._cache.find(stored)
                told = _tell(found, dialect, body) if found is not None else None
                if found is not None and told is not None:
                    return self._hit(call, body, found, told, plan, tally)
        job = Job(
            call=call,
            body=body,
            dialect=dialect,
            plan=plan,
            tier=decision.tier,
            began=asyncio.get_running_loop().time(),
            dialling=lambda target, account: self._dialling(tally, target, account),
            failing=tally.fail,
        )
        self._refuse_losses(call, body, dialect, plan)
        begun = await self._upstream.run(job)
        tally.losses, tally.upstream_id = begun.written.losses, begun.upstream_id
        tally.first_content = round(self._clock() - call.started, 6)
        if begun.watch is not None:
            stream = self._relay(job, begun, begun.watch, tally, stored)
            return Reply(status=200, headers=self._head(tally, _STREAM_TYPE), stream=stream)
        return self._whole(job, begun, tally, stored)

    def _dialling(self, tally: Tally, target: Target, account: Account) -> None:
        """Before each request: so that a crash leaves on record what it may be billed for."""
        tally.attempts += 1
        tally.target, tally.account = target, account
        call, decision = tally.call, tally.decision
        intent = Intent(
            id=call.id,
            at=self._wall(),
            key=call.key.name,
            tenant=call.key.tenant,
            tags=decision.tags if decision is not None else (),
            dialect=call.dialect,
            lab=decision.lab if decision is not None else "",
            tier=decision.tier if decision is not None else "",
            provider=target.provider.name,
            model=target.model,
            config=tally.config,
        )
        try:
            self._record(intent)
        except OSError as error:
            self._log("ledger", error=where(error))
            message = "The ledger cannot be written, so nothing is sent. Try again soon."
            raise ProblemError(Problem(kind="ledger", message=message, retry_after=5)) from None

    def _refuse_losses(self, call: Call, body: Body, dialect: Dialect, plan: Plan) -> None:
        if (call.steer.on_loss or self._on_loss) != "refuse":
            return
        lost = dialect.write(body, plan.targets[0]).losses
        if lost:
            reasons = "; ".join(f"{item.field} ({item.why})" for item in lost)
            message = f"Refused, because it would lose: {reasons}."
            raise ProblemError(Problem(kind="no_target", message=message, param=lost[0].field))

    def _place(self, call: Call, body: Body, decision: Decision, plan: Plan) -> str | None:
        """Where in the cache the answer of a call may be kept; None where it may not."""
        cache = self._cache
        if cache is None or cache.off(body.prompt, call.steer, no_cache=decision.no_cache):
            return None
        return cache.key(call, body.members, plan.targets[0])

    def _hit(
        self, call: Call, body: Body, found: Recording, told: bytes, plan: Plan, tally: Tally
    ) -> Reply:
        tally.cache = "hit"
        tally.usage, tally.served, tally.target = found.usage, found.served, plan.targets[0]
        tally.first_content = round(self._clock() - call.started, 6)
        self._close(tally, "cache_hit", 200)
        kind = _STREAM_TYPE if body.prompt.stream else _FOLD_TYPE
        head = self._head(tally, kind, cost=None if body.prompt.stream else Decimal(0))
        return Reply(status=200, headers=head, body=told)

    def _whole(self, job: Job, begun: Begun, tally: Tally, stored: str | None) -> Reply:
        glance, data = begun.glance, begun.whole
        if glance is None or data is None:
            raise RuntimeError("a whole answer is read before it is relayed")
        tally.usage, tally.served = glance.usage, glance.served
        self._keep(stored, job, begun, tally, data, glance.usage, glance.served, glance.finish)
        cost = tally.cost()
        self._close(tally, "settled" if glance.usage is not None else "estimated", 200)
        head = self._head(tally, _FOLD_TYPE, cost=cost)
        return Reply(status=200, headers=head, body=data)

    async def _relay(
        self, job: Job, begun: Begun, watch: Watch, tally: Tally, stored: str | None
    ) -> AsyncGenerator[bytes]:
        """The frames of a stream, as they came; an error where it breaks; the entry at its end."""
        dialect, by = job.dialect, "client"
        state: State = "aborted"
        kept: list[bytes] | None = None if stored is None else []
        size = 0
        problem: Problem | None = None
        data = b""
        try:
            async for data in _frames(begun, watch):
                yield data
                if kept is not None:
                    kept.append(data)
                    size += len(data)
                    if size > _MOST_KEPT:
                        kept = None
            state, by = "settled" if watch.usage is not None else "estimated", ""
            if kept is not None:
                whole = b"".join(kept)
                self._keep(
                    stored, job, begun, tally, whole, watch.usage, watch.served, watch.finish
                )
        except ProblemError as error:
            problem = error.problem
            timed = problem.kind == "upstream_timeout" and watch.problem is None
            by = "timeout" if timed else "upstream"
            if not _shows_problem(data, job):
                yield dialect.problem_frame(problem)
        except Exception as error:  # noqa: BLE001 - a bug is told in the stream too
            problem, by = self._bug(error, tally), ""
            yield dialect.problem_frame(problem)
        finally:
            tally.usage, tally.served = watch.usage, watch.served
            if by == "client" and watch.complete:  # it left with all of the answer
                state, by = "settled" if watch.usage is not None else "estimated", ""
            status = 499 if by == "client" else 200
            kind = problem.kind if problem is not None else None
            self._close(tally, state, status, problem=kind, aborted_by=by or None)
            await begun.answer.close()

    def _bug(self, error: Exception, tally: Tally) -> Problem:
        self._log("bug", call=tally.call.id, error=where(error))
        message = "The gateway failed on this call; its log has the reason under "
        return Problem(kind="internal", message=f"{message}{tally.call.id}.")

    def _keep(
        self,
        stored: str | None,
        job: Job,
        begun: Begun,
        tally: Tally,
        data: bytes,
        usage: Usage | None,
        served: str | None,
        finish: str | None,
    ) -> None:
        """Store a complete answer of the plan's first target after it was sent; nobody waits."""
        cache, decision = self._cache, tally.decision
        if stored is None or cache is None or decision is None:
            return
        recording = Recording(
            dialect=job.dialect.name,
            stream=job.body.prompt.stream,
            body=data,
            usage=usage,
            served=served,
            finish=finish,
            provider=begun.target.provider.name,
            account=begun.account.name,
            model=begun.target.model,
            tier=decision.tier,
            lab=decision.lab,
            created=self._wall(),
        )
        first = begun.target is job.plan.targets[0]
        if cache.keeps(recording, status=200, complete=True, first=first):
            self._run_later(cache.store(stored, recording))

    def _run_later(self, work: Coroutine[object, object, object]) -> None:
        async def run() -> None:
            await work

        task = asyncio.create_task(run())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def _close(
        self,
        tally: Tally,
        state: State,
        status: int,
        *,
        problem: str | None = None,
        aborted_by: str | None = None,
    ) -> None:
        """The one place where a call becomes its final entry."""
        entry = tally.close(state, status, self._clock(), problem=problem, aborted_by=aborted_by)
        try:
            self._record(entry)
        except OSError as error:
            self._log("ledger", call=entry.id, error=where(error))

    def _told(self, tally: Tally) -> Headers:
        """Headers that say what was decided, as far as it was."""
        head: Headers = []
        decision, target = tally.decision, tally.target
        if decision is not None:
            head += [
                (b"x-tiergate-decision", f"{decision.source}; {tally.call.id}".encode()),
                (b"x-tiergate-lab", decision.lab.encode()),
                (b"x-tiergate-tier", decision.tier.encode()),
            ]
        if target is not None:
            head += [
                (b"x-tiergate-model", _ascii(target.model)),
                (b"x-tiergate-provider", target.provider.name.encode()),
            ]
        if decision is not None:
            head += [
                (b"x-tiergate-cache", tally.cache.encode()),
                (b"x-tiergate-attempts", b"%d" % tally.attempts),
            ]
        if tally.losses:
            head.append((b"x-tiergate-dropped", _ascii(loss.names(tally.losses))))
        if tally.upstream_id is not None:
            head.append((b"x-upstream-request-id", _ascii(tally.upstream_id)))
        return head

    def _head(self, tally: Tally, kind: bytes, cost: Decimal | None = None) -> Headers:
        head = [(b"content-type", kind), *ids(tally.call.id), *self._told(tally)]
        if cost is not None:
            head.append((b"x-tiergate-cost", format(cost, "f").encode()))
        if kind is _STREAM_TYPE:
            head.append((b"cache-control", b"no-cache"))
        return head


def _tell(found: Recording, dialect: Dialect, body: Body) -> bytes | None:
    with_usage = dialect.asks_usage(body)
    return answer(found, dialect, stream=body.prompt.stream, with_usage=with_usage)


async def _frames(begun: Begun, watch: Watch) -> AsyncIterator[bytes]:
    """What may go on to the client, one item for each read of the provider's stream.

    Raises ProblemError where the answer breaks off, also at what looks like an end and is none.
    """
    first, rest = begun.first, begun.rest
    if watch.problem is not None:
        first, rest = without(begun.account, first), None
    if first:
        yield first
    if rest is not None:
        async for data in rest:
            ready = watch.feed(data)
            if watch.problem is not None:
                ready = without(begun.account, ready)
            if ready:
                yield ready
            if watch.problem is not None:
                raise ProblemError(watch.problem)
        last = watch.end()
        if last and watch.complete:  # else it is the half of a frame
            yield last
    if watch.problem is not None:
        raise ProblemError(watch.problem)
    if not watch.complete:
        message = "The provider ended the stream before the answer was complete."
        raise ProblemError(Problem(kind="upstream_truncated", message=message, spent="maybe"))


def _shows_problem(data: bytes, job: Job) -> bool:
    """Whether what the client was sent last holds the provider's own error."""
    watch = job.dialect.watch(job.body)
    watch.feed(data)
    return watch.problem is not None


def ids(call: str) -> Headers:
    """The id of a call, in both headers that the official SDKs read."""
    value = call.encode()
    return [(b"x-request-id", value), (b"request-id", value)]


def refusal(problem: Problem, dialect: Dialect, call: str, told: Headers) -> Reply:
    """A problem as the reply that a client of this dialect understands."""
    head = [(b"content-type", _FOLD_TYPE), *ids(call), *told]
    if problem.should_retry is False:
        head.append((b"x-should-retry", b"false"))
    if problem.retry_after is not None:
        seconds = min(max(1, math.ceil(problem.retry_after)), 60)
        head.append((b"retry-after", b"%d" % seconds))
    return Reply(status=dialect.status(problem), headers=head, body=dialect.problem(problem))


def _ascii(text: str) -> bytes:
    """A header value: what is not printable ASCII becomes a question mark."""
    return bytes(c if 32 <= c < 127 else 63 for c in text.encode("ascii", "replace"))
