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
from gateway.core.call_accounting import CallAccount, CallTotals, round_micros
from gateway.core.decision import Decision, Plan
from gateway.core.errors import Problem, ProblemError
from gateway.core.ledger_rows import CallState, FinalRow
from gateway.core.loss import Loss
from gateway.core.target import Target, name_timers
from gateway.dialects import (
    OPERATIONS,
    Dialect,
    ResponseSummary,
    StreamInspector,
    TranslatableRequest,
)
from gateway.limits.cost_bounds import UsageBound
from gateway.limits.limiter import Limiter
from gateway.limits.load_shedding import SHED_REASONING, LoadShedder
from gateway.pipeline.accounting import CallRecorder, ExtendReservation
from gateway.pipeline.context import ContextLoader, find_session_account
from gateway.pipeline.conversation_memory import ConversationMemory, find_chain_account
from gateway.pipeline.prefetch import Prefetch
from gateway.pipeline.response import (
    ESTIMATED_HEADER,
    JSON_TYPE,
    SILENT_CLIENT,
    STREAM_TYPE,
    KeepaliveClient,
    Response,
    is_uncounted,
    make_cost_comment,
    make_decision_headers,
    make_headers,
    make_problem_response,
)  # fmt: skip
from gateway.pipeline.response_cache import ResponseCache, get_delivery_form, render_cached
from gateway.routing import explain, features
from gateway.routing.decision_cache import DecisionCache
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.features import Features
from gateway.routing.router import Router, decide
from gateway.telemetry.log import Log, locate_error
from gateway.upstream import continuation
from gateway.upstream.attempt import TRUNCATED_PROBLEM
from gateway.upstream.failover import Upstream
from gateway.upstream.relay import DirectRelay, get_inspector, iterate_frames, shows_problem
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse, compute_call_times

type UpstreamSubscriber = Subscriber[UpstreamResponse]

_LARGE_BODY_BYTES = 1_000_000
"""Bytes of a body from which on the event loop does not wait for its reading."""


