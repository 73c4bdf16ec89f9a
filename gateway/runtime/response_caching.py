"""The parts of the response cache: what outlives configurations, and the cache of each one."""

from collections.abc import Callable

from gateway.cache.policy import CachePolicy
from gateway.cache.response_cache import ResponseStore
from gateway.cache.semantic.cache import SemanticCache, VectorIndex
from gateway.cache.semantic.vector_index import LocalVectorIndex, RedisVectorIndex
from gateway.core.clocks import Clocks
from gateway.pipeline.embedder import EmbedderTrust, EmbeddingModel
from gateway.pipeline.engine import Engine
from gateway.settings.schema.root import CachePart
from gateway.state import StateStore, secret
from gateway.state.redis.store import RedisStore
from gateway.telemetry.log import Log
from gateway.telemetry.metrics import CounterMetric


class ResponseCaching:
    """Parts that the caches of all configurations share: the index of questions, and a pause."""

    def __init__(
        self, state_store: StateStore, root_secret: bytes, log: Log, clocks: Clocks
    ) -> None:
        self._state_store = state_store
        self._root_secret = root_secret
        self._log = log
        self._clocks = clocks
        self._embedder_trust = EmbedderTrust(log)
        self._vector_index = self._make_vector_index()

    def make_response_store(self, cache_part: CachePart) -> ResponseStore | None:
        """Return the store of whole answers; None if the cache is off."""
        if cache_part.ttl <= 0:
            return None
        return ResponseStore(
            self._state_store,
            secret=secret.derive_key(self._root_secret, "cache"),
            ttl=cache_part.ttl,
            clock=self._clocks.wall,
            sharing=cache_part.scope,
            policy=CachePolicy(cache_part.default, sampled=cache_part.sampled),
            is_sealed=isinstance(self._state_store, RedisStore),
            note=lambda text: self._log("cache", text=text),
        )

    def make_semantic_cache(
        self,
        cache_part: CachePart,
        response_store: ResponseStore | None,
        server: Callable[[], Engine],
    ) -> SemanticCache | None:
        """Return the cache of near questions; None if it is off."""
        if response_store is None or cache_part.near is None:
            return None
        return SemanticCache(
            response_store,
            self._vector_index,
            EmbeddingModel(cache_part.near.embed, self._embedder_trust, server=server),
            self._state_store,
            secret=secret.derive_key(self._root_secret, "near"),
            ttl=cache_part.ttl,
            threshold=cache_part.near.threshold,
            timeout=cache_part.near.timeout,
        )

    def measures(self) -> list[CounterMetric]:
        """Return the metrics of the embedding model for /metrics."""
        return self._embedder_trust.measures()

    def _make_vector_index(self) -> VectorIndex:
        """Return the index of near questions, shared through Redis or local to this process."""
        local_index = LocalVectorIndex(clock=self._clocks.monotonic)
        if not isinstance(self._state_store, RedisStore):
            return local_index
        return RedisVectorIndex(
            self._state_store, local_index, lambda text: self._log("near", text=f"the Redis {text}")
        )
