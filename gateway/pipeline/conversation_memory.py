"""What calls leave behind for those that go on from them: notes of reasoning, and kept answers."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import msgspec

from gateway.cache.cached_response import CachedResponse
from gateway.cache.reasoning_note_store import ReasoningNoteStore
from gateway.cache.response_store import ResponseChain, SavedResponses, StreamTape, keeps
from gateway.core.call import Call, Key
from gateway.core.errors import Problem, ProblemError
from gateway.dialects import OPENAI_CHAT, OPENAI_RESPONSES, Dialect, RequestBody
from gateway.dialects.tool_reasoning import ReasoningNote
from gateway.pipeline.prefetch import Prefetch
from gateway.upstream.retry import PinnedAccount
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse

type Take = Callable[[bytes], Awaitable[None]]
"""Told of each piece of a stream before its client is."""


class ConversationMemory:
    """Reads and writes it; without notes or answers there is none of that kind."""

    def __init__(
        self, notes: ReasoningNoteStore | None = None, responses: SavedResponses | None = None
    ) -> None:
        self._notes = notes
        self._responses = responses

    def reads(self, dialect: Dialect) -> bool:
        """True if a request, or a count of one, may go on from an answer that `read` looks for."""
        return dialect.name == OPENAI_RESPONSES.name and self._responses is not None

    async def read(self, call: Call, dialect: Dialect, body: RequestBody) -> ResponseChain:
        """A request with what came before it. Raises ProblemError: not_found."""
        if self._responses is None or not self.reads(dialect):
            return ResponseChain(body=body, asked=body)
        return await self._responses.read(call.key, body)

    def begin(self, ahead: Prefetch, call: Call, dialect: Dialect, body: RequestBody) -> None:
        """Ask ahead for what `recall` will want."""
        if self._notes is not None and dialect is OPENAI_CHAT and body.prompt.tool_loop:
            ahead.begin("notes", partial(self._notes.find, call.key, body.said["messages"]))

    def recalls(self, job: UpstreamRequest) -> bool:
        """Whether there may be something to `recall`."""
        prompt = job.body.prompt
        if not (prompt.tool_loop or prompt.tools):
            return False
        return self._notes is not None and job.dialect is OPENAI_CHAT

    async def recall(self, job: UpstreamRequest, ahead: Prefetch) -> UpstreamRequest:
        """A call of a client that keeps no reasoning, with what was noted of its tool loop."""
        prompt = job.body.prompt
        if self._notes is None:
            return job
        found: Mapping[str, ReasoningNote] = {}
        if prompt.tool_loop:
            find = partial(self._notes.find, job.call.key, job.body.said["messages"])
            found = await ahead.take("notes", find)
        last = list(found.values())[-1] if found else None
        seat = job.seat if last is None else PinnedAccount(last.provider, last.account, last.model)
        return msgspec.structs.replace(job, notes=found, listens=bool(prompt.tools), seat=seat)

    def keeps(self, job: UpstreamRequest, begun: UpstreamResponse) -> bool:
        """Whether there may be something to `keep`."""
        return begun.ear is not None or job.dialect is OPENAI_RESPONSES

    async def keep(self, job: UpstreamRequest, begun: UpstreamResponse) -> None:
        """Keep what a whole answer leaves behind, before its client has it."""
        if begun.whole is None:
            return
        await self._note(job, begun)
        if (shelf := self._shelf(job)) is not None:
            await _store(shelf, job, begun, begun.whole)

    async def again(self, job: UpstreamRequest, found: CachedResponse, said: bytes) -> None:
        """Keep an answer that comes from the cache for whom it is new."""
        if (shelf := self._shelf(job)) is None:
            return
        whole = StreamTape().add(said) if job.body.prompt.stream else said
        target, door = job.plan.targets[0], job.plan.doors[0]
        if whole is not None:
            await shelf.keep(
                job.call.key,
                job.body,
                whole,
                found.provider,
                found.account or "",
                kept=target.provider.keeps_responses and door == OPENAI_RESPONSES.name,
            )

    def follow(self, job: UpstreamRequest, begun: UpstreamResponse, *, first: bool) -> Take | None:
        """Keep what a stream leaves behind; `first`: its call is the one that was made."""
        if (shelf := self._shelf(job)) is not None:
            tape = StreamTape()

            async def store(data: bytes) -> None:
                whole = tape.add(data)
                if whole is not None:
                    await _store(shelf, job, begun, whole)

            return store
        if begun.ear is None or not first:
            return None
        noted = False

        async def write(_: bytes) -> None:
            nonlocal noted
            watch = begun.watch
            if watch is not None and watch.complete and not noted:
                noted = True
                await self._note(job, begun)

        return write

    async def find(self, key: Key, id: str) -> bytes:
        """A kept answer. Raises ProblemError: not_found."""
        return await self._answers().find(key, id)

    async def delete(self, key: Key, id: str) -> bytes:
        """Keep an answer no longer. Raises ProblemError: not_found."""
        return await self._answers().delete(key, id)

    def _answers(self) -> SavedResponses:
        if self._responses is None:
            message = "This gateway keeps no answers: responses.ttl is 0."
            raise ProblemError(Problem(kind="not_found", message=message))
        return self._responses

    async def _note(self, job: UpstreamRequest, begun: UpstreamResponse) -> None:
        note = begun.ear.heard() if begun.ear is not None else None
        if self._notes is not None and note is not None:
            await self._notes.keep(job.call.key, job.body.said["messages"], note)

    def _shelf(self, job: UpstreamRequest) -> SavedResponses | None:
        """Where the answer to a call is to be kept; None where it is not."""
        wanted = job.dialect is OPENAI_RESPONSES and keeps(job.body)
        return self._responses if wanted else None


async def _store(
    shelf: SavedResponses, job: UpstreamRequest, begun: UpstreamResponse, response: bytes
) -> None:
    provider = begun.target.provider
    at_home = begun.door == OPENAI_RESPONSES.name
    await shelf.keep(
        job.call.key,
        job.body,
        response,
        provider.name,
        begun.account.name,
        kept=at_home and provider.keeps_responses,
    )


def holder(chain: ResponseChain) -> PinnedAccount | None:
    """Who has the earlier answer of a chain."""
    if chain.provider is None or chain.account is None:
        return None
    return PinnedAccount(chain.provider, chain.account)
