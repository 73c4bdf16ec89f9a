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

from gateway.cache.codec import SealedStore, VersionedCodec, seal
from gateway.cache.response_cache import ResponseStore
from gateway.cache.semantic.question import question
from gateway.cache.semantic.question_form import question_form
from gateway.core.call import Call
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.dialects import RequestBody
from gateway.state import StateStore

type Vector = Sequence[float]
type Hits = list[tuple[str, float]]
"""Names and how near they are, the nearest first."""

_PERSON = b"tiergate near 1"
_PLACE = 48
_LARGE = 100_000
"""Bytes of a request whose question is not looked for: it would hold up others."""
_KEEPING = 2.0
"""Seconds that may pass until an answer that was sent is findable."""
_TRIES = 3
"""Near ones that are looked up: their answers may have expired."""


class VectorIndex(Protocol):
    """Vectors by group and name, where losing them costs no request. None of it raises."""

    async def any(self, group: str) -> bool:
        """Whether a group has anything, and is not closed."""
        ...

    async def nearest(self, group: str, vector: Vector) -> Hits:
        """What of a group is nearest."""
        ...

    async def add(self, group: str, name: str, vector: Vector, ttl: float) -> None:
        """Keep a name for `ttl` seconds, in a group that is not closed."""
        ...

    async def remove(self, group: str, name: str) -> None:
        """Drop a name."""
        ...

    async def close(self, group: str, ttl: float) -> None:
        """Drop a group, and take nothing into it for `ttl` seconds."""
        ...


class Embedder(Protocol):
    """What makes vectors."""

    @property
    def name(self) -> str:
        """What no other that makes other vectors is called."""
        ...

    async def __call__(self, call: Call, text: str, within: float) -> Vector | None:
        """The vector of a text, for a call, `within` seconds; None where there is none."""
        ...


class ComparedQuestion(msgspec.Struct, frozen=True):
    """A question as it is compared."""

    group: str
    text: str
    call: Call


class SemanticHit(msgspec.Struct, frozen=True):
    """The answer of a near question."""

    place: str
    near: float
    """Cosine of the two vectors."""
    group: str


class _Told(msgspec.Struct, frozen=True):
    """Which answer a call was given."""

    group: str
    place: str


_PACKED = VersionedCodec(_Told)


class SemanticCache:
    """Answers of near questions. Never raises: what fails is a miss."""

    def __init__(  # noqa: PLR0913 - one argument for each room
        self,
        exact: ResponseStore,
        places: VectorIndex,
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
        self._exact = exact
        self._places = places
        self._embedder = embedder
        self._secret = secret
        self._ttl = ttl
        self._threshold = threshold
        self._timeout = timeout
        self._clock = clock
        self._told = SealedStore(store, secret=secret, kind="near-told")
        self._groups = SealedStore(store, secret=secret, kind="near")

    def asked(self, call: Call, body: RequestBody, target: Target) -> ComparedQuestion | None:
        """A call's question; None where only an equal request may share its answer."""
        if call.operation != "generate" or call.steer.cache == "exact" or not _plain(body.prompt):
            return None
        if len(call.body) > _LARGE:
            return None
        said = question(body, call.dialect)
        form = question_form(said.text) if said is not None else None
        if said is None or form is None:
            return None
        rest = self._exact.key(call, said.members, target)
        return ComparedQuestion(
            self._groups.name(self._embedder.name, rest, *form), said.text, call
        )

    async def find(self, asked: ComparedQuestion) -> SemanticHit | None:
        """The answer of the nearest question that is near enough, within the time."""
        ends = self._clock() + self._timeout
        if not await self._within(ends, self._places.any(asked.group), otherwise=False):
            return None
        vector = await self._embedder(asked.call, asked.text, max(0.0, ends - self._clock()))
        if vector is None:
            return None
        nothing: Hits = []
        hits = await self._within(
            ends, self._places.nearest(asked.group, vector), otherwise=nothing
        )
        for name, near in hits[:_TRIES]:
            place = self._place(asked.group, name)
            if near >= self._threshold and place is not None:
                return SemanticHit(place, min(near, 1.0), asked.group)
        return None

    async def keep(self, asked: ComparedQuestion, place: str) -> None:
        """The answer of a question is kept at a place."""
        vector = await self._embedder(asked.call, asked.text, _KEEPING)
        if vector is not None:
            name = place + self._seal(asked.group, place)
            await self._places.add(asked.group, name, vector, self._ttl)

    async def lost(self, found: SemanticHit) -> None:
        """An answer is not there any more."""
        name = found.place + self._seal(found.group, found.place)
        await self._places.remove(found.group, name)

    async def told(self, call: Call, found: SemanticHit) -> None:
        """A call was given an answer: should it be said to be bad, it is known which."""
        told = _PACKED.write(_Told(found.group, found.place))
        await self._told.put(self._told.name(call.id), told, self._ttl)

    async def bad(self, id: str) -> None:
        """The answer that a call was given was bad: the questions of its group share none again."""
        told = _PACKED.read(await self._told.get(self._told.name(id)))
        if told is not None:
            await self._places.close(told.group, self._ttl)

    async def _within[T](self, ends: float, work: Awaitable[T], *, otherwise: T) -> T:
        try:
            async with asyncio.timeout(max(0.0, ends - self._clock())):
                return await work
        except TimeoutError:
            return otherwise

    def _place(self, group: str, name: str) -> str | None:
        """The place that a name tells; None where it is not sealed for this group."""
        place = name[:_PLACE]
        same = name.isascii() and hmac.compare_digest(name[_PLACE:], self._seal(group, place))
        return place if same else None

    def _seal(self, group: str, place: str) -> str:
        return seal(self._secret, _PERSON, group, place.encode()).hex()


def _plain(prompt: Prompt) -> bool:
    """Whether text alone is asked, and text alone may answer."""
    return not (
        prompt.tools
        or prompt.hosted_tools
        or prompt.tool_loop
        or prompt.aside
        or prompt.images
        or prompt.files
        or prompt.audio
        or prompt.logprobs
    )
