"""Keep what later calls of a conversation need: notes of reasoning, and stored answers."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from gateway.cache.cached_response import CachedResponse
from gateway.cache.reasoning_note_store import ReasoningNoteStore
from gateway.cache.response_store import (
    ResponseChain,
    SavedResponses,
    StreamTape,
    refuse_foreign,
    should_store,
)
from gateway.core.call import Call, Key
from gateway.core.errors import Problem, ProblemError
from gateway.core.owned_object import ObjectPlace
from gateway.core.prompt import Prompt
from gateway.dialects import OPENAI_CHAT, OPENAI_RESPONSES, OPERATIONS, Dialect, RequestBody
from gateway.dialects.tool_reasoning import ReasoningNote
from gateway.pipeline.answer_objects import AnswerObjects
from gateway.telemetry.log import Log, ignore_event
from gateway.upstream.large_work import LargeWork
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse

type ChunkListener = Callable[[bytes], Awaitable[None]]
"""A function that gets each piece of a stream before the client does."""


class ConversationMemory:
    """The memory of conversations; without notes or responses it keeps none of that kind."""

    def __init__(
        self,
        notes: ReasoningNoteStore | None = None,
        responses: SavedResponses | None = None,
        *,
        passes_foreign: bool = False,
        objects: AnswerObjects | None = None,
        log: Log = ignore_event,
    ) -> None:
        """Set `passes_foreign` to ask a provider for answers that the gateway has not stored."""
        self._notes = notes
        self._responses = responses
        self._passes_foreign = passes_foreign
        self._objects = objects
        self._log = log
        self._has_logged_refusal = False

    async def read(self, call: Call, dialect: Dialect, chain: ResponseChain) -> ResponseChain:
        """Return a request with what came before it; `chain` is the request alone.

        Raises ProblemError: not_found, invalid_request.
        """
        if dialect.name != OPENAI_RESPONSES.name:
            return chain
        try:
            if self._responses is not None:
                return await self._responses.read(
                    call.key, chain.body, passes_foreign=self._passes_foreign
                )
            if not self._passes_foreign:
                refuse_foreign(chain.body)
        except ProblemError as error:
            if error.problem.detail and not self._has_logged_refusal:
                self._has_logged_refusal = True  # only once: clients choose how often they ask
                self._log("responses", text=error.problem.detail)
            raise
        return chain

    def find_notes(
        self, call: Call, body: RequestBody
    ) -> Coroutine[Any, Any, Mapping[str, ReasoningNote]] | None:
        """Find the notes on the reasoning of a tool loop; None if there can be none."""
        if self._notes is None or not body.prompt.tool_loop or not _is_chat(call):
            return None
        return self._notes.find(call.key, body.outline["messages"])

    def records_reasoning(self, call: Call, prompt: Prompt) -> bool:
        """Return True if an answer's reasoning is noted: its client does not send it back."""
        return bool(prompt.tools) and self._notes is not None and _is_chat(call)

    async def save(self, request: UpstreamRequest, response: UpstreamResponse) -> None:
        """Store what later calls need of a whole answer, before its client has it."""
        if response.body is None:
            return
        if request.makes_objects and self._objects is not None:
            await self._objects.save(request, response)
        if response.reasoning_recorder is not None:
            await self._save_note(request, response)
        if (responses := self._select_store(request)) is not None:
            await _save_response(responses, request, response, response.body)

    async def save_cached(
        self, request: UpstreamRequest, cached: CachedResponse, answer_body: bytes
    ) -> None:
        """Store an answer that comes from the cache, for the key that asks for it."""
        if (responses := self._select_store(request)) is None:
            return
        response_body: bytes | None = answer_body
        if request.body.prompt.stream:
            response_body = await LargeWork().read(StreamTape().add, answer_body)
        target, target_dialect = request.plan.targets[0], request.plan.dialects[0]
        if response_body is not None:
            await responses.save(
                request.call.key,
                request.body,
                response_body,
                cached.provider,
                cached.account or "",
                kept_by_provider=target.provider.keeps_responses
                and target_dialect == OPENAI_RESPONSES.name,
            )

    def make_listener(
        self, request: UpstreamRequest, response: UpstreamResponse, *, is_first: bool
    ) -> ChunkListener | None:
        """Return a listener that stores what later calls need of a stream, or None.

        Set `is_first` if this call started the upstream call.
        """
        listener = self._make_answer_listener(request, response, is_first=is_first)
        if not request.makes_objects or self._objects is None:
            return listener
        note_objects = self._objects.make_listener(request, response)
        if note_objects is None or listener is None:
            return note_objects or listener

        async def listen(data: bytes) -> None:
            await note_objects(data)
            await listener(data)

        return listen

    def _make_answer_listener(
        self, request: UpstreamRequest, response: UpstreamResponse, *, is_first: bool
    ) -> ChunkListener | None:
        if (responses := self._select_store(request)) is not None:
            tape = StreamTape()

            async def save_chunk(data: bytes) -> None:
                response_body = await response.large_work.read(tape.add, data)
                if response_body is not None:
                    await _save_response(responses, request, response, response_body)

            return save_chunk
        if response.reasoning_recorder is None or not is_first:
            return None
        is_noted = False

        async def save_note(_: bytes) -> None:
            nonlocal is_noted
            inspector = response.inspector
            if inspector is not None and inspector.complete and not is_noted:
                is_noted = True
                await self._save_note(request, response)

        return save_note

    async def find(self, key: Key, id: str) -> bytes:
        """Return a stored answer. Raises ProblemError (not_found)."""
        return await self._require_responses().find(key, id)

    async def delete(self, key: Key, id: str) -> bytes:
        """Delete a stored answer. Raises ProblemError (not_found)."""
        return await self._require_responses().delete(key, id)

    async def find_place(self, key: Key, id: str) -> ObjectPlace | None:
        """Return the provider account that keeps a stored answer; None if none does."""
        return None if self._responses is None else await self._responses.find_place(key, id)

    def _require_responses(self) -> SavedResponses:
        if self._responses is None:
            message = "This gateway keeps no answers: responses.ttl is 0."
            raise ProblemError(Problem(kind="not_found", message=message))
        return self._responses

    async def _save_note(self, request: UpstreamRequest, response: UpstreamResponse) -> None:
        note = (
            response.reasoning_recorder.build_note()
            if response.reasoning_recorder is not None
            else None
        )
        if self._notes is not None and note is not None:
            await self._notes.save(request.call.key, request.body.outline["messages"], note)

    def _select_store(self, request: UpstreamRequest) -> SavedResponses | None:
        """Return the store for the answer to a call; None if it is not stored."""
        is_saved = request.dialect is OPENAI_RESPONSES and should_store(request.body)
        return self._responses if is_saved else None


def _is_chat(call: Call) -> bool:
    """Return True if clients of the dialect may not send reasoning back, so that it is noted."""
    return OPERATIONS[call.dialect, call.operation] is OPENAI_CHAT


async def _save_response(
    responses: SavedResponses,
    request: UpstreamRequest,
    response: UpstreamResponse,
    response_body: bytes,
) -> None:
    provider = response.target.provider
    is_native = response.dialect_name == OPENAI_RESPONSES.name
    await responses.save(
        request.call.key,
        request.body,
        response_body,
        provider.name,
        response.account.name,
        kept_by_provider=is_native and provider.keeps_responses,
    )
