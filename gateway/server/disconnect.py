"""Work that ends when its client leaves."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from gateway.core.errors import Problem, ProblemError

_CLIENT_CLOSED = 499


class WatchedRoute(APIRoute):
    """A route whose GET handlers are cancelled when their client leaves.

    So a page that somebody has left keeps no query process from the next one.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a request."""
        handle = super().get_route_handler()
        if self.methods != {"GET"}:
            return handle

        async def handle_watched(request: Request) -> Response:
            return await run_while_connected(request, handle(request))

        return handle_watched


async def run_while_connected[T](request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of work; cancel it when the client leaves.

    Nothing else may read from the request meanwhile. Raises ProblemError if the client has left.
    """
    return await run_until(wait_for_disconnect(request), work)


async def run_until[T](end: Awaitable[object], work: Coroutine[Any, Any, T]) -> T:
    """Return the result of work; cancel it, and raise ProblemError, when `end` comes first."""
    work_task = asyncio.create_task(work)
    end_task = asyncio.ensure_future(end)
    try:
        await asyncio.wait({work_task, end_task}, return_when=asyncio.FIRST_COMPLETED)
        if work_task.done():
            return await work_task
        message = "The client has disconnected."
        raise ProblemError(Problem(kind="invalid_request", message=message, status=_CLIENT_CLOSED))
    finally:
        work_task.cancel()
        end_task.cancel()
        await asyncio.gather(work_task, end_task, return_exceptions=True)


async def wait_for_disconnect(request: Request) -> None:
    """Wait until the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
