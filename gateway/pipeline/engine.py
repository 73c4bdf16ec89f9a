"""Serve one call: read, decide, reserve, look in the cache, ask upstream, respond."""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from gateway.cache.cached_response import CachedResponse
from gateway.cache.response_cache import ResponseStore
from gateway.cache.response_store import ResponseChain
from gateway.cache.semantic.cache import SemanticCache
from gateway.core import json_size
from gateway.core.answer_objects import may_make_objects
from gateway.core.call import Call
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import Session
from gateway.core.errors import ProblemError
from gateway.core.loss import Loss
from gateway.core.object_ids import (
    CALL_MARKS,
    NamedObject,
    call_may_name_objects,
    find_objects,
)
from gateway.core.owned_object import ObjectPlace
from gateway.core.prompt_bound import bound_prompt_tokens
from gateway.core.target import Target, name_timers
from gateway.dialects import OPERATIONS, Dialect, RequestBody, TranslatableRequest
from gateway.dialects.tool_reasoning import ReasoningNote
from gateway.limits.cost_bounds import UsageBound
from gateway.limits.limiter import Limiter
from gateway.limits.load_shedding import SHED_REASONING, LoadShedder
from gateway.pipeline.accounting import CallRecorder, RecordedAccount
from gateway.pipeline.coalescer import Coalescer, UpstreamSubscriber
from gateway.pipeline.context import ContextLoader
from gateway.pipeline.conversation_memory import ConversationMemory
from gateway.pipeline.end_users import EndUserHasher
from gateway.pipeline.escalation import Escalation
from gateway.pipeline.missing_models import MissingModels
from gateway.pipeline.passthrough.objects import ObjectGuard
from gateway.pipeline.pinned_account import find_pinned_account
from gateway.pipeline.response import (
    SILENT_CLIENT,
    KeepaliveClient,
    Response,
    make_rate_limit_headers,
)
from gateway.pipeline.response_builder import ResponseBuilder, record_answer, record_usage
from gateway.pipeline.response_cache import ResponseCache, get_delivery_form, render_cached
from gateway.pipeline.stream_relay import StreamRelay
from gateway.routing import explain
from gateway.routing.decision_cache import DecisionCache
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.features import Features
from gateway.routing.router import Router, decide
from gateway.state.eager_gather import gather_eagerly
from gateway.telemetry.log import Log
from gateway.upstream import continuation
from gateway.upstream.failover import Upstream
from gateway.upstream.large_work import LargeWork
from gateway.upstream.relay import get_inspector
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse, compute_call_times