class Engine:
    """Serves calls. Everything it needs is handed to it; it chooses nothing."""

    def __init__(  # noqa: PLR0913 - one argument for each room
        self,
        *,
        router: Router,
        upstream: Upstream,
        response_store: ResponseStore | None,
        semantic_cache: SemanticCache | None = None,
        recorder: CallRecorder,
        log: Log,
        on_loss: str,
        memory: ConversationMemory | None = None,
        context_loader: ContextLoader | None = None,
        keep_transcript: Callable[[Call, Response], Response] | None = None,
        limiter: Limiter | None = None,
        load_shedder: LoadShedder | None = None,
        run_meanwhile: Callable[[Callable[[], object]], object] = id,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.router, self.semantic_cache = router, semantic_cache
        self._decision_cache, self._upstream = DecisionCache(router), upstream
        self._response_cache = ResponseCache(response_store, wall, semantic_cache)
        self._recorder, self._keep_transcript = recorder, keep_transcript
        self._limiter = limiter
        self._load_shedder, self._run_meanwhile = load_shedder, run_meanwhile
        self._log, self._on_loss = log, on_loss
        self.memory, self._context_loader = (
            memory or ConversationMemory(),
            context_loader or ContextLoader(),
        )
        self._clock, self._large_body_lock = clock, asyncio.Lock()
        self._flights: Flights[UpstreamResponse] = Flights()
        self._subscribers: dict[str, UpstreamSubscriber] = {}
        """By call: the flights that clients are on."""
        self._ended_by: dict[str, str] = {}
        """By call: who ends it, where that is not its client."""

    async def serve(self, call: Call, keepalive: KeepaliveClient = SILENT_CLIENT) -> Response:
        """Answer a call. Never raises but for cancellation; every path leaves one final entry.

        `keepalive` is armed once it is known that a stream will be the answer.
        """
        dialect = OPERATIONS[call.dialect, call.operation]
        call_account, prefetch = (
            self._recorder.open(call, self.router.catalogue.version),
            Prefetch(),
        )
        try:
            reply = await self._handle(call, dialect, call_account, keepalive, prefetch)
            return reply if self._keep_transcript is None else self._keep_transcript(call, reply)
        except ProblemError as error:
            problem = error.problem
            if dialect.write_token_count is not None and is_uncounted(
                problem, dialect, call_account
            ):
                return await self._estimate_tokens(dialect.write_token_count, call_account)
        except asyncio.CancelledError:
            if not call_account.is_closed:
                aborted_by, status, kind = self._describe_abort(
                    call, 200 if keepalive.has_started else 503
                )
                self._recorder.close(
                    call_account, "aborted", status, problem=kind, aborted_by=aborted_by
                )
            raise
        except Exception as error:  # noqa: BLE001 - the edge of the engine: a bug is an answer too
            problem = self._log_bug(error, call_account)
        finally:
            prefetch.cancel_all()
        if not call_account.is_closed:
            state: CallState = (
                "failed" if call_account.attempt_count or call_account.cache == "hit" else "refused"
            )
            status = 200 if keepalive.has_started else dialect.find_status(problem)
            self._recorder.close(call_account, state, status, problem=problem.kind)
            await self._recorder.wait_for_sync()
        return make_problem_response(problem, dialect, call.id, make_decision_headers(call_account))

    def abort(self, call: Call, cancel: Callable[[], object], ended_by: str = "client") -> None:
        """A call's client has left: `cancel` its task, once that does nothing for others.

        `ended_by` is who ends it, for its row.
        """
        if ended_by != "client":
            self._ended_by[call.id] = ended_by
        subscriber = self._subscribers.get(call.id)
        if subscriber is None:
            cancel()
        else:
            subscriber.abandon(cancel)

    def forget(self, call: Call) -> None:
        """Nothing more becomes of a call that was left."""
        self._ended_by.pop(call.id, None)

    async def explain(
        self, call: Call, chain: ResponseChain | None = None
    ) -> tuple[Decision, Plan, list[tuple[Loss, ...]]]:
        """The decision and plan of a call and what each target would not get; asks no provider.

        `chain` is the request with what came before it. Raises ProblemError.
        """
        dialect = OPERATIONS[call.dialect, call.operation]
        body = dialect.read_call(call) if chain is None else chain.body
        translatable = TranslatableRequest(
            dialect, body if chain is None else chain.translatable_body, self.router.fetched_media
        )
        call_features = features.read(
            body.prompt, call.dialect, call.key, call.options, translatable, call.hints
        )
        context = await self._context_loader.load(self.router, call, call_features, may_ask=False)
        decision, plan = decide(self.router, call_features, dialect, context)
        plan = self._upstream.exclude_unavailable(plan, decision.tier)
        return decision, plan, explain.list_losses(dialect, body, translatable, plan)

    async def drain(self) -> None:
        """Wait for what was begun after answers had been sent."""
        await self._response_cache.drain()
        await self._context_loader.drain()
        if self._limiter is not None:
            await self._limiter.wait_settled()

    async def _handle(
        self,
        call: Call,
        dialect: Dialect,
        call_account: CallAccount,
        keepalive: KeepaliveClient,
        prefetch: Prefetch,
    ) -> Response:
        is_large = len(call.body) > _LARGE_BODY_BYTES
        client_body = (
            await self._run_in_thread(partial(dialect.read_call, call))
            if is_large
            else dialect.read_call(call)
        )
        router, context_loader, recorder = self.router, self._context_loader, self._recorder
        chain = (
            await self.memory.read(call, dialect, client_body)
            if self.memory.can_read(dialect)
            else None
        )
        body, translatable_body = (
            (client_body, client_body) if chain is None else (chain.body, chain.translatable_body)
        )
        prompt, translatable = (
            body.prompt,
            TranslatableRequest(dialect, translatable_body, router.fetched_media),
        )
        call_account.record_prompt(prompt, features.estimate_tokens(prompt))
        call_features = Features(
            prompt, call.dialect, call.key, call.options, translatable, call.hints
        )
        limiter = (
            self._limiter
            if self._limiter is not None and self._limiter.applies_to(call.key)
            else None
        )
        context = context_loader.build_without_lookup(router, call, call_features)
        if context is None:
            context = await context_loader.load(router, call, call_features)
        call_account.make_decision_record = decision_recorder = DecisionRecorder(
            router, call_features, dialect, context
        )
        decision, plan = decision_recorder.decide(self._decision_cache)
        recorder.note_decision(call_account, decision)
        self._run_meanwhile(decision_recorder.prepare)
        context_loader.start_prefetch(prefetch, call, call_features, decision, plan)
        if (
            self._load_shedder is not None
            and self._load_shedder.level
            and decision.tier == "reasoning"
        ):
            self._load_shedder.check(SHED_REASONING)
        response_cache, cache_key = self._response_cache, None
        if response_cache.is_enabled:
            make_key = partial(response_cache.make_key, call, body, decision, plan)
            cache_key = await self._run_in_thread(make_key) if is_large else make_key()
        extend: ExtendReservation | None = None
        if limiter is not None:
            usage_bound = UsageBound(
                call=call, prompt=prompt, prompt_tokens=call_account.prompt_tokens
            )
            self.memory.start_prefetch(prefetch, call, dialect, body)
            first_plan, first_decision = plan, decision
            start_lookup = response_cache.make_lookup(call, body, plan, cache_key, prefetch)
            decision, plan = await limiter.admit(
                usage_bound,
                decision,
                plan,
                decision_recorder.decide_under,
                on_option=start_lookup,
                all_at_once=body is not client_body,
            )
            extend = partial(limiter.extend, usage_bound, decision)
            record_attempt = partial(recorder.extend_and_record, extend, call_account)
            if plan is not first_plan:
                cache_key = response_cache.make_key(call, body, decision, plan)
            if decision is not first_decision:
                decision_recorder.adopt(decision)
                recorder.note_decision(call_account, decision)
        else:
            record_attempt = partial(recorder.record_attempt, call_account)
        context_loader.note_decision(call, call_features, context, decision, plan, router)
        if (call.options.on_loss or self._on_loss) == "refuse":
            explain.refuse_losses(dialect, body, translatable, plan)
        began_at, ends_at = compute_call_times(call, self._clock(), stream=prompt.stream)
        request = UpstreamRequest(
            call=call, body=body, translatable=translatable, dialect=dialect, plan=plan,
            lab=decision.lab, tier=name_timers(decision.tier, dialect.operation),
            started_at=began_at, client_deadline=ends_at,
            on_attempt_start=record_attempt,
            on_attempt_failure=partial(recorder.record_failure, call_account),
            on_parallel_attempt=extend, swap_attempt_account=call_account.swap_attempt,
            pinned_body=None if chain is None else chain.native_body,
            pinned_account=(None if chain is None else find_chain_account(chain))
            or find_session_account(decision, plan),
        )  # fmt: skip
        if prompt.stream:
            keepalive.arm()
        if cache_key is None:
            return await self._call_upstream(request, call_account, None, prefetch)
        call_account.cache = "miss"
        return await self._handle_cacheable(request, decision, call_account, cache_key, prefetch)

    async def _handle_cacheable(
        self,
        request: UpstreamRequest,
        decision: Decision,
        call_account: CallAccount,
        cache_key: str,
        prefetch: Prefetch,
    ) -> Response:
        """The answer of a call that may share one: what is kept, one that comes, or its own."""
        call, dialect, body, first_target = (
            request.call,
            request.dialect,
            request.body,
            request.plan.targets[0],
        )
        delivery = get_delivery_form(dialect, body, decision)
        if not call.options.wants_new_answer:
            cached = await prefetch.get(cache_key, partial(self._response_cache.find, cache_key))
            if (
                cached is not None
                and (answer_body := render_cached(cached, dialect, body)) is not None
            ):
                await self.memory.save_cached(request, cached, answer_body)
                return await self._reply_from_cache(
                    request, cached, answer_body, first_target, call_account
                )
            if self.semantic_cache is not None:
                request, similar = await self._response_cache.find_similar(
                    self.semantic_cache, request, call_account
                )
                if similar is not None:
                    await self.memory.save_cached(request, *similar)
                    return await self._reply_from_cache(
                        request, *similar, first_target, call_account
                    )
            if (subscriber := self._flights.join(cache_key, delivery)) is not None:
                reply = await self._run_subscribed(
                    call, subscriber, self._join_flight(request, call_account, subscriber)
                )
                if reply is not None:
                    return reply
        subscriber = self._flights.start(cache_key, delivery)
        return await self._run_subscribed(
            call, subscriber, self._call_upstream(request, call_account, subscriber, prefetch)
        )

    async def _run_in_thread[**P, T](
        self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What takes long with a large body, in a thread, one at a time; other calls go on."""
        async with self._large_body_lock:
            return await asyncio.to_thread(work, *args, **kwargs)

    async def _run_subscribed[T: Response | None](
        self, call: Call, subscriber: UpstreamSubscriber, work: Coroutine[object, object, T]
    ) -> T:
        """Do a call's work on a flight. A stream keeps its seat until it ends."""
        self._subscribers[call.id] = subscriber
        is_streamed = False
        try:
            reply = await work
            is_streamed = reply is not None and reply.stream is not None
        finally:
            if not is_streamed:
                self._subscribers.pop(call.id, None)
                await subscriber.close()
        return reply

    async def _call_upstream(
        self,
        request: UpstreamRequest,
        call_account: CallAccount,
        subscriber: UpstreamSubscriber | None,
        prefetch: Prefetch,
    ) -> Response:
        """The answer of a provider; with a seat, it is for all that are on the flight."""
        decision = call_account.decision
        complete_mode = decision.complete if decision is not None else "off"
        response: UpstreamResponse | None = None
        try:
            if self.memory.can_recall(request) or self._context_loader.find_conversation_call(
                request
            ):
                request = await self._recall(request, prefetch)
            if complete_mode == "off":
                response = await self._upstream.run(request)
            else:
                response = await continuation.start_response(self._upstream, request)
            if complete_mode == "hold" and response.inspector is not None:
                await continuation.complete_response(self._upstream, request, response)
            if (summary := response.summary) is not None:
                _record_usage(call_account, summary)
            if self.memory.can_save(request, response):
                await self.memory.save(request, response)
        except BaseException as error:
            if response is not None and response.inspector is not None:
                call_account.usage, call_account.content_bytes = (
                    response.inspector.usage,
                    response.inspector.content_bytes,
                )
            if subscriber is not None:
                self._flights.drop(subscriber.flight)
                subscriber.flight.fail(error)
            raise
        call_account.losses, call_account.upstream_id = (
            response.written_body.losses,
            response.upstream_id,
        )
        call_account.first_content = round_micros(self._clock() - request.call.started_at)
        inspector = response.inspector
        if inspector is None:
            return await self._reply_whole(request, response, call_account, subscriber)
        self._context_loader.note_stream_start(request.call, response.target, response.account)
        direct_relay = (
            self._make_direct_relay(request, response, inspector, subscriber)
            if complete_mode == "off"
            else None
        )
        source = (
            iterate_frames(response, inspector, direct_relay)
            if complete_mode == "off"
            else continuation.iterate_buffered(response)
        )
        if subscriber is not None:
            flight = subscriber.flight
            flight.begin(
                response,
                source,
                on_end=lambda: self._finish_flight(request, response, flight),
                close_source=response.provider_response.close,
                on_join=None if direct_relay is None else direct_relay.stop,
            )
            source = subscriber.read_frames()
        stream = self._relay(request, response, call_account, source, subscriber)
        return Response(
            status=200,
            headers=make_headers(call_account, STREAM_TYPE),
            stream=stream,
            direct_relay=direct_relay,
        )

    def _make_direct_relay(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        inspector: StreamInspector,
        subscriber: UpstreamSubscriber | None,
    ) -> DirectRelay | None:
        """A way past all who wait for a stream, where one client reads it and nobody follows it."""
        if self.memory.make_listener(request, response, is_first=True) is not None:
            return None
        if subscriber is None:
            return DirectRelay(inspector)
        return (
            None if subscriber.other_count else DirectRelay(inspector, subscriber.note_passed_chunk)
        )

    async def _recall(self, request: UpstreamRequest, prefetch: Prefetch) -> UpstreamRequest:
        """A call with what is known of those before it."""
        if self.memory.can_recall(request):
            request = await self.memory.recall(request, prefetch)
        if (conversation_call := self._context_loader.find_conversation_call(request)) is not None:
            request = await self._context_loader.pin_account(request, conversation_call, prefetch)
        return request

    async def _join_flight(
        self, request: UpstreamRequest, call_account: CallAccount, subscriber: UpstreamSubscriber
    ) -> Response | None:
        """The answer of a flight that another call began; None where it cannot be told so."""
        call_account.cache = "hit"
        response = await subscriber.flight.wait_for_start()
        call_account.losses, call_account.upstream_id = (
            response.written_body.losses,
            response.upstream_id,
        )
        call_account.target = response.target
        if response.inspector is not None and request.body.prompt.stream:
            call_account.first_content = round_micros(self._clock() - request.call.started_at)
            stream = self._relay(
                request, response, call_account, subscriber.read_frames(), subscriber
            )
            return Response(
                status=200, headers=make_headers(call_account, STREAM_TYPE), stream=stream
            )
        async for _ in subscriber.read_frames():
            pass
        cached = subscriber.flight.cached
        answer_body = render_cached(cached, request.dialect, request.body)
        if cached is None or answer_body is None:
            call_account.cache, call_account.target, call_account.upstream_id = "miss", None, None
            return None
        await self.memory.save_cached(request, cached, answer_body)
        return await self._reply_from_cache(
            request, cached, answer_body, response.target, call_account
        )

    async def _estimate_tokens(
        self, encode_count: Callable[[int], bytes], call_account: CallAccount
    ) -> Response:
        """A count of tokens that no target gives: from the length of what is said."""
        self._recorder.close(call_account, "estimated", 200)
        await self._recorder.wait_for_sync()
        headers = [*make_headers(call_account, JSON_TYPE), ESTIMATED_HEADER]
        return Response(status=200, headers=headers, body=encode_count(call_account.prompt_tokens))

    async def _reply_from_cache(
        self,
        request: UpstreamRequest,
        cached: CachedResponse,
        answer_body: bytes,
        target: Target,
        call_account: CallAccount,
    ) -> Response:
        is_streamed = request.body.prompt.stream
        call_account.cache = "hit"
        call_account.usage, call_account.served_model, call_account.target = (
            cached.usage,
            cached.served,
            target,
        )
        call_account.first_content = round_micros(self._clock() - request.call.started_at)
        if not is_streamed:
            billing = self._recorder.close_deferred(call_account, "cache_hit")
            await self._recorder.wait_for_sync()
            return Response(
                status=200, headers=make_headers(call_account, JSON_TYPE, billing), body=answer_body
            )
        row = self._recorder.close(call_account, "cache_hit", 200)
        await self._recorder.wait_for_sync()
        if request.call.options.stream_cost and request.dialect.allows_comments:
            answer_body += make_cost_comment(row)
        return Response(
            status=200, headers=make_headers(call_account, STREAM_TYPE, row), body=answer_body
        )

    async def _reply_whole(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        call_account: CallAccount,
        subscriber: UpstreamSubscriber | None,
    ) -> Response:
        summary, data = response.summary, response.body
        if summary is None or data is None:
            raise RuntimeError("a whole answer is read before it is relayed")
        is_abandoned = subscriber is not None and subscriber.has_left
        billing: FinalRow | CallTotals
        if subscriber is not None:
            self._land_flight(request, response, summary, data, subscriber.flight)
        if is_abandoned:
            aborted_by, status, kind = self._describe_abort(request.call, 503)
            billing = self._recorder.close(
                call_account, "aborted", status, problem=kind, aborted_by=aborted_by
            )
        elif summary.complete:
            billing = self._recorder.close_deferred(call_account)
        elif summary.is_pending:
            billing = self._recorder.close(call_account, "estimated", 200)
        else:
            aborted_by, status, kind = self._describe_abort(
                request.call, 200, "upstream", TRUNCATED_PROBLEM
            )
            billing = self._recorder.close(
                call_account, "aborted", status, problem=kind, aborted_by=aborted_by
            )
        if self._recorder.waits_for_sync:
            await self._recorder.wait_for_sync()
        return Response(
            status=200, headers=make_headers(call_account, JSON_TYPE, billing), body=data
        )

    async def _relay(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        call_account: CallAccount,
        source: AsyncGenerator[bytes],
        subscriber: UpstreamSubscriber | None,
    ) -> AsyncGenerator[bytes]:
        """The frames of a stream, as they came; an error where it breaks; the entry at its end."""
        dialect, ended_by = request.dialect, "client"
        problem: Problem | None = None
        row: FinalRow | None = None
        data = b""
        on_chunk = self.memory.make_listener(
            request, response, is_first=subscriber is None or subscriber.is_first
        )

        def close_account() -> FinalRow:
            inspector = get_inspector(response)
            call_account.usage, call_account.served_model = inspector.usage, inspector.served_model
            call_account.response_id = inspector.response_id
            call_account.content_bytes, call_account.is_complete = (
                inspector.content_bytes,
                inspector.complete,
            )
            final_state: CallState = "cache_hit" if call_account.cache == "hit" else "settled"
            state: CallState = "aborted" if ended_by or problem is not None else final_state
            aborted_by, status, kind = self._describe_abort(request.call, 200, ended_by, problem)
            return self._recorder.close(
                call_account, state, status, problem=kind, aborted_by=aborted_by or None
            )

        try:
            try:
                async for data in source:
                    if on_chunk is not None:
                        await on_chunk(data)
                    yield data
                ended_by = ""
            except ProblemError as error:
                problem = error.problem
                is_timeout = (
                    problem.kind == "upstream_timeout" and get_inspector(response).problem is None
                )
                ended_by = "timeout" if is_timeout else "upstream"
                if not shows_problem(data, dialect, request.body):
                    yield dialect.write_problem_frame(problem)
            except Exception as error:  # noqa: BLE001 - a bug is told in the stream too
                problem, ended_by = self._log_bug(error, call_account), ""
                yield dialect.write_problem_frame(problem)
            row = close_account() if subscriber is None else subscriber.close_account(close_account)
            await self._recorder.wait_for_sync()
            if row is not None and request.call.options.stream_cost and dialect.allows_comments:
                yield make_cost_comment(row)
        finally:
            if not call_account.is_closed:
                is_all_sent = get_inspector(response).complete and not response.has_buffered_frames
                if (
                    ended_by == "client"
                    and is_all_sent
                    and (subscriber is None or subscriber.has_read_all)
                ):
                    ended_by = ""  # it left with all of the answer
                _ = (
                    close_account()
                    if subscriber is None
                    else subscriber.close_account(close_account)
                )
            if subscriber is not None:
                self._subscribers.pop(request.call.id, None)
                await subscriber.close()
            else:
                await response.provider_response.close()

    def _describe_abort(
        self, call: Call, status: int, ended_by: str = "client", problem: Problem | None = None
    ) -> tuple[str, int, str | None]:
        """Who has ended a call, the status of its row, and what its client was told.

        One that was cancelled was left by its client, unless somebody else has said so.
        """
        if ended_by != "client":
            return ended_by, status, problem.kind if problem is not None else None
        aborted_by = self._ended_by.get(call.id, ended_by)
        return (
            (aborted_by, 499, None)
            if aborted_by.startswith("client")
            else (aborted_by, status, "draining")
        )

    def _log_bug(self, error: Exception, call_account: CallAccount) -> Problem:
        self._log("bug", call=call_account.call.id, error=locate_error(error))
        message = "The gateway failed on this call; its log has the reason under "
        return Problem(kind="internal", message=f"{message}{call_account.call.id}.")

    def _land_flight(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        summary: ResponseSummary,
        data: bytes,
        flight: Flight[UpstreamResponse],
    ) -> None:
        """A whole answer is here: those on its flight share it, unless it is incomplete."""
        if not summary.complete:
            flight.complete(response, None)
            self._flights.drop(flight)
            return
        outcome = summary.usage, summary.served_model, summary.finish
        cached = self._response_cache.make_cached(request, response, data, *outcome)
        flight.complete(response, cached)
        self._store_answer(request, response, flight, cached)

    def _finish_flight(
        self, request: UpstreamRequest, response: UpstreamResponse, flight: Flight[UpstreamResponse]
    ) -> None:
        """A streamed flight is over: keep its answer, and close an account whose client left."""
        inspector, body = response.inspector, flight.body
        if (
            inspector is not None
            and inspector.complete
            and flight.failure is None
            and body is not None
        ):
            outcome = inspector.usage, inspector.served_model, inspector.finish
            cached = self._response_cache.make_cached(request, response, body, *outcome)
            flight.cached = cached
            self._store_answer(request, response, flight, cached)
        else:
            self._flights.drop(flight)
        if flight.close_account is not None:
            flight.close_account()

    def _store_answer(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        flight: Flight[UpstreamResponse],
        cached: CachedResponse,
    ) -> None:
        """Store an answer: an equal call finds it there from now on."""
        self._response_cache.store(request, response, flight.key, cached)
        self._flights.drop(flight)


def _record_usage(call_account: CallAccount, summary: ResponseSummary) -> None:
    """Take what a whole answer used; of one that the provider still works on, that is unknown."""
    call_account.usage, call_account.served_model = summary.usage, summary.served_model
    call_account.response_id = summary.response_id
    if not summary.is_pending:
        call_account.content_bytes, call_account.is_complete = summary.content_bytes, True
