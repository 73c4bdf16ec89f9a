"""A cache of near answers, with everything around it in memory and its own clock."""

from collections.abc import Sequence

from gateway.cache.key import Sharing
from gateway.cache.response_cache import ResponseStore
from gateway.cache.semantic.cache import SemanticCache, VectorIndex
from gateway.cache.semantic.vector_index import LocalVectorIndex
from gateway.core import jsonio
from gateway.core.call import OPEN_KEY, Call, Key, RequestOptions
from gateway.core.jsonio import Json
from gateway.core.target import Provider, Target
from gateway.dialects import OPERATIONS, RequestBody
from gateway.state.memory import MemoryStore

TARGET = Target(provider=Provider(name="openai", urls={}), model="gpt-6-luna")
ONE, OTHER = "How do I reset my password?", "What's the way to reset my password?"


class SemanticCacheFixture:
    def __init__(
        self,
        *,
        sharing: Sharing = "key",
        places: VectorIndex | None = None,
        embedder: "Fixed | None" = None,
        threshold: float = 0.6,
        timeout: float = 10.0,
        secret: bytes = b"n" * 32,
    ) -> None:
        self.now = 0.0
        self.store = MemoryStore(64_000_000, clock=self.clock)
        self.places = places or LocalVectorIndex(clock=self.clock)
        exact = ResponseStore(
            self.store, secret=b"s" * 32, ttl=3600.0, clock=self.clock, sharing=sharing
        )
        self.exact = exact
        self.near = SemanticCache(
            exact,
            self.places,
            embedder or Fixed([1.0]),
            self.store,
            secret=secret,
            ttl=3600.0,
            threshold=threshold,
            timeout=timeout,
        )

    def clock(self) -> float:
        return self.now

    async def save_answer(self, call: Call, target: Target = TARGET) -> str:
        """Store the key of a call's answer, and return it."""
        place = self.place(call, target)
        question = self.near.make_question(call, read(call), target)
        assert question is not None
        await self.near.save(question, place)
        return place

    def place(self, call: Call, target: Target = TARGET) -> str:
        return self.exact.make_key(call, read(call).members, target)

    async def find_answer(self, call: Call, target: Target = TARGET) -> str | None:
        """Return the key of the answer that would serve a call."""
        question = self.near.make_question(call, read(call), target)
        answer = None if question is None else await self.near.find(question)
        return None if answer is None else answer.key


class Fixed:
    """An embedder with fixed vectors."""

    name = "fixed"

    def __init__(self, *vectors: Sequence[float] | None) -> None:
        self._vectors = list(vectors)
        self.within: list[float] = []

    async def __call__(
        self, call: Call, text: str, timeout_seconds: float
    ) -> Sequence[float] | None:
        self.within.append(timeout_seconds)
        return self._vectors.pop(0) if len(self._vectors) > 1 else self._vectors[0]


def read(call: Call) -> RequestBody:
    return OPERATIONS[call.dialect, call.operation].read_call(call)


def asking(
    text: str = ONE,
    *,
    key: Key = OPEN_KEY,
    dialect: str = "openai-chat",
    cache: str | None = None,
    headers: dict[str, str] | None = None,
    before: Sequence[Json] = (),
    id: str = "call-1",
    **more: Json,
) -> Call:
    """Make a call that asks a text after some messages."""
    body: dict[str, Json] = {"model": "auto", **more}
    body["messages"] = [*before, {"role": "user", "content": text}]
    return Call(
        id=id,
        dialect=dialect,
        operation="generate",
        body=jsonio.dumps(body),
        headers=headers or {},
        key=key,
        options=RequestOptions(cache=cache),
        received_at=0.0,
        started_at=0.0,
    )
