"""What a call will want later, asked for while something else is waited for."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

type Work[T] = Callable[[], Coroutine[Any, Any, T]]


class Prefetch:
    """Work by name. It is begun at once, so that what it asks shares a round trip with the rest."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun: dict[str, asyncio.Task[Any]] | None = None

    def begin(self, name: str, work: Work[Any]) -> None:
        """Begin work, once."""
        if (begun := self._begun) is None:
            begun = self._begun = {}
        if name not in begun:
            loop = asyncio.get_running_loop()
            begun[name] = asyncio.Task(work(), loop=loop, eager_start=True)

    async def take[T](self, name: str, work: Work[T]) -> T:
        """What work gives, whether or not it was begun."""
        begun = self._begun
        task: asyncio.Task[T] | None = None if begun is None else begun.pop(name, None)
        return await (work() if task is None else task)

    def drop(self) -> None:
        """Nobody wants the rest."""
        if begun := self._begun:
            for task in begun.values():
                task.cancel()
            begun.clear()
