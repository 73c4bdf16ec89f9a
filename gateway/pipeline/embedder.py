"""Make vectors of texts with an embedding model of a provider.

The gateway asks the model through itself, as a call of its own with the key of the original call.
So the same limits and budgets hold. The ledger has a row of it, with a tag and the original call's
id followed by a suffix: `near` for questions of the cache, `meaning` for turns that are compared
with exemplars.
"""

import time
from collections.abc import Callable, Sequence

import msgspec

from gateway.core import jsonio
from gateway.core.call import Call, RequestOptions
from gateway.dialects import OPERATIONS
from gateway.pipeline.subrequest import CoolDown, SubrequestServer, serve_subrequest
from gateway.telemetry.log import Log
from gateway.telemetry.metrics import CounterMetric

_EMBEDDINGS = OPERATIONS["openai-chat", "embeddings"]
TAG = "near"
ID_SUFFIX = ".near"
"""The suffix that makes the id of an embedding call from that of the original call."""


class EmbedderTrust(CoolDown):
    """Pauses an embedding model that fails, and counts its missing vectors.

    `event` is the name of its log events.
    """

    def __init__(
        self, log: Log, clock: Callable[[], float] = time.monotonic, *, event: str = TAG
    ) -> None:
        super().__init__(lambda text: log(event, text=f"the embedding model is {text}"), clock)
        self.failed_vectors = 0
        """The number of vectors that the model did not give."""

    def record_failure(self, reason: str) -> None:
        """Record that the model gave no vector."""
        self.failed_vectors += 1
        super().record_failure(reason)

    def measures(self) -> list[CounterMetric]:
        """Return the metrics of the model for /metrics."""
        return [
            CounterMetric(
                "near_failed",
                "Questions for which the embedding model gave no vector.",
                lambda: self.failed_vectors,
            )
        ]


class EmbeddingModel:
    """An embedding model of a provider, asked through the gateway."""

    is_local = False

    def __init__(
        self,
        model: str,
        trust: EmbedderTrust,
        *,
        server: Callable[[], SubrequestServer],
        tag: str = TAG,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`model` is a name that a client of `/v1/embeddings` may ask for.

        `tag` marks the rows of its calls, and ends their ids after a dot.
        """
        self.name = f"model {model}"
        self._model = model
        self._trust = trust
        self._server = server
        self._tag = tag
        self._clock = clock
        self._wall = wall

    async def __call__(
        self, call: Call, text: str, timeout_seconds: float
    ) -> Sequence[float] | None:
        """Return the vector of a text; None if there is none within `timeout_seconds`."""
        vectors = await self.embed(call, (text,), timeout_seconds)
        return None if isinstance(vectors, str) else vectors[0]

    async def embed(
        self, call: Call, texts: Sequence[str], timeout_seconds: float
    ) -> list[list[float]] | str:
        """Return the vectors of texts, or the reason why there are none in time."""
        trust = self._trust
        if trust.is_paused:
            return "the gateway pauses the embedding model after failures"
        trust.start_call()
        reply = await serve_subrequest(
            self._server(), self._make_call(call, texts, timeout_seconds), timeout_seconds
        )
        if reply is None:
            reason = f"no vector within {timeout_seconds:.3g} s"
            trust.record_failure(reason)
            return reason
        vectors = parse_vectors(reply.body, len(texts)) if reply.status == 200 else None
        if vectors is not None:
            trust.record_success()
            return vectors
        reason = f"the embedding model's provider answered with status {reply.status}"
        if reply.status >= 500 or reply.status == 200:
            trust.record_failure(f"it was answered with status {reply.status}")
        else:  # the key's fault: it is not allowed, or its budget is spent
            trust.failed_vectors += 1
        return reason

    def _make_call(self, call: Call, texts: Sequence[str], timeout: float) -> Call:
        key = msgspec.structs.replace(call.key, tags=(*call.key.tags, self._tag))
        content = texts[0] if len(texts) == 1 else list(texts)
        body = {"model": self._model, "input": content, "encoding_format": "float"}
        return Call(
            id=f"{call.id}.{self._tag}",
            dialect=_EMBEDDINGS.name,
            operation=_EMBEDDINGS.operation,
            body=jsonio.dumps(body),
            trace=call.trace,
            key=key,
            options=RequestOptions(cache="off", tags=call.options.tags),
            client_timeout=timeout,
            received_at=self._wall(),
            started_at=self._clock(),
        )


class _Row(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Answer(msgspec.Struct):
    data: list[_Row]


def parse_vectors(body: bytes, count: int) -> list[list[float]] | None:
    """Return the vectors in an answer, in the order of the texts; None if any is missing."""
    try:
        rows = msgspec.convert(jsonio.loads_bounded(body), _Answer).data
    except (ValueError, msgspec.ValidationError):
        return None
    if count > 1:
        rows.sort(key=lambda row: row.index)
        if [row.index for row in rows] != list(range(count)):
            return None
    vectors = [row.embedding for row in rows]
    return vectors if len(vectors) == count and all(vectors) else None
