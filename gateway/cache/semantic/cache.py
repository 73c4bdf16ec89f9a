"""Answers for questions that ask the same in other words.

    SemanticCache      finds the answer of a near question, and saves where answers are stored
    ComparedQuestion   a question as the cache compares it: its group and its text
    SemanticHit        the answer of a near question: its cache key, and how near it is

Two conditions must hold, and neither is enough alone:

1. All that decides the answer is equal: the scope, the target, the rest of the request byte for
   byte, and the form of the question (question_form). The gateway hashes these parts with its
   secret into one name, the group. It never compares questions of different groups.
2. A question of the group is near, by the vectors of an embedding model.

A seal binds each cache key to its group: somebody who can write to the store cannot move a key to
another group.
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
"""Names with their cosines, the nearest first."""

_PERSON = b"tiergate near 1"
_KEY_LENGTH = 48
_LARGE_BODY_BYTES = 100_000
"""Bytes of a request above which the cache ignores its question: reading it delays other calls."""
_SAVE_TIMEOUT_SECONDS = 2.0
"""Seconds that the embedding model has for the question of an answer that was sent already."""
_MAX_LOOKUPS = 3
"""Maximum number of near names that are checked, the nearest first."""


class VectorIndex(Protocol):
    """Vectors by group and name. A lost vector costs no request. No method raises."""

    async def has_entries(self, group: str) -> bool:
        """Return True if a group has vectors and is not blocked."""
        ...

    async def find_nearest(self, group: str, vector: Vector) -> Hits:
        """Find the nearest vectors of a group."""
        ...

    async def add(self, group: str, name: str, vector: Vector, ttl: float) -> None:
        """Add a name with its vector for `ttl` seconds, unless the group is blocked."""
        ...

    async def remove(self, group: str, name: str) -> None:
        """Remove a name from a group."""
        ...

    async def block_group(self, group: str, ttl: float) -> None:
        """Remove a group, and add nothing to it for `ttl` seconds."""
        ...


class Embedder(Protocol):
    """Makes vectors of texts."""

    @property
    def name(self) -> str:
        """The name of the embedder. Embedders that make different vectors have different names."""
        ...

    async def __call__(self, call: Call, text: str, timeout_seconds: float) -> Vector | None:
        """Return the vector of a text, for a call; None if none comes in `timeout_seconds`."""
        ...


class ComparedQuestion(msgspec.Struct, frozen=True):
    """A question as the cache compares it."""

    group: str
    text: str
    call: Call


class SemanticHit(msgspec.Struct, frozen=True):
    """The answer of a near question, by its cache key."""

    key: str
    similarity: float
    """The cosine of the two vectors."""
    group: str


class _ServedAnswer(msgspec.Struct, frozen=True):
    """The near question's answer that a call got."""

    group: str
    place: str


_CODEC = VersionedCodec(_ServedAnswer)


class SemanticCache:
    """Answers of near questions. Never raises: a failure is a miss."""

    def __init__(  # noqa: PLR0913 - one argument for each part that it uses
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
        """`ttl` is that of the answers; `timeout` is the maximum seconds that a call waits."""
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
        """Read a call's question. Return None if only an equal request may share its answer."""
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
        """Find the answer of the nearest question, if it is near enough and found in time."""
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
        """Save that the answer of a question is stored under a cache key."""
        vector = await self._embedder(question.call, question.text, _SAVE_TIMEOUT_SECONDS)
        if vector is not None:
            name = key + self._make_seal(question.group, key)
            await self._vector_index.add(question.group, name, vector, self._ttl)

    async def remove(self, hit: SemanticHit) -> None:
        """Remove an answer that is not in the cache any more."""
        name = hit.key + self._make_seal(hit.group, hit.key)
        await self._vector_index.remove(hit.group, name)

    async def record_served(self, call: Call, hit: SemanticHit) -> None:
        """Record which answer a call got, in case somebody reports it as bad."""
        data = _CODEC.write(_ServedAnswer(hit.group, hit.key))
        await self._served_answers.put(self._served_answers.make_name(call.id), data, self._ttl)

    async def report_bad(self, id: str) -> None:
        """Block the group of the answer that a call got, for `ttl` seconds: the answer was bad."""
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
        """Read the cache key in a name; None if it is not sealed for this group."""
        key = name[:_KEY_LENGTH]
        is_sealed = name.isascii() and hmac.compare_digest(
            name[_KEY_LENGTH:], self._make_seal(group, key)
        )
        return key if is_sealed else None

    def _make_seal(self, group: str, key: str) -> str:
        return make_seal(self._secret, _PERSON, group, key.encode()).hex()


def _is_plain_text(prompt: Prompt) -> bool:
    """Return True if the prompt is only text, and the answer can only be text."""
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
