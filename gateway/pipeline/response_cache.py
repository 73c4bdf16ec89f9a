"""The cache of answers for equal calls: the key of an answer, and how it is found and stored."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from gateway.cache.cached_response import CachedResponse, render_answer
from gateway.cache.coalescing import WHOLE_FORM
from gateway.cache.response_cache import ResponseStore
from gateway.cache.semantic.cache import ComparedQuestion, SemanticCache
from gateway.core.call import Call
from gateway.core.call_accounting import CallAccount
from gateway.core.decision import Decision, Plan
from gateway.core.usage import Usage
from gateway.dialects import Dialect, RequestBody
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse


class ResponseCache:
    """The cache as calls use it; without a store it finds and keeps nothing."""

    def __init__(
        self,
        store: ResponseStore | None,
        wall: Callable[[], float],
        semantic_cache: SemanticCache | None = None,
    ) -> None:
        """`wall` is seconds since the epoch.

        `semantic_cache` finds answers to similar questions.
        """
        self._semantic_cache = semantic_cache
        self._store = store
        self._wall = wall
        self._background_tasks: set[asyncio.Task[None]] = set()

    def make_key(self, call: Call, body: RequestBody, decision: Decision, plan: Plan) -> str | None:
        """Return the key under which an answer may be stored; None if it may not be."""
        store = self._store
        if store is None or not store.policy.serves(call, body.prompt, decision):
            return None
        target = plan.targets[0]
        # Nobody else asks for an answer with the cap of this one call.
        return None if target.lowered_output else store.make_key(call, body.members, target)

    def find(
        self, call: Call, key: str | None
    ) -> Coroutine[Any, Any, CachedResponse | None] | None:
        """Find the answer under a key; None if the call has no key, or wants a new answer."""
        if self._store is None or key is None or call.options.wants_new_answer:
            return None
        return self._store.find(key)

    async def find_similar(
        self, request: UpstreamRequest, call_account: CallAccount
    ) -> tuple[UpstreamRequest, tuple[CachedResponse, bytes] | None]:
        """Return the request with its question, and the answer to a similar one or None.

        The answer comes as it was stored, and as the client asked for it.
        """
        semantic_cache, store = self._semantic_cache, self._store
        if semantic_cache is None or store is None:
            return request, None
        question = semantic_cache.make_question(request.call, request.body, request.plan.targets[0])
        if question is None:
            return request, None
        request = msgspec.structs.replace(request, compared_question=question)
        hit = await semantic_cache.find(question)
        if hit is None:
            return request, None
        cached = await store.find(hit.key)
        answer_body = render_cached(cached, request.dialect, request.body)
        if cached is None or answer_body is None:
            self._run_in_background(semantic_cache.remove(hit))
            return request, None
        call_account.cache_similarity = hit.similarity
        self._run_in_background(semantic_cache.record_served(request.call, hit))
        return request, (cached, answer_body)

    def make_cached(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        data: bytes,
        usage: Usage | None,
        served_model: str | None,
        finish: str | None,
    ) -> CachedResponse:
        """Return an answer in the form that is stored."""
        return CachedResponse(
            dialect=request.dialect.name,
            stream=request.body.prompt.stream,
            with_usage=request.dialect.asks_usage(request.body),
            body=data,
            usage=usage,
            served=served_model,
            finish=finish,
            dropped=tuple(response.dropped_names),
            provider=response.target.provider.name,
            account=response.account.name,
            model=response.target.model,
            tier=request.tier,
            lab=request.lab,
            created=self._wall(),
        )

    def store(
        self, request: UpstreamRequest, response: UpstreamResponse, key: str, cached: CachedResponse
    ) -> None:
        """Store a complete answer of the plan's first target, in the background."""
        store = self._store
        is_first = response.target is request.plan.targets[0]
        if store is None or not store.accepts(cached, status=200, complete=True, is_first=is_first):
            return
        store.store(key, cached)
        if self._semantic_cache is not None and isinstance(
            request.compared_question, ComparedQuestion
        ):
            self._run_in_background(self._semantic_cache.save(request.compared_question, key))

    def _run_in_background(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)

    async def drain(self) -> None:
        """Wait until all answers are stored."""
        while self._background_tasks:
            await asyncio.wait(self._background_tasks)
        if self._store is not None:
            await self._store.drain()


def render_cached(
    cached: CachedResponse | None, dialect: Dialect, body: RequestBody
) -> bytes | None:
    """Return a stored answer as a call asks for it; None if it cannot be rendered so."""
    if cached is None:
        return None
    with_usage = dialect.asks_usage(body)
    return render_answer(cached, dialect, stream=body.prompt.stream, with_usage=with_usage)


def get_delivery_form(dialect: Dialect, body: RequestBody, decision: Decision) -> str:
    """Return the form of a call's answer: equal calls share a stream only in the same form.

    A call that wants a complete or a checked answer shares none with calls that do not.
    """
    delivery = WHOLE_FORM
    if body.prompt.stream:
        delivery = "stream with usage" if dialect.asks_usage(body) else "stream"
    if decision.complete != "off":
        delivery = f"{delivery}, {decision.complete}"
    return f"{delivery}, checked" if decision.escalate == "checked" else delivery
