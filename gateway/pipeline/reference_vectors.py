"""Compute the vectors of exemplars and routes once: at the first turn that needs them.

One task computes them in the background, with the key of that turn's call. Other turns wait for it
as long as they would wait for their own vectors.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from gateway.core.call import Call
from gateway.pipeline.saved_vectors import SavedVectors
from gateway.routing.classifier.meaning import Reference, normalize

_BATCH_SIZE = 32
"""Texts of one call: fewer than any provider allows."""
_BATCH_SECONDS = 30.0
"""Seconds that the embedder has for a batch. No call waits that long."""


class TextEmbedder(Protocol):
    """Makes vectors of several texts."""

    @property
    def name(self) -> str:
        """The name of the embedder. Embedders that make different vectors have different names."""
        ...

    @property
    def is_local(self) -> bool:
        """True if it asks no provider, so it costs nothing and texts stay in this process."""
        ...

    async def embed(
        self, call: Call, texts: Sequence[str], timeout_seconds: float
    ) -> list[list[float]] | str:
        """Return the vectors of texts, for a call, or the reason why there are none in time."""
        ...


class ReferenceVectors:
    """The vectors of a configuration's exemplars and routes."""

    def __init__(
        self,
        references: Sequence[Reference],
        embedder: TextEmbedder,
        saved_vectors: SavedVectors,
        note: Callable[[str], object],
    ) -> None:
        """`note` gets a text if vectors cannot be saved."""
        self._texts = [reference.text for reference in references]
        self._embedder = embedder
        self._saved_vectors = saved_vectors
        self._note = note
        self._vectors: list[tuple[float, ...]] | None = None
        self._task: asyncio.Task[list[tuple[float, ...]] | str] | None = None

    async def find(self, call: Call, timeout_seconds: float) -> list[tuple[float, ...]] | str:
        """Return the vectors, in the order of the references, or the reason why there are none."""
        if self._vectors is not None:
            return self._vectors
        task = self._task
        if task is None:
            task = self._task = asyncio.create_task(self._compute(call))
        await asyncio.wait((task,), timeout=timeout_seconds)
        if not task.done():
            return "the vectors of the exemplars are not there yet"
        if self._task is task:
            self._task = None  # after a failure, the next turn starts anew
        vectors = task.result()
        if not isinstance(vectors, str):
            self._vectors = vectors
        return vectors

    async def close(self) -> None:
        """End the computation."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _compute(self, call: Call) -> list[tuple[float, ...]] | str:
        """Return all vectors, or the reason why some are missing; save the new ones."""
        name, texts = self._embedder.name, list(dict.fromkeys(self._texts))
        vectors = await asyncio.to_thread(self._saved_vectors.find, name, texts)
        missing_texts = [text for text in texts if text not in vectors]
        for start in range(0, len(missing_texts), _BATCH_SIZE):
            batch = missing_texts[start : start + _BATCH_SIZE]
            batch_call = msgspec.structs.replace(call, id=f"{call.id}.exemplars{start}")
            found_vectors = await self._embedder.embed(batch_call, batch, _BATCH_SECONDS)
            if isinstance(found_vectors, str):
                return f"no vectors of the exemplars: {found_vectors}"
            vectors |= zip(batch, map(normalize, found_vectors), strict=True)
        if missing_texts:
            try:
                await asyncio.to_thread(self._saved_vectors.save, name, vectors)
            except OSError as error:
                reason = (error.strerror or "").lower()
                self._note(f"the vectors of exemplars cannot be saved: {reason}")
        return [vectors[text] for text in self._texts]
