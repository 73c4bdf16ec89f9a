"""The hot endpoints, as plain ASGI: the body is read once and frames are written as they come."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from gateway.core.call import Call
from gateway.core.errors import DRAINING, Problem, ProblemError
from gateway.dialects import Dialect
from gateway.dialects.embeddings import OPERATION as EMBEDDINGS
from gateway.pipeline.response import Response, refusal
from gateway.runtime.composition import Gateway
from gateway.server import request_headers
from gateway.server.admission import Admission, RefusalLog
from gateway.server.http1.exchange import HttpExchange
from gateway.server.http1.response_writer import ResponseWriter
from gateway.server.keepalive import Keepalive
from gateway.server.paths import fill_model
from gateway.server.request_headers import ClientGone, Receive, RequestHeaders, Scope, Send
from gateway.server.shutdown import InFlightRequest

_LAST = 1.0
"""Seconds in which a client must take the last word of a call that is ended."""
_AGAIN = ("overloaded", "rate_limited")
_LITTLE = 65_536
"""Bytes of a body that has come with its head."""


class ConnectionWriter(Protocol):
    """The connection of a client."""

    lost: bool
    """It is closed."""
    visit: InFlightRequest | None
    """Ends when it is closed."""

    def answer(self, send: Send, reply: Response) -> bool:
        """Write a whole reply in one piece; False where it cannot."""
        ...

    def out(self, send: Send, beat: Keepalive) -> ResponseWriter | None:
        """Where pieces of a stream that has begun are written past its task; None: nowhere."""
        ...

    def left(self) -> None:
        """End the visit of a client that has left."""
        ...


class Endpoint:
    """Serves the generating endpoint of one dialect."""

    def __init__(
        self, gateway: Gateway, dialect: Dialect, refused: RefusalLog, entrance: Admission
    ) -> None:
        self._gateway = gateway
        self._refused = refused
        self._dialect = dialect
        self._entrance = entrance
        self._ids = dialect.operation == EMBEDDINGS
        """True if a body may be lists of token ids."""

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, path: str = "", model: str = ""
    ) -> None:
        """Answer one request; `path` is what of it stands in its URL, as Gemini has it.

        `model` is the one that an URL names (Azure), for a body that names none.
        """
        call_id, length = request_headers.new_id(), None
        try:
            head = RequestHeaders(scope["headers"], self._dialect.headers, self._dialect.defaults)
            length = head.length
            if path:
                head.add(scope["query_string"])
            key = request_headers.identify(self._gateway.keys, head)
            visit = self._entrance.enter(key)
        except ProblemError as error:
            await self._refuse(send, error.problem, call_id, keep=_kept(error.problem, length))
            return
        try:
            data = await self._body(receive, length, visit, send, call_id)
            if data is not None:
                if model:
                    data = fill_model(data, model)
                query = scope["query_string"].decode("latin-1")
                call = request_headers.call(
                    self._dialect, head, key, data, call_id, query=query, path=path
                )
                await self._serve(call, visit, receive, send, scope.get("wire"))
        finally:
            self._entrance.leave(key, visit)

    async def whole(self, exchange: HttpExchange) -> None:
        """Answer a call that has come whole with its head. Never raises."""
        call_id, data, head = request_headers.new_id(), exchange.data, exchange.head
        send, dialect, entrance = exchange.send, self._dialect, self._entrance
        try:
            try:
                if head is None:
                    head = RequestHeaders(exchange.headers, dialect.headers, dialect.defaults)
                    exchange.head = head
                key = request_headers.identify(self._gateway.keys, head)
                visit = entrance.enter(key)
            except ProblemError as error:
                length = None if head is None or head.length is None else len(data)
                await self._refuse(send, error.problem, call_id, keep=_kept(error.problem, length))
            else:
                try:
                    if len(data) <= entrance.small or await self._taken(data, visit, send, call_id):
                        call = request_headers.call(dialect, head, key, data, call_id)
                        await self._serve(call, visit, None, send, exchange.wire)
                finally:
                    entrance.leave(key, visit)
            if not exchange.response_complete and not exchange.disconnected:
                await exchange.fail(None)
        except BaseException as error:  # noqa: BLE001 - what any server does of an application's
            await exchange.fail(error)
        finally:
            if exchange.task is not None:
                exchange.wire.tasks.discard(exchange.task)

    async def _body(
        self, receive: Receive, length: int | None, visit: InFlightRequest, send: Send, call_id: str
    ) -> bytes | None:
        """The body of a request; None where it was refused, or its client has left."""
        try:
            hold = self._entrance.hold(visit)
            return await self._entrance.body(receive, length, hold, ids=self._ids)
        except ClientGone:
            return None
        except ProblemError as error:
            problem = error.problem
        except asyncio.CancelledError:
            if not visit.ended():
                raise
            problem = DRAINING
        await self._refuse(send, problem, call_id)
        return None

    async def _taken(self, data: bytes, visit: InFlightRequest, send: Send, call_id: str) -> bool:
        """Whether there is room for a body that has come whole; its call is refused where not."""
        try:
            self._entrance.take(data, self._entrance.hold(visit), ids=self._ids)
        except ProblemError as error:
            await self._refuse(send, error.problem, call_id)
            return False
        return True

    async def _serve(
        self,
        call: Call,
        visit: InFlightRequest,
        receive: Receive | None,
        send: Send,
        wire: ConnectionWriter | None,
    ) -> None:
        """Serve it, by the configuration that is in force now, and write the reply.

        When its client leaves, what is done for it alone is stopped; it accounts for how it ended.
        """
        edition = self._gateway.edition
        engine = edition.enter()
        try:
            visit.serves(engine, call)
            tell = visit.telling(send)
            beat = Keepalive(self._dialect, call.id, tell)
            watcher = None
            if wire is not None:
                wire.visit = visit
                if wire.lost:
                    asyncio.get_running_loop().call_soon(wire.left)
            elif receive is not None:  # another server's: a task costs each call more
                watcher = asyncio.create_task(_watch(receive, visit))
            try:
                reply = await engine.serve(call, beat)
                if wire is not None and reply.stream is None and not beat.begun:
                    visit.done = True
                    visit.told = visit.done = wire.answer(send, reply)
                if not visit.done:
                    self._gateway.outbox.flush()  # the row of the call may wait there
                    await _answer(
                        reply, tell, beat, None if wire is None else partial(wire.out, send, beat)
                    )
            except asyncio.CancelledError:
                if not visit.ended():
                    raise
            finally:
                beat.stop()
                if wire is not None:
                    wire.visit = None
                elif watcher is not None:
                    watcher.cancel()
            if visit.by:
                engine.forget(call)
                if visit.by == "drain":
                    await self._end(call.id, visit, beat, tell)
        finally:
            edition.leave()

    async def _end(self, call_id: str, visit: InFlightRequest, beat: Keepalive, send: Send) -> None:
        """The last word to a client whose call is ended, in its stream or in place of it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST):
                await beat.pause()
                reply = refusal(DRAINING, self._dialect, call_id, [])
                if visit.done:
                    return
                if not visit.told:
                    reply.close()
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
            reply.close()
        await write(reply, send)


