"""What makes vectors of questions: no model at all, or one of a provider's.

A provider's model is asked through the gateway itself, as a call of its own with the key of the
call that it is for: the same limits and budgets hold, and the ledger has a row of it, with the tag
`near` and the other call's id with `.near` behind it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from gateway.core import jsonio
from gateway.core.call import Call, Steer
from gateway.dialects import OPERATIONS
from gateway.reply import Reply
from gateway.routing.near.vector import vector
from gateway.telemetry.log import Log
from gateway.telemetry.metrics import Count

_EMBEDDINGS = OPERATIONS["openai-chat", "embeddings"]
TAG = "near"
SUFFIX = ".near"
"""What the id of a call for a vector adds to that of the call that it is for."""
WORDS = "words"
"""The embedder that needs no model."""
_FAILURES = 3
"""In a row, after which a model is left alone."""
_PAUSE = 30.0
"""Seconds for which it is."""


class Server(Protocol):
    """Serves calls: the engine."""

    async def serve(self, call: Call) -> Reply:
        """Answer a call."""
        ...

    def leave(self, call: Call, cancel: Callable[[], object], by: str) -> None:
        """End a call that is being served."""
        ...

    def forget(self, call: Call) -> None:
        """It has ended."""
        ...


class Words:
    """Makes them of words and letters."""

    name = f"{WORDS} 1"

    async def __call__(self, call: Call, text: str, within: float) -> Sequence[float]:  # noqa: ARG002 - a model's
        """The vector of a text."""
        return vector(text)


class Patience:
    """Whether a model may be asked: it outlives configurations. `clock` is monotonic seconds."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._failures = 0
        self._until = float("-inf")
        self.failed = 0
        """Vectors that were not had."""

    @property
    def out(self) -> bool:
        """Whether it is left alone for now."""
        return self._clock() < self._until

    def fail(self, why: str) -> None:
        """It gave no vector."""
        self.failed += 1
        self._failures += 1
        if self._failures >= _FAILURES:
            self._until = self._clock() + _PAUSE
            if self._failures == _FAILURES:
                self._log("near", text=f"the embedding model is left alone for a while: {why}")

    def well(self) -> None:
        """It gave one."""
        if self._failures >= _FAILURES:
            self._log("near", text="the embedding model is back")
        self._failures = 0

    def measures(self) -> list[Count]:
        """What of it is told at /metrics."""
        return [
            Count("near_failed", "Vectors of questions that were not had.", lambda: self.failed)
        ]


class Model:
    """Asks a provider's model."""

    def __init__(
        self,
        model: str,
        patience: Patience,
        *,
        server: Callable[[], Server],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`model` is a name that a client of `/v1/embeddings` may ask for."""
        self.name = f"model {model}"
        self._model = model
        self._patience = patience
        self._server = server
        self._clock = clock
        self._wall = wall

    async def __call__(self, call: Call, text: str, within: float) -> Sequence[float] | None:
        """The vector of a text; None where there is none `within` seconds."""
        patience, server = self._patience, self._server()
        if patience.out:
            return None
        asked = self._call(call, text, within)
        task = asyncio.ensure_future(server.serve(asked))
        try:
            await asyncio.wait((task,), timeout=within)
        except asyncio.CancelledError:  # the client of the call that it is for has left
            server.leave(asked, task.cancel, "client")
            raise
        if not task.done():
            server.leave(asked, task.cancel, "timeout")
            await asyncio.gather(task, return_exceptions=True)
            server.forget(asked)
            patience.fail(f"no vector within {within:.3g} s")
            return None
        reply = task.result()
        found = told(reply.body) if reply.status == 200 else None
        if found is not None:
            patience.well()
        elif reply.status >= 500 or reply.status == 200:
            patience.fail(f"it was answered with status {reply.status}")
        else:  # of this key: it may not, or has spent what it may
            patience.failed += 1
        return found

    def _call(self, call: Call, text: str, patience: float) -> Call:
        key = msgspec.structs.replace(call.key, tags=(*call.key.tags, TAG))
        body = {"model": self._model, "input": text, "encoding_format": "float"}
        return Call(
            id=f"{call.id}{SUFFIX}",
            dialect=_EMBEDDINGS.name,
            operation=_EMBEDDINGS.operation,
            body=jsonio.dumps(body),
            trace=call.trace,
            key=key,
            steer=Steer(cache="off", tags=call.steer.tags),
            patience=patience,
            received_at=self._wall(),
            started=self._clock(),
        )


class _Row(msgspec.Struct):
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Row]


def told(body: bytes) -> list[float] | None:
    """The vector that an answer tells; None where it is not one."""
    try:
        (row,) = msgspec.convert(jsonio.loads(body), _Answer).data
    except (ValueError, msgspec.ValidationError):
        return None
    return row.embedding or None
