"""Make vectors of questions with an embedding model of a provider.

The gateway asks the model through itself, as a call of its own with the key of the original call.
So the same limits and budgets hold. The ledger has a row of it, with the tag `near` and the
original call's id followed by `.near`.
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
    """The pause of an embedding model that fails, and a count of missing vectors."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(lambda text: log("near", text=f"the embedding model is {text}"), clock)
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

    def __init__(
        self,
        model: str,
        trust: EmbedderTrust,
        *,
        server: Callable[[], SubrequestServer],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`model` is a name that a client of `/v1/embeddings` may ask for."""
        self.name = f"model {model}"
        self._model = model
        self._trust = trust
        self._server = server
        self._clock = clock
        self._wall = wall

    async def __call__(
        self, call: Call, text: str, timeout_seconds: float
    ) -> Sequence[float] | None:
        """Return the vector of a text; None if there is none within `timeout_seconds`."""
        trust = self._trust
        if trust.is_paused:
            return None
        trust.start_call()
        reply = await serve_subrequest(
            self._server(), self._make_call(call, text, timeout_seconds), timeout_seconds
        )
        if reply is None:
            trust.record_failure(f"no vector within {timeout_seconds:.3g} s")
            return None
        vector = parse_vector(reply.body) if reply.status == 200 else None
        if vector is not None:
            trust.record_success()
        elif reply.status >= 500 or reply.status == 200:
            trust.record_failure(f"it was answered with status {reply.status}")
        else:  # the key's fault: it is not allowed, or its budget is spent
            trust.failed_vectors += 1
        return vector

    def _make_call(self, call: Call, text: str, timeout: float) -> Call:
        key = msgspec.structs.replace(call.key, tags=(*call.key.tags, TAG))
        body = {"model": self._model, "input": text, "encoding_format": "float"}
        return Call(
            id=f"{call.id}{ID_SUFFIX}",
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


class _Answer(msgspec.Struct):
    data: list[_Row]


def parse_vector(body: bytes) -> list[float] | None:
    """Return the vector in an answer; None if there is none."""
    try:
        (row,) = msgspec.convert(jsonio.loads_bounded(body), _Answer).data
    except (ValueError, msgspec.ValidationError):
        return None
    return row.embedding or None
