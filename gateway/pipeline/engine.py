"""The story of one call: read, decide, look in the cache, call upstream, relay, account."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import partial

from gateway.cache.cached_response import CachedResponse
from gateway.cache.coalescing import Flight, Flights, Subscriber
from gateway.cache.response_cache import ResponseStore
from gateway.cache.response_store import ResponseChain
from gateway.cache.semantic.cache import SemanticCache
from gateway.core.call import Call
from gateway.core.call_accounting import CallAccount, CallTotals, micros
from gateway.core.decision import Decision, Plan
from gateway.core.errors import Problem, ProblemError
from gateway.core.ledger_rows import FinalRow, State
from gateway.core.loss import Loss
from gateway.core.target import Target, patience
from gateway.dialects import (
    OPERATIONS,
    Dialect,
    ResponseSummary,
    StreamInspector,
    TranslatableRequest,
)
from gateway.limits.cost_bounds import UsageBound
from gateway.limits.limiter import Limiter
from gateway.limits.load_shedding import REASONING, LoadShedder
from gateway.pipeline.accounting import CallRecorder, Extending
from gateway.pipeline.context import ContextLoader, seated
from gateway.pipeline.conversation_memory import ConversationMemory, holder
from gateway.pipeline.prefetch import Prefetch
from gateway.pipeline.response import (
    ESTIMATED,
    FOLD_TYPE,
    NOBODY,
    STREAM_TYPE,
    KeepaliveClient,
    Response,
    head,
    refusal,
    told,
    trailer,
    uncounted,
)  # fmt: skip
from gateway.pipeline.response_cache import ResponseCache, form, tell
from gateway.routing import explain, features
from gateway.routing.decision_cache import DecisionCache
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.features import Features
from gateway.routing.router import Router, decide
from gateway.telemetry.log import Log, where
from gateway.upstream import continuation
from gateway.upstream.attempt import CUT
from gateway.upstream.failover import Upstream
from gateway.upstream.relay import DirectRelay, frames, shows_problem, watching
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse, span
from gateway.upstream.write_batch import TurnBarrier, nobody

type Seat = Subscriber[UpstreamResponse]

_LARGE = 1_000_000
"""Bytes of a body from which on the event loop does not wait for its reading."""


class Engine:
    """Serves calls. Everything it needs is handed to it; it chooses nothing."""

    def __init__(  # noqa: PLR0913 - one argument for each room
        self,
        *,
        router: Router,
        upstream: Upstream,
        cache: ResponseStore | None,
        near: SemanticCache | None = None,
        books: CallRecorder,
        log: Log,
        on_loss: str,
        past: ConversationMemory | None = None,
        gather: ContextLoader | None = None,
        kept: Callable[[Call, Response], Response] | None = None,
        gate: Limiter | None = None,
        pressure: LoadShedder | None = None,
        turn: Callable[[], TurnBarrier | None] = nobody,
        meanwhile: Callable[[Callable[[], object]], object] = id,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.router, self.near = router, near
        self._named, self._upstream = DecisionCache(router), upstream
        self._shelf = ResponseCache(cache, wall, near)
        self._books, self._kept = books, kept
        self._gate, self._turn = gate, turn
        self._pressure, self._meanwhile = pressure, meanwhile
        self._log, self._on_loss = log, on_loss
        self.past, self._gather = past or ConversationMemory(), gather or ContextLoader()
        self._clock, self._large = clock, asyncio.Lock()
        self._flights: Flights[UpstreamResponse] = Flights()
        self._seats: dict[str, Seat] = {}
        """By call: the flights that clients are on."""
        self._why: dict[str, str] = {}
        """By call: who ends it, where that is not its client."""

    async def serve(self, call: Call, waiting: KeepaliveClient = NOBODY) -> Response:
        """Answer a call. Never raises but for cancellation; every path leaves one final entry.

        `waiting` is armed once it is known that a stream will be the answer.
        """
        dialect = OPERATIONS[call.dialect, call.operation]
        tally, ahead = self._books.open(call, self.router.catalogue.version), Prefetch()
        try:
            reply = await self._served(call, dialect, tally, waiting, ahead)
            return reply if self._kept is None else self._kept(call, reply)
        except ProblemError as error:
            problem = error.problem
            if dialect.counted is not None and uncounted(problem, dialect, tally):
                return await self._estimated(dialect.counted, tally)
        except asyncio.CancelledError:
            if not tally.closed:
                who, status, kind = self._parted(call, 200 if waiting.begun else 503)
                self._books.close(tally, "aborted", status, problem=kind, aborted_by=who)
            raise
        except Exception as error:  # noqa: BLE001 - the edge of the engine: a bug is an answer too
            problem = self._bug(error, tally)
        finally:
            ahead.drop()
        if not tally.closed:
            state: State = "failed" if tally.attempts or tally.cache == "hit" else "refused"
            status = 200 if waiting.begun else dialect.status(problem)
            self._books.close(tally, state, status, problem=problem.kind)
            await self._books.kept()
        return refusal(problem, dialect, call.id, told(tally))

    def leave(self, call: Call, cancel: Callable[[], object], by: str = "client") -> None:
        """A call's client has left: `cancel` its task, once that does nothing for others.

        `by` is who ends it, for its row.
        """
        if by != "client":
            self._why[call.id] = by
        seat = self._seats.get(call.id)
        if seat is None:
            cancel()
        else:
            seat.gone(cancel)

    def forget(self, call: Call) -> None:
        """Nothing more becomes of a call that was left."""
        self._why.pop(call.id, None)

    async def explain(
        self, call: Call, chain: ResponseChain | None = None
    ) -> tuple[Decision, Plan, list[tuple[Loss, ...]]]:
        """The decision and plan of a call and what each target would not get; asks no provider.

        `chain` is the request with what came before it. Raises ProblemError.
        """
        dialect = OPERATIONS[call.dialect, call.operation]
        body = dialect.asked(call) if chain is None else chain.body
        asked = TranslatableRequest(
            dialect, body if chain is None else chain.asked, self.router.fetches
        )
        seen = features.read(body.prompt, call.dialect, call.key, call.steer, asked, call.hints)
        evidence = await self._gather.evidence(self.router, call, seen, asks=False)
        decision, plan = decide(self.router, seen, dialect, evidence)
        plan = self._upstream.standing(plan, decision.tier)
        return decision, plan, explain.losses(dialect, body, asked, plan)

    async def settle(self) -> None:
        """Wait for what was begun after answers had been sent."""
        await self._shelf.settle()
        await self._gather.drain()
        if self._gate is not None:
            await self._gate.drain()

    async def _served(
        self,
        call: Call,
        dialect: Dialect,
        tally: CallAccount,
        waiting: KeepaliveClient,
        ahead: Prefetch,
    ) -> Response:
        large = len(call.body) > _LARGE
        said = await self._apart(partial(dialect.asked, call)) if large else dialect.asked(call)
        router, gather, books = self.router, self._gather, self._books
        chain = await self.past.read(call, dialect, said) if self.past.reads(dialect) else None
        body, means = (said, said) if chain is None else (chain.body, chain.asked)
        prompt, asked = body.prompt, TranslatableRequest(dialect, means, router.fetches)
        tally.read(prompt, features.tokens(prompt))
        seen = Features(prompt, call.dialect, call.key, call.steer, asked, call.hints)
        gate = self._gate if self._gate is not None and self._gate.bounds(call.key) else None
        if (turn := self._turn()) is not None:
            await turn  # what has come in this turn is read: then all of it is decided
        evidence = gather.plain(router, call, seen)
        if evidence is None:
            evidence = await gather.evidence(router, call, seen)
        tally.basis = case = DecisionRecorder(router, seen, dialect, evidence)
        decision, plan = case.decide(self._named)
        books.decided(tally, decision)
        self._meanwhile(case.ready)
        gather.begin(ahead, call, seen, decision, plan)
        if self._pressure is not None and self._pressure.level and decision.tier == "reasoning":
            self._pressure.check(REASONING)
        shelf, stored = self._shelf, None
        if shelf.on:
            place = partial(shelf.place, call, body, decision, plan)
            stored = await self._apart(place) if large else place()
        extending: Extending | None = None
        if gate is not None:
            want = UsageBound(call=call, prompt=prompt, tokens=tally.prompt)
            self.past.begin(ahead, call, dialect, body)
            first, decided = plan, decision
            asking = shelf.asking(call, body, plan, stored, ahead)
            decision, plan = await gate.admit(
                want, decision, plan, case.under, asking=asking, late=body is not said
            )
            extending = partial(gate.extend, want, decision)
            dialling = partial(books.extended, extending, tally)
            if plan is not first:
                stored = shelf.place(call, body, decision, plan)
            if decision is not decided:
                case.take(decision)
                books.decided(tally, decision)
        else:
            dialling = partial(books.dialling, tally)
        gather.decided(call, seen, evidence, decision, plan, router)
        if (call.steer.on_loss or self._on_loss) == "refuse":
            explain.refuse(dialect, body, asked, plan)
        began, end = span(call, self._clock(), stream=prompt.stream)
        job = UpstreamRequest(
            call=call, body=body, asked=asked, dialect=dialect, plan=plan, lab=decision.lab,
            tier=patience(decision.tier, dialect.operation), began=began, ends=end,
            dialling=dialling, failing=partial(books.failing, tally), extending=extending,
            aside=tally.aside, own=None if chain is None else chain.own,
            seat=(None if chain is None else holder(chain)) or seated(decision, plan),
        )  # fmt: skip
        if prompt.stream:
            waiting.arm()
        if stored is None:
            return await self._call(job, tally, None, ahead)
        tally.cache = "miss"
        return await self._shared(job, decision, tally, stored, ahead)

    async def _shared(
        self,
        job: UpstreamRequest,
        decision: Decision,
        tally: CallAccount,
        stored: str,
        ahead: Prefetch,
    ) -> Response:
        """The answer of a call that may share one: what is kept, one that comes, or its own."""
        call, dialect, body, first = job.call, job.dialect, job.body, job.plan.targets[0]
        kind = form(dialect, body, decision)
        if not call.steer.anew:
            found = await ahead.take(stored, partial(self._shelf.find, stored))
            if found is not None and (words := tell(found, dialect, body)) is not None:
                await self.past.again(job, found, words)
                return await self._hit(job, found, words, first, tally)
            if self.near is not None:
                job, near = await self._shelf.nearest(self.near, job, tally)
                if near is not None:
                    await self.past.again(job, *near)
                    return await self._hit(job, *near, first, tally)
            if (seat := self._flights.join(stored, kind)) is not None:
                reply = await self._aboard(call, seat, self._share(job, tally, seat))
                if reply is not None:
                    return reply
        seat = self._flights.start(stored, kind)
        return await self._aboard(call, seat, self._call(job, tally, seat, ahead))

    async def _apart[**P, T](self, work: Callable[P, T], *told: P.args, **more: P.kwargs) -> T:
        """What takes long with a large body, in a thread, one at a time; other calls go on."""
        async with self._large:
            return await asyncio.to_thread(work, *told, **more)

    async def _aboard[T: Response | None](
        self, call: Call, seat: Seat, work: Coroutine[object, object, T]
    ) -> T:
        """Do a call's work on a flight. A stream keeps its seat until it ends."""
        self._seats[call.id] = seat
        streamed = False
        try:
            reply = await work
            streamed = reply is not None and reply.stream is not None
        finally:
            if not streamed:
                self._seats.pop(call.id, None)
                await seat.close()
        return reply

    async def _call(
        self, job: UpstreamRequest, tally: CallAccount, seat: Seat | None, ahead: Prefetch
    ) -> Response:
        """The answer of a provider; with a seat, it is for all that are on the flight."""
        decision = tally.decision
        how = decision.complete if decision is not None else "off"
        begun: UpstreamResponse | None = None
        try:
            if self.past.recalls(job) or self._gather.recalls(job):
                job = await self._recalled(job, ahead)
            if how == "off":
                begun = await self._upstream.run(job)
            else:
                begun = await continuation.begin(self._upstream, job)
            if how == "hold" and begun.watch is not None:
                await continuation.hold(self._upstream, job, begun)
            if (glance := begun.glance) is not None:
                _count(tally, glance)
            if self.past.keeps(job, begun):
                await self.past.keep(job, begun)
        except BaseException as error:
            if begun is not None and begun.watch is not None:
                tally.usage, tally.heard = begun.watch.usage, begun.watch.heard
            if seat is not None:
                self._flights.drop(seat.flight)
                seat.flight.fail(error)
            raise
        tally.losses, tally.upstream_id = begun.written.losses, begun.upstream_id
        tally.first_content = micros(self._clock() - job.call.started)
        watch = begun.watch
        if watch is None:
            return await self._whole(job, begun, tally, seat)
        self._gather.begun(job.call, begun.target, begun.account)
        direct = self._direct(job, begun, watch, seat) if how == "off" else None
        source = frames(begun, watch, direct) if how == "off" else continuation.held(begun)
        if seat is not None:
            flight = seat.flight
            flight.begin(
                begun,
                source,
                ended=lambda: self._landed(job, begun, flight),
                close=begun.answer.close,
                joined=None if direct is None else direct.stop,
            )
            source = seat.frames()
        stream = self._relay(job, begun, tally, source, seat)
        return Response(status=200, headers=head(tally, STREAM_TYPE), stream=stream, direct=direct)

    def _direct(
        self,
        job: UpstreamRequest,
        begun: UpstreamResponse,
        watch: StreamInspector,
        seat: Seat | None,
    ) -> DirectRelay | None:
        """A way past all who wait for a stream, where one client reads it and nobody follows it."""
        if self.past.follow(job, begun, first=True) is not None:
            return None
        if seat is None:
            return DirectRelay(watch)
        return None if seat.others else DirectRelay(watch, seat.passed)

    async def _recalled(self, job: UpstreamRequest, ahead: Prefetch) -> UpstreamRequest:
        """A call with what is known of those before it."""
        if self.past.recalls(job):
            job = await self.past.recall(job, ahead)
        if (sitting := self._gather.recalls(job)) is not None:
            job = await self._gather.recall(job, sitting, ahead)
        return job

    async def _share(self, job: UpstreamRequest, tally: CallAccount, seat: Seat) -> Response | None:
        """The answer of a flight that another call began; None where it cannot be told so."""
        tally.cache = "hit"
        begun = await seat.flight.started()
        tally.losses, tally.upstream_id = begun.written.losses, begun.upstream_id
        tally.target = begun.target
        if begun.watch is not None and job.body.prompt.stream:
            tally.first_content = micros(self._clock() - job.call.started)
            stream = self._relay(job, begun, tally, seat.frames(), seat)
            return Response(status=200, headers=head(tally, STREAM_TYPE), stream=stream)
        async for _ in seat.frames():
            pass
        recording = seat.flight.recording
        said = tell(recording, job.dialect, job.body)
        if recording is None or said is None:
            tally.cache, tally.target, tally.upstream_id = "miss", None, None
            return None
        await self.past.again(job, recording, said)
        return await self._hit(job, recording, said, begun.target, tally)

    async def _estimated(self, counted: Callable[[int], bytes], tally: CallAccount) -> Response:
        """A count of tokens that no target gives: from the length of what is said."""
        self._books.close(tally, "estimated", 200)
        await self._books.kept()
        told = [*head(tally, FOLD_TYPE), ESTIMATED]
        return Response(status=200, headers=told, body=counted(tally.prompt))

    async def _hit(
        self,
        job: UpstreamRequest,
        found: CachedResponse,
        said: bytes,
        target: Target,
        tally: CallAccount,
    ) -> Response:
        streamed = job.body.prompt.stream
        tally.cache = "hit"
        tally.usage, tally.served, tally.target = found.usage, found.served, target
        tally.first_content = micros(self._clock() - job.call.started)
        if not streamed:
            paid = self._books.end(tally, "cache_hit")
            await self._books.kept()
            return Response(status=200, headers=head(tally, FOLD_TYPE, paid), body=said)
        entry = self._books.close(tally, "cache_hit", 200)
        await self._books.kept()
        if job.call.steer.stream_cost and job.dialect.comments:
            said += trailer(entry)
        return Response(status=200, headers=head(tally, STREAM_TYPE, entry), body=said)

    async def _whole(
        self, job: UpstreamRequest, begun: UpstreamResponse, tally: CallAccount, seat: Seat | None
    ) -> Response:
        glance, data = begun.glance, begun.whole
        if glance is None or data is None:
            raise RuntimeError("a whole answer is read before it is relayed")
        gone = seat is not None and seat.left
        paid: FinalRow | CallTotals
        if seat is not None:
            self._land(job, begun, glance, data, seat.flight)
        if gone:
            who, status, kind = self._parted(job.call, 503)
            paid = self._books.close(tally, "aborted", status, problem=kind, aborted_by=who)
        elif glance.complete:
            paid = self._books.end(tally)
        elif glance.pending:
            paid = self._books.close(tally, "estimated", 200)
        else:
            who, status, kind = self._parted(job.call, 200, "upstream", CUT)
            paid = self._books.close(tally, "aborted", status, problem=kind, aborted_by=who)
        if self._books.waits:
            await self._books.kept()
        return Response(status=200, headers=head(tally, FOLD_TYPE, paid), body=data)

    async def _relay(
        self,
        job: UpstreamRequest,
        begun: UpstreamResponse,
        tally: CallAccount,
        source: AsyncGenerator[bytes],
        seat: Seat | None,
    ) -> AsyncGenerator[bytes]:
        """The frames of a stream, as they came; an error where it breaks; the entry at its end."""
        dialect, by = job.dialect, "client"
        problem: Problem | None = None
        entry: FinalRow | None = None
        data = b""
        take = self.past.follow(job, begun, first=seat is None or seat.first)

        def close() -> FinalRow:
            watch = watching(begun)
            tally.usage, tally.served = watch.usage, watch.served
            tally.response_id = watch.response_id
            tally.heard, tally.complete = watch.heard, watch.complete
            done: State = "cache_hit" if tally.cache == "hit" else "settled"
            state: State = "aborted" if by or problem is not None else done
            who, status, kind = self._parted(job.call, 200, by, problem)
            return self._books.close(tally, state, status, problem=kind, aborted_by=who or None)

        try:
            try:
                async for data in source:
                    if take is not None:
                        await take(data)
                    yield data
                by = ""
            except ProblemError as error:
                problem = error.problem
                timed = problem.kind == "upstream_timeout" and watching(begun).problem is None
                by = "timeout" if timed else "upstream"
                if not shows_problem(data, dialect, job.body):
                    yield dialect.problem_frame(problem)
            except Exception as error:  # noqa: BLE001 - a bug is told in the stream too
                problem, by = self._bug(error, tally), ""
                yield dialect.problem_frame(problem)
            entry = close() if seat is None else seat.end(close)
            await self._books.kept()
            if entry is not None and job.call.steer.stream_cost and dialect.comments:
                yield trailer(entry)
        finally:
            if not tally.closed:
                all_of_it = watching(begun).complete and not begun.ahead
                if by == "client" and all_of_it and (seat is None or seat.done):
                    by = ""  # it left with all of the answer
                _ = close() if seat is None else seat.end(close)
            if seat is not None:
                self._seats.pop(job.call.id, None)
                await seat.close()
            else:
                await begun.answer.close()

    def _parted(
        self, call: Call, status: int, by: str = "client", problem: Problem | None = None
    ) -> tuple[str, int, str | None]:
        """Who has ended a call, the status of its row, and what its client was told.

        One that was cancelled was left by its client, unless somebody else has said so.
        """
        if by != "client":
            return by, status, problem.kind if problem is not None else None
        who = self._why.get(call.id, by)
        return (who, 499, None) if who.startswith("client") else (who, status, "draining")

    def _bug(self, error: Exception, tally: CallAccount) -> Problem:
        self._log("bug", call=tally.call.id, error=where(error))
        message = "The gateway failed on this call; its log has the reason under "
        return Problem(kind="internal", message=f"{message}{tally.call.id}.")

    def _land(
        self,
        job: UpstreamRequest,
        begun: UpstreamResponse,
        glance: ResponseSummary,
        data: bytes,
        flight: Flight[UpstreamResponse],
    ) -> None:
        """A whole answer is here: those on its flight share it, unless it is incomplete."""
        if not glance.complete:
            flight.land(begun, None)
            self._flights.drop(flight)
            return
        said = glance.usage, glance.served, glance.finish
        recording = self._shelf.recording(job, begun, data, *said)
        flight.land(begun, recording)
        self._keep(job, begun, flight, recording)

    def _landed(
        self, job: UpstreamRequest, begun: UpstreamResponse, flight: Flight[UpstreamResponse]
    ) -> None:
        """A streamed flight is over: keep its answer, and close an account whose client left."""
        watch, body = begun.watch, flight.body
        if watch is not None and watch.complete and flight.failure is None and body is not None:
            said = watch.usage, watch.served, watch.finish
            recording = self._shelf.recording(job, begun, body, *said)
            flight.recording = recording
            self._keep(job, begun, flight, recording)
        else:
            self._flights.drop(flight)
        if flight.owed is not None:
            flight.owed()

    def _keep(
        self,
        job: UpstreamRequest,
        begun: UpstreamResponse,
        flight: Flight[UpstreamResponse],
        recording: CachedResponse,
    ) -> None:
        """Store an answer: an equal call finds it there from now on."""
        self._shelf.keep(job, begun, flight.key, recording)
        self._flights.drop(flight)


def _count(tally: CallAccount, glance: ResponseSummary) -> None:
    """Take what a whole answer used; of one that the provider still works on, that is unknown."""
    tally.usage, tally.served = glance.usage, glance.served
    tally.response_id = glance.response_id
    if not glance.pending:
        tally.heard, tally.complete = glance.heard, True
