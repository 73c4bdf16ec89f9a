"""The hot endpoints, as plain ASGI: the body is read once and frames are written as they come."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from gateway.compose import Gateway
from gateway.core.call import Call
from gateway.core.problem import Problem, ProblemError
from gateway.dialects import Dialect
from gateway.http import drain, edge
from gateway.http.beat import Beat
from gateway.http.drain import Visit
from gateway.http.edge import Gone, Head, Receive, Scope, Send
from gateway.http.entrance import Entrance
from gateway.http.exchange import BODY
from gateway.http.refused import Refused
from gateway.reply import Reply, refusal

_LAST = 1.0
"""Seconds in which a client must take the last word of a call that is ended."""
_AGAIN = ("overloaded", "rate_limited")
_LITTLE = 65_536
"""Bytes of a body that has come with its head."""


class Wire(Protocol):
    """The connection of a client."""

    slow: bool
    """It was closed since its client read too little of its answer."""
    lost: bool
    """It is closed."""
    gone: Callable[[], object] | None
    """Is told once when it closes."""

    def answer(self, send: Send, reply: Reply) -> bool:
        """Write a whole reply in one piece; False where it cannot."""
        ...


class Generate:
    """Serves the generating endpoint of one dialect."""

    def __init__(
        self, gateway: Gateway, dialect: Dialect, refused: Refused, entrance: Entrance
    ) -> None:
        self._gateway = gateway
        self._refused = refused
        self._dialect = dialect
        self._entrance = entrance

    async def __call__(self, scope: Scope, receive: Receive, send: Send, path: str = "") -> None:
        """Answer one request; `path` is what of it stands in its URL."""
        call_id, length = edge.new_id(), None
        try:
            head = Head(scope["headers"], self._dialect.headers, self._dialect.defaults)
            length = head.length
            if path:
                head.add(scope["query_string"])
            key = edge.identify(self._gateway.keys, head)
            self._entrance.admit(key)
        except ProblemError as error:
            await self._refuse(send, error.problem, call_id, keep=_kept(error.problem, length))
            return
        visit = self._entrance.enter(key)
        try:
            data: bytes | None = scope.get(BODY)
            if data is None or not self._entrance.takes(data):
                data = await self._body(scope, head, visit, receive, send, call_id)
            if data is not None:
                query = scope["query_string"].decode("latin-1")
                call = edge.call(self._dialect, head, key, data, call_id, query=query, path=path)
                await self._serve(call, visit, receive, send, scope.get("wire"))
        finally:
            self._entrance.leave(key, visit)

    async def _body(
        self, scope: Scope, head: Head, visit: Visit, receive: Receive, send: Send, call_id: str
    ) -> bytes | None:
        """The body of a request; None where it was refused, or its client has left."""
        try:
            data: bytes | None = scope.get(BODY)
            if data is None:
                return await self._entrance.body(receive, head.length, visit.hold)
            self._entrance.take(data, visit.hold)
            return data
        except Gone:
            return None
        except ProblemError as error:
            problem = error.problem
        except asyncio.CancelledError:
            if not visit.ended():
                raise
            problem = drain.PROBLEM
        await self._refuse(send, problem, call_id)
        return None

    async def _serve(
        self, call: Call, visit: Visit, receive: Receive, send: Send, wire: Wire | None
    ) -> None:
        """Serve it, by the configuration that is in force now, and account for how it ended."""
        edition = self._gateway.edition
        engine = edition.enter()
        try:
            visit.serves(lambda stop, by: engine.leave(call, stop, by))
            at_once = None if wire is None else partial(wire.answer, send)
            send = visit.telling(send)
            beat = Beat(self._dialect, call.id, send)
            serving = engine.serve(call, beat)
            await _until_gone(serving, visit, receive, send, beat, wire, at_once)
            if visit.by:
                engine.forget(call)
            if visit.by == "drain":
                await self._end(call.id, visit, beat, send)
        finally:
            edition.leave()

    async def _end(self, call_id: str, visit: Visit, beat: Beat, send: Send) -> None:
        """The last word to a client whose call is ended, in its stream or in place of it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST):
                await beat.pause()
                reply = refusal(drain.PROBLEM, self._dialect, call_id, [])
                if visit.done:
                    return
                if not visit.told:
                    reply.headers.append((b"connection", b"close"))
                    await write(reply, send)
                elif beat.begun:
                    await send({"type": "http.response.body", "body": reply.frame})

    async def _refuse(
        self, send: Send, problem: Problem, call_id: str, *, keep: bool = False
    ) -> None:
        """Refuse before the body was read: the connection goes with what is left of it, or not."""
        self._refused.note(problem.kind)
        reply = refusal(problem, self._dialect, call_id, [])
        if not keep:
            reply.headers.append((b"connection", b"close"))
        await write(reply, send)


def _kept(problem: Problem, length: int | None) -> bool:
    """Whether a connection is kept for the client's next attempt: a new one costs more than that.

    It must be told to come again, and have so little to send that it has sent it.
    """
    return problem.kind in _AGAIN and length is not None and length <= _LITTLE


async def _until_gone(
    serving: Coroutine[Any, Any, Reply],
    visit: Visit,
    receive: Receive,
    send: Send,
    beat: Beat,
    wire: Wire | None = None,
    at_once: Callable[[Reply], bool] | None = None,
) -> None:
    """Serve and write the reply; when the client leaves, stop what is done for it alone.

    `at_once` writes a whole reply in one piece, where that can be.
    """

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        visit.end("client")

    watcher = None
    if wire is None:  # served by another server: a task costs each call more
        watcher = asyncio.create_task(watch())
    else:
        wire.gone = lambda: visit.end("client_slow" if wire.slow else "client")
        if wire.lost:
            asyncio.get_running_loop().call_soon(wire.gone)
    try:
        reply = await serving
        if at_once is not None and reply.stream is None and not beat.begun:
            visit.done = True
            visit.told = visit.done = at_once(reply)
        if not visit.done:
            await _answer(reply, send, beat)
    except asyncio.CancelledError:
        if not visit.ended():
            raise
    finally:
        beat.stop()
        if watcher is not None:
            watcher.cancel()
        elif wire is not None:
            wire.gone = None


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
