"""What a call will want later, asked for while something else is waited for."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

type Work[T] = Callable[[], Coroutine[Any, Any, T]]


class Prefetch:
    """Work by name. It is begun at once, so that what it asks shares a round trip with the rest."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Any]] | None = None

    def start(self, name: str, work: Work[Any]) -> None:
        """Begin work, once."""
        if (tasks := self._tasks) is None:
            tasks = self._tasks = {}
        if name not in tasks:
            loop = asyncio.get_running_loop()
            tasks[name] = asyncio.Task(work(), loop=loop, eager_start=True)

    async def get[T](self, name: str, work: Work[T]) -> T:
        """What work gives, whether or not it was begun."""
        tasks = self._tasks
        task: asyncio.Task[T] | None = None if tasks is None else tasks.pop(name, None)
        return await (work() if task is None else task)

    def cancel_all(self) -> None:
        """Nobody wants the rest."""
        if tasks := self._tasks:
            for task in tasks.values():
                task.cancel()
            tasks.clear()
