"""Answers for questions that ask the same in other words.

    Near          finds an answer of a near question, and keeps where answers of questions are
    Asked         a question as it is compared: whose it may share, and its text
    Found         the answer of a near one: where it is kept, and how near

Two conditions must hold, and neither is enough. All that decides the answer must be equal: the
scope, the target, everything else of the request byte for byte, and the form of the question
(question_form). All of these make one name under the gateway's secret, the group: what is not equal
is never even compared. And of the questions of a group one must be near by the vector that an
embedding model gives it.

A place is bound to its group by a seal: whoever writes to the store can move none to another.
"""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from gateway.cache.codec import SealedStore, VersionedCodec, make_seal
from gateway.cache.response_cache import ResponseStore
from gateway.cache.semantic.question import read_question
from gateway.cache.semantic.question_form import parse_question_form
from gateway.core.call import Call
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.dialects import RequestBody
from gateway.state import StateStore

type Vector = Sequence[float]
type Hits = list[tuple[str, float]]
"""Names and how near they are, the nearest first."""

_PERSON = b"tiergate near 1"
_KEY_LENGTH = 48
_LARGE_BODY_BYTES = 100_000
"""Bytes of a request whose question is not looked for: it would hold up others."""
_SAVE_TIMEOUT_SECONDS = 2.0
"""Seconds that may pass until an answer that was sent is findable."""
_MAX_LOOKUPS = 3
"""Near ones that are looked up: their answers may have expired."""


class VectorIndex(Protocol):
    """Vectors by group and name, where losing them costs no request. None of it raises."""

    async def has_entries(self, group: str) -> bool:
        """Whether a group has anything, and is not closed."""
        ...

    async def find_nearest(self, group: str, vector: Vector) -> Hits:
        """What of a group is nearest."""
        ...

    async def add(self, group: str, name: str, vector: Vector, ttl: float) -> None:
        """Keep a name for `ttl` seconds, in a group that is not closed."""
        ...

    async def remove(self, group: str, name: str) -> None:
        """Drop a name."""
        ...

    async def block_group(self, group: str, ttl: float) -> None:
        """Drop a group, and take nothing into it for `ttl` seconds."""
        ...


class Embedder(Protocol):
    """What makes vectors."""

    @property
    def name(self) -> str:
        """What no other that makes other vectors is called."""
        ...

    async def __call__(self, call: Call, text: str, timeout_seconds: float) -> Vector | None:
        """The vector of a text, for a call; None where there is none within `timeout_seconds`."""
        ...


class ComparedQuestion(msgspec.Struct, frozen=True):
    """A question as it is compared."""

    group: str
    text: str
    call: Call


class SemanticHit(msgspec.Struct, frozen=True):
    """The answer of a near question."""

    key: str
    similarity: float
    """Cosine of the two vectors."""
    group: str


class _ServedAnswer(msgspec.Struct, frozen=True):
    """Which answer a call was given."""

    group: str
    place: str


_CODEC = VersionedCodec(_ServedAnswer)


class SemanticCache:
    """Answers of near questions. Never raises: what fails is a miss."""

    def __init__(  # noqa: PLR0913 - one argument for each room
        self,
        response_store: ResponseStore,
        vector_index: VectorIndex,
        embedder: Embedder,
        store: StateStore,
        *,
        secret: bytes,
        ttl: float,
        threshold: float,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ttl` is that of the answers; `timeout` is seconds that a call waits at most."""
        self._response_store = response_store
        self._vector_index = vector_index
        self._embedder = embedder
        self._secret = secret
        self._ttl = ttl
        self._threshold = threshold
        self._timeout = timeout
        self._clock = clock
        self._served_answers = SealedStore(store, secret=secret, kind="near-told")
        self._groups = SealedStore(store, secret=secret, kind="near")

    def make_question(
        self, call: Call, body: RequestBody, target: Target
    ) -> ComparedQuestion | None:
        """A call's question; None where only an equal request may share its answer."""
        if (
            call.operation != "generate"
            or call.options.cache == "exact"
            or not _is_plain_text(body.prompt)
        ):
            return None
        if len(call.body) > _LARGE_BODY_BYTES:
            return None
        typed_question = read_question(body, call.dialect)
        form = parse_question_form(typed_question.text) if typed_question is not None else None
        if typed_question is None or form is None:
            return None
        exact_key = self._response_store.make_key(call, typed_question.members, target)
        return ComparedQuestion(
            self._groups.make_name(self._embedder.name, exact_key, *form), typed_question.text, call
        )

    async def find(self, question: ComparedQuestion) -> SemanticHit | None:
        """The answer of the nearest question that is near enough, within the time."""
        deadline = self._clock() + self._timeout
        if not await self._wait_until(
            deadline, self._vector_index.has_entries(question.group), default=False
        ):
            return None
        vector = await self._embedder(
            question.call, question.text, max(0.0, deadline - self._clock())
        )
        if vector is None:
            return None
        no_hits: Hits = []
        hits = await self._wait_until(
            deadline, self._vector_index.find_nearest(question.group, vector), default=no_hits
        )
        for name, similarity in hits[:_MAX_LOOKUPS]:
            key = self._read_key(question.group, name)
            if similarity >= self._threshold and key is not None:
                return SemanticHit(key, min(similarity, 1.0), question.group)
        return None

    async def save(self, question: ComparedQuestion, key: str) -> None:
        """The answer of a question is kept at a place."""
        vector = await self._embedder(question.call, question.text, _SAVE_TIMEOUT_SECONDS)
        if vector is not None:
            name = key + self._make_seal(question.group, key)
            await self._vector_index.add(question.group, name, vector, self._ttl)

    async def remove(self, hit: SemanticHit) -> None:
        """An answer is not there any more."""
        name = hit.key + self._make_seal(hit.group, hit.key)
        await self._vector_index.remove(hit.group, name)

    async def record_served(self, call: Call, hit: SemanticHit) -> None:
        """A call was given an answer: should it be said to be bad, it is known which."""
        data = _CODEC.write(_ServedAnswer(hit.group, hit.key))
        await self._served_answers.put(self._served_answers.make_name(call.id), data, self._ttl)

    async def report_bad(self, id: str) -> None:
        """The answer that a call was given was bad: the questions of its group share none again."""
        served_answer = _CODEC.read(
            await self._served_answers.get(self._served_answers.make_name(id))
        )
        if served_answer is not None:
            await self._vector_index.block_group(served_answer.group, self._ttl)

    async def _wait_until[T](self, deadline: float, work: Awaitable[T], *, default: T) -> T:
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock())):
                return await work
        except TimeoutError:
            return default

    def _read_key(self, group: str, name: str) -> str | None:
        """The place that a name tells; None where it is not sealed for this group."""
        key = name[:_KEY_LENGTH]
        is_sealed = name.isascii() and hmac.compare_digest(
            name[_KEY_LENGTH:], self._make_seal(group, key)
        )
        return key if is_sealed else None

    def _make_seal(self, group: str, key: str) -> str:
        return make_seal(self._secret, _PERSON, group, key.encode()).hex()


def _is_plain_text(prompt: Prompt) -> bool:
    """Whether text alone is asked, and text alone may answer."""
    return not (
        prompt.tools
        or prompt.hosted_tools
        or prompt.tool_loop
        or prompt.injected_text
        or prompt.images
        or prompt.files
        or prompt.audio
        or prompt.logprobs
    )