class _Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A call as the gateway has read it."""

    chain: ResponseChain
    """The request with what came before it."""
    translatable: TranslatableRequest
    features: Features
    may_name_objects: bool
    is_large: bool
    """True if work on the request must not run on the event loop."""
    has_waited: bool
    """True if the gateway has waited for what came before."""


class _AdmittedCall(msgspec.Struct, frozen=True):
    """A call that has passed its limits, with what earlier calls have left for it."""

    decision: Decision
    plan: Plan
    cache_key: str | None
    """The key of its answer in the cache; None if the call is not cached."""
    cached: CachedResponse | None
    notes: Mapping[str, ReasoningNote] | None
    session: Session | None


class Engine:
    """Serves calls. Everything it needs is handed to it; it chooses nothing."""

    def __init__(  # noqa: PLR0913 - one argument for each part
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
        objects: ObjectGuard | None = None,
        end_user_hasher: EndUserHasher | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.router, self.semantic_cache = router, semantic_cache
        self.memory = memory or ConversationMemory()
        self._decision_cache = DecisionCache(router)
        self._context_loader = context_loader or ContextLoader()
        self._load_shedder, self._limiter, self._upstream = load_shedder, limiter, upstream
        self._response_cache = ResponseCache(response_store, wall, semantic_cache)
        self._coalescer = Coalescer(self._response_cache)
        self._responses = ResponseBuilder(self._coalescer, self.memory, log, clock)
        self._streams = StreamRelay(self._coalescer, self.memory, log)
        self._missing_models = MissingModels(clock)
        self._escalation = Escalation(self._run_upstream, self._context_loader, log)
        self._recorder, self._keep_transcript, self._on_loss = recorder, keep_transcript, on_loss
        self._clock, self._large_work = clock, LargeWork()
        self._end_user_hasher, self._objects = end_user_hasher, objects

    async def serve(self, call: Call, keepalive: KeepaliveClient = SILENT_CLIENT) -> Response:
        """Answer a call. Raises only CancelledError; every call leaves one final row.

        The engine arms `keepalive` once it knows that a stream will be the answer.
        """
        dialect = OPERATIONS[call.dialect, call.operation]
        account = self._recorder.open(call, self.router.catalogue.version)
        try:
            response = await self._handle(call, dialect, account, keepalive)
            return (
                response if self._keep_transcript is None else self._keep_transcript(call, response)
            )
        except asyncio.CancelledError:
            if not account.is_closed:
                account.settle_aborted(200 if keepalive.has_started else 503)
            raise
        except Exception as error:  # noqa: BLE001 - a bug is answered too
            return await self._responses.from_error(
                error, dialect, account, has_started=keepalive.has_started
            )

    async def _handle(
        self, call: Call, dialect: Dialect, account: RecordedAccount, keepalive: KeepaliveClient
    ) -> Response:
        router, context_loader = self.router, self._context_loader
        reading = await self._read(call, dialect, account)
        chain, call_features, is_large = reading.chain, reading.features, reading.is_large
        translatable = reading.translatable
        body, prompt = chain.body, chain.body.prompt
        account.record_prompt(
            prompt,
            call_features.prompt_tokens,
            bound_prompt_tokens(prompt, len(body.raw)),
        )
        if reading.may_name_objects:
            call_features.object_place = await self._find_object_place(call, dialect, reading)

        context = await context_loader.load(router, call, call_features)
        decision_recorder = DecisionRecorder(router, call_features, dialect, context)
        account.make_decision_record = decision_recorder

        def decide_call() -> tuple[Decision, Plan, str | None]:
            decision, plan = decision_recorder.decide(self._decision_cache)
            return decision, plan, self._response_cache.make_key(call, body, decision, plan)

        try:
            decision, plan, cache_key = await self._large_work.run(decide_call, is_large=is_large)
        except ProblemError:
            account.refused_guards = decision_recorder.list_guards()
            raise
        self._recorder.note_decision(account, decision)
        self._check_load(decision)

        admitted = await self._admit(
            account,
            body,
            decision_recorder,
            decision,
            plan,
            cache_key,
            has_waited=reading.has_waited,
            is_large=is_large,
        )
        decision, plan, cache_key = admitted.decision, admitted.plan, admitted.cache_key
        context_loader.note_decision(call, call_features, context, decision, plan, router)
        await self._check_losses(call, dialect, body, translatable, plan, is_large=is_large)
        started_at, client_deadline = compute_call_times(call, self._clock(), stream=prompt.stream)
        request = UpstreamRequest(
            call, account, body, translatable, dialect, plan,
            is_large=is_large, lab=decision.lab, tier=name_timers(decision.tier, dialect.operation),
            started_at=started_at, client_deadline=client_deadline,
            reasoning_notes=admitted.notes or {},
            makes_objects=may_make_objects(
                dialect.name, body.raw, prompt.members, hosted_tools=prompt.hosted_tools
            ),
            records_reasoning=self.memory.records_reasoning(call, prompt),
            get_conversation=lambda: call_features.turn.conversation,
            pinned_body=chain.native_body,
            pinned_account=find_pinned_account(
                call_features, chain, admitted.notes, admitted.session, decision, plan
            ),
        )  # fmt: skip
        if prompt.stream:
            keepalive.arm(make_rate_limit_headers(account))

        if cache_key is None:
            return await self._ask_upstream(request, account, decision, decision_recorder)
        account.cache = "miss"
        form = get_delivery_form(dialect, body, decision)
        if not call.options.wants_new_answer:
            request, response = await self._find_answer(request, account, admitted.cached)
            if response is None and (shared := self._coalescer.join(account, cache_key, form)):
                async with shared as subscriber:
                    response = await self._share_answer(request, account, subscriber)
            if response is not None:
                return response
        async with self._coalescer.start(account, cache_key, form) as subscriber:
            return await self._ask_upstream(
                request, account, decision, decision_recorder, subscriber
            )

    async def _read(
        self, call: Call, dialect: Dialect, account: RecordedAccount | None = None
    ) -> _Reading:
        """Read a call and what came before it. Raises ProblemError."""
        is_large = json_size.is_large(call.body)
        reading = await self._large_work.run(
            partial(_read_call, call, dialect, self.router, is_large=is_large), is_large=is_large
        )
        body = reading.chain.body
        if self._end_user_hasher is not None and account is not None:
            account.end_user = self._end_user_hasher.find(call, dialect, body)
        chain = await self.memory.read(call, dialect, reading.chain)
        if chain is reading.chain:
            return reading
        if chain.body is body and chain.translatable_body is body:
            return msgspec.structs.replace(reading, chain=chain)
        is_large = json_size.is_large(chain.body.raw)
        read = partial(
            _read_chain,
            call,
            dialect,
            self.router,
            chain,
            is_large=is_large,
            has_waited=chain.body is not body,
        )
        return await self._large_work.run(read, is_large=is_large)

    async def _find_object_place(
        self, call: Call, dialect: Dialect, reading: _Reading
    ) -> ObjectPlace | None:
        """Find the provider account with the objects that a call names. Raises ProblemError."""
        if self._objects is None:
            return None
        body = reading.chain.body

        def find() -> list[NamedObject]:
            return find_objects(CALL_MARKS[dialect.name].api, body.raw, body.value)

        named_objects = await self._large_work.run(find, is_large=reading.is_large)
        return await self._objects.find_call_place(call.key, named_objects)

    def _check_load(self, decision: Decision) -> None:
        """Refuse the most expensive calls first if the gateway runs short. Raises ProblemError."""
        shedder = self._load_shedder
        if shedder is not None and shedder.level and decision.tier == "reasoning":
            shedder.check(SHED_REASONING)

    async def _check_losses(
        self,
        call: Call,
        dialect: Dialect,
        body: RequestBody,
        translatable: TranslatableRequest,
        plan: Plan,
        *,
        is_large: bool,
    ) -> None:
        """Refuse a call that would lose something, if it must not. Raises ProblemError."""
        if (call.options.on_loss or self._on_loss) == "refuse":
            check = partial(explain.refuse_losses, dialect, body, translatable, plan)
            await self._large_work.run(check, is_large=is_large)

    async def _admit(
        self,
        account: RecordedAccount,
        body: RequestBody,
        decision_recorder: DecisionRecorder,
        decision: Decision,
        plan: Plan,
        cache_key: str | None,
        *,
        has_waited: bool,
        is_large: bool,
    ) -> _AdmittedCall:
        """Reserve what a call may cost, and load what earlier calls have left for it.

        Both take one round trip to Redis. A call that goes to a cheaper tier loads once more. If it
        `has_waited` before, the limiter tries all options at once. Raises ProblemError.
        """
        call, call_features, limiter = account.call, decision_recorder.call, self._limiter
        reserving = None
        if limiter is not None and limiter.applies_to(call.key):
            reserving = limiter.reserve(
                UsageBound(
                    call=call,
                    prompt=body.prompt,
                    prompt_tokens=account.prompt_tokens,
                    prompt_bound=account.prompt_bound,
                    end_user=account.end_user,
                ),
                decision,
                plan,
                decision_recorder.decide_under,
                all_at_once=has_waited,
            )
        reservation, cached, notes, session = await gather_eagerly(
            reserving,
            self._response_cache.find(call, cache_key),
            self.memory.find_notes(call, body),
            self._context_loader.find_session(call, call_features, decision, plan),
        )
        account.reservation = reservation
        if reservation is not None:
            account.rate_limits = reservation.rate_limits
        if reservation is not None and reservation.decision is not decision:
            decision = reservation.decision
            decision_recorder.adopt(decision)
            self._recorder.note_decision(account, decision)
        if reservation is not None and reservation.plan is not plan:
            plan = reservation.plan
            make_key = partial(self._response_cache.make_key, call, body, decision, plan)
            cache_key = await self._large_work.run(make_key, is_large=is_large)
            _, cached, _, session = await gather_eagerly(
                None,
                self._response_cache.find(call, cache_key),
                None,
                self._context_loader.find_session(call, call_features, decision, plan),
            )
        return _AdmittedCall(decision, plan, cache_key, cached, notes, session)

    async def _find_answer(
        self, request: UpstreamRequest, account: RecordedAccount, cached: CachedResponse | None
    ) -> tuple[UpstreamRequest, Response | None]:
        """Respond with the stored answer to an equal call, or to one with a similar question."""
        answer_body = render_cached(cached, request.dialect, request.body)
        if cached is None or answer_body is None:
            request, similar = await self._response_cache.find_similar(request, account)
            if similar is None:
                return request, None
            cached, answer_body = similar
        target = self._find_cached_target(request, cached)
        response = await self._responses.from_cache(request, cached, answer_body, target, account)
        return request, response

    def _find_cached_target(self, request: UpstreamRequest, cached: CachedResponse) -> Target:
        """Return the target that gave a stored answer: the first of the plan, or one above it."""
        first_target, name = request.plan.targets[0], f"{cached.provider}/{cached.model}"
        if name == first_target.name:
            return first_target
        endpoints = self.router.catalogue.models.get(name)
        return endpoints[0].target if endpoints else first_target

    async def _share_answer(
        self, request: UpstreamRequest, account: RecordedAccount, subscriber: UpstreamSubscriber
    ) -> Response | None:
        """Respond with the answer of an equal call that runs; None if it cannot be rendered."""
        account.cache = "hit"
        response = await subscriber.flight.wait_for_start()
        record_answer(response, account)
        account.target = response.target
        if response.inspector is not None and request.body.prompt.stream:
            account.record_first_content(self._clock())
            return self._streams.from_flight(request, response, account, subscriber)
        async for _ in subscriber.read_frames():
            pass
        cached = subscriber.flight.cached
        answer_body = render_cached(cached, request.dialect, request.body)
        if cached is None or answer_body is None:
            account.cache, account.target, account.upstream_id = "miss", None, None
            return None
        return await self._responses.from_cache(
            request, cached, answer_body, response.target, account
        )

    async def _ask_upstream(
        self,
        request: UpstreamRequest,
        account: RecordedAccount,
        decision: Decision,
        decision_recorder: DecisionRecorder,
        subscriber: UpstreamSubscriber | None = None,
    ) -> Response:
        """Respond with the answer of a provider, which all subscribers of a flight share."""
        response = await self._run_upstream(request, account, decision)
        if decision.escalate != "off":
            decide_above = partial(self._decide_above, request, decision_recorder)
            request, response = await self._escalation.improve(
                request, response, account, decision, decide_above
            )
        if response.summary is not None:
            record_usage(response.summary, account)
        await self.memory.save(request, response)
        record_answer(response, account)
        account.record_first_content(self._clock())
        if response.inspector is None:
            return await self._responses.from_upstream(request, response, account, subscriber)
        self._context_loader.note_stream_start(request.call, response.target, response.account)
        return self._streams.from_upstream(
            request, response, account, subscriber, is_buffered=decision.complete != "off"
        )

    async def _decide_above(
        self, request: UpstreamRequest, decision_recorder: DecisionRecorder
    ) -> tuple[Decision, Plan]:
        """Decide a call for the tier above. Raises ProblemError if it may not go there now."""
        decision, plan = decision_recorder.decide_above()
        self._check_load(decision)
        await self._check_losses(
            request.call,
            request.dialect,
            request.body,
            request.translatable,
            plan,
            is_large=request.is_large,
        )
        return decision, plan

    async def _run_upstream(
        self, request: UpstreamRequest, account: RecordedAccount, decision: Decision
    ) -> UpstreamResponse:
        """Run the plan; if the decision asks for it, until an answer is complete."""
        target = request.plan.targets[0]
        if not target.is_listed:
            self._missing_models.check(request.call, target)
        try:
            if decision.complete == "off":
                return await self._upstream.run(request)
            return await self._run_until_complete(request, account)
        except ProblemError as error:
            if target.is_listed:
                raise
            problem = await self._missing_models.explain(
                request.call, target, error.problem, self.router.catalogue
            )
            raise ProblemError(problem) from None

    async def _run_until_complete(
        self, request: UpstreamRequest, account: RecordedAccount
    ) -> UpstreamResponse:
        response = await continuation.start_response(self._upstream, request)
        if response.inspector is not None:
            try:
                await continuation.complete_response(self._upstream, request, response)
            except BaseException:
                inspector = get_inspector(response)
                account.usage, account.content_bytes = inspector.usage, inspector.content_bytes
                raise
        return response

    async def explain(self, call: Call) -> tuple[Decision, Plan, list[tuple[Loss, ...]]]:
        """Return the decision and plan of a call and what each target would lose; asks no provider.

        Raises ProblemError.
        """
        dialect = OPERATIONS[call.dialect, call.operation]
        reading = await self._read(call, dialect)
        call_features = reading.features
        if reading.may_name_objects:
            call_features.object_place = await self._find_object_place(call, dialect, reading)
        context = await self._context_loader.load(self.router, call, call_features, may_ask=False)

        def decide_call() -> tuple[Decision, Plan, list[tuple[Loss, ...]]]:
            decision, plan = decide(self.router, call_features, dialect, context)
            plan = self._upstream.exclude_unavailable(plan, decision.tier)
            body = reading.chain.body
            return decision, plan, explain.list_losses(dialect, body, reading.translatable, plan)

        return await self._large_work.run(decide_call, is_large=reading.is_large)

    def abort(self, call: Call, cancel: Callable[[], object], ended_by: str = "client") -> None:
        """End a call: `cancel` its task, once no other call needs it.

        `ended_by` says who ends it, for its row.
        """
        account = self._recorder.find_open(call)
        if account is not None:
            if ended_by != "client":
                account.aborted_by = ended_by
            if account.subscriber is not None:
                account.subscriber.abandon(cancel)
                return
        cancel()

    async def drain(self) -> None:
        """Wait for work that goes on after answers have been sent."""
        await self._response_cache.drain()
        await self._context_loader.drain()
        if self._limiter is not None:
            await self._limiter.wait_settled()


def _read_call(call: Call, dialect: Dialect, router: Router, *, is_large: bool) -> _Reading:
    """Read the body and the features of a call. Raises ProblemError."""
    body = dialect.read_call(call)
    chain = ResponseChain(body=body, translatable_body=body)
    return _read_chain(call, dialect, router, chain, is_large=is_large, has_waited=False)


def _read_chain(
    call: Call,
    dialect: Dialect,
    router: Router,
    chain: ResponseChain,
    *,
    is_large: bool,
    has_waited: bool,
) -> _Reading:
    """Read the features of a call, and of its conversation if the request is large."""
    body = chain.body
    translatable = TranslatableRequest(
        dialect, chain.translatable_body, router.fetched_media, call.headers
    )
    call_features = Features(
        body.prompt, call.dialect, call.key, call.options, translatable, call.hints
    )
    if is_large:
        _ = call_features.turn  # here, as it takes long
    return _Reading(
        chain=chain,
        translatable=translatable,
        features=call_features,
        may_name_objects=call_may_name_objects(dialect.name, body.raw, body.prompt.members),
        is_large=is_large,
        has_waited=has_waited,
    )