def _kept(problem: Problem, length: int | None) -> bool:
    """Whether a connection is kept for the client's next attempt: a new one costs more than that.

    It must be told to come again, and have so little to send that it has sent it.
    """
    return problem.kind in _AGAIN and length is not None and length <= _LITTLE


async def _watch(receive: Receive, visit: InFlightRequest) -> None:
    """End a visit when its client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    visit.end("client")


async def write(reply: Response, send: Send) -> None:
    """Write a whole reply."""
    headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def saying(reply: Response) -> Any:
    """What answers whatever is asked with one reply."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await write(reply, send)

    return app


async def _answer(
    reply: Response,
    send: Send,
    beat: Keepalive,
    out: Callable[[], ResponseWriter | None] | None = None,
) -> None:
    """Write a reply: whole in one message, a stream in one message for each item.

    But for what may pass by `out`, once the stream has begun.
    """
    if reply.stream is None:
        await beat.pause()
        if beat.begun:  # under a head that says 200
            await send({"type": "http.response.body", "body": reply.frame or reply.body})
        else:
            await write(reply, send)
        return
    direct = reply.direct
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
            if direct is not None and out is not None and direct.waits:
                direct.pass_to(out())
            beat.resume()
            data = await anext(stream, b"")
            await beat.pause()
    await send({"type": "http.response.body", "body": b""})
