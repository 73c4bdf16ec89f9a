"""The hot endpoints, as plain ASGI: the body is read once and frames are written as they come."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from gateway.compose import Gateway
from gateway.core.problem import Problem, ProblemError
from gateway.dialects import Dialect
from gateway.http import edge
from gateway.http.beat import Beat
from gateway.http.edge import Gone, Receive, Scope, Send
from gateway.http.refused import Refused
from gateway.http.share import Shares
from gateway.reply import Reply, refusal


class Generate:
    """Serves the generating endpoint of one dialect."""

    def __init__(self, gateway: Gateway, dialect: Dialect, refused: Refused) -> None:
        self._gateway = gateway
        self._refused = refused
        self._dialect = dialect
        server = gateway.site.source.config.server
        self._most_body, self._shares = server.max_body, Shares(server.in_flight)

    @property
    def calls(self) -> int:
        """Calls that are being served."""
        return self._shares.calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send, path: str = "") -> None:
        """Answer one request; `path` is what of it stands in its URL."""
        call_id = edge.new_id()
        try:
            head = edge.Head(scope["headers"], self._dialect.headers, self._dialect.defaults)
            if path:
                head.add(scope["query_string"])
            key = edge.identify(self._gateway.keys, head)
            self._shares.admit(key)
            data = await edge.body(receive, head.length, self._most_body)
        except Gone:
            return
        except ProblemError as error:
            await self._refuse(send, error.problem, call_id)
            return
        query = scope["query_string"].decode("latin-1")
        call = edge.call(self._dialect, head, key, data, call_id, query=query, path=path)
        self._shares.enter(key)
        try:
            engine = self._gateway.engine
            leave = partial(engine.leave, call)
            beat = Beat(self._dialect, call.id, send)
            await _until_gone(engine.serve(call, beat), leave, receive, send, beat)
        finally:
            self._shares.leave(key)

    async def _refuse(self, send: Send, problem: Problem, call_id: str) -> None:
        """Refuse before the body was read: the connection cannot be used for another request."""
        self._refused.note(problem.kind)
        reply = refusal(problem, self._dialect, call_id, [])
        reply.headers.append((b"connection", b"close"))
        await write(reply, send)


async def _until_gone(
    serving: Coroutine[Any, Any, Reply],
    leave: Callable[[Callable[[], object]], object],
    receive: Receive,
    send: Send,
    beat: Beat,
) -> None:
    """Serve and write the reply; when the client leaves first, stop what is done for it alone."""
    task = asyncio.current_task()
    left = False
    done = False

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        leave(stop)

    def stop() -> None:
        nonlocal left
        if not done and task is not None:
            left = True
            task.cancel()

    async def last(message: edge.Message) -> None:
        nonlocal done
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            done = True
        await send(message)

    watcher = asyncio.create_task(watch())
    try:
        await _answer(await serving, last, beat)
    except asyncio.CancelledError:
        if not left or task is None:
            raise
        task.uncancel()
    finally:
        beat.stop()
        watcher.cancel()


async def write(reply: Reply, send: Send) -> None:
    """Write a whole reply."""
    headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _answer(reply: Reply, send: Send, beat: Beat) -> None:
    """Write a reply: whole in one message, a stream in one message for each item."""
    if reply.stream is None:
        await beat.pause()
        if beat.begun:  # under a head that says 200
            await send({"type": "http.response.body", "body": reply.frame or reply.body})
        else:
            await write(reply, send)
        return
    async with contextlib.aclosing(reply.stream) as stream:
        # A stream that was begun accounts for itself however it ends; one that was not would not.
        data = await anext(stream, b"")
        await beat.pause()
        if not beat.begun:
            beat.begun = True
            start = {
                "type": "http.response.start",
                "status": reply.status,
                "headers": reply.headers,
            }
            await send(start)
        while data:
            await send({"type": "http.response.body", "body": data, "more_body": True})
            beat.resume()
            data = await anext(stream, b"")
            await beat.pause()
    await send({"type": "http.response.body", "body": b""})
