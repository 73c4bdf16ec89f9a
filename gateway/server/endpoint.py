"""The endpoints for calls, as plain ASGI: read the body once, and write frames as they arrive."""

import asyncio
import contextlib
from collections.abc import Awaitable
from functools import partial
from typing import Any

from gateway.core.call import Call
from gateway.core.errors import DRAINING, ClientGone, Problem, ProblemError
from gateway.dialects import Dialect
from gateway.dialects.embeddings import OPERATION as EMBEDDINGS
from gateway.pipeline.passthrough.request import PassThroughRequest
from gateway.pipeline.response import Response, make_problem_response
from gateway.runtime.composition import Gateway
from gateway.server import request_headers
from gateway.server.admission import Admission, RefusalLog
from gateway.server.http1.exchange import EndpointExchange, HttpExchange
from gateway.server.http1.response_writer import ResponseWriter
from gateway.server.identity.client_tokens import ClientTokens
from gateway.server.keepalive import Keepalive
from gateway.server.paths import fill_model
from gateway.server.request_headers import Receive, RequestHeaders, Scope, Send
from gateway.server.shutdown import InFlightRequest

_LAST_WRITE_SECONDS = 1.0
"""Seconds in which a client must read the last message of a call that the gateway ends."""
_RETRYABLE_KINDS = ("overloaded", "rate_limited")
_SMALL_BODY_BYTES = 65_536
"""The size in bytes up to which a body has been sent by the time of a refusal."""
_WRITE_BYTES = 1_000_000
"""Bytes of a stream that are written at once."""


class Endpoint:
    """Serves one operation of one dialect."""

    def __init__(
        self,
        gateway: Gateway,
        dialect: Dialect,
        refusal_log: RefusalLog,
        admission: Admission,
        client_tokens: ClientTokens,
    ) -> None:
        self._gateway = gateway
        self._clocks = gateway.clocks
        self._client_tokens = client_tokens
        self._refusal_log = refusal_log
        self._dialect = dialect
        self._admission = admission
        self._allows_token_ids = dialect.operation == EMBEDDINGS
        """True if a body may contain lists of token ids."""

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, path: str = "", model: str = ""
    ) -> None:
        """Answer one request. `path` is the part of the URL that belongs to the call (Gemini).

        `model` is the model that the URL names (Azure), for a body that names none.
        """
        call_id, length = request_headers.new_id(), None
        try:
            headers = RequestHeaders(
                scope["headers"], self._dialect.forwarded_headers, self._dialect.default_headers
            )
            length = headers.length
            if path:
                headers.add_query_key(scope["query_string"])
            key = await self._client_tokens.identify(headers)
            in_flight = self._admission.enter(key)
        except ProblemError as error:
            await self.refuse(
                send, error.problem, call_id, keep_alive=keeps_connection(error.problem, length)
            )
            return
        try:
            data = await self.read_body(receive, length, in_flight, send, call_id)
            if data is not None:
                if model:
                    data = fill_model(data, model)
                query = scope["query_string"].decode("latin-1")
                call = request_headers.build_call(
                    self._dialect,
                    headers,
                    key,
                    data,
                    call_id,
                    query=query,
                    path=path,
                    clocks=self._clocks,
                )
                await self.serve_call(call, in_flight, receive, send, scope.get("exchange"))
        finally:
            self._admission.leave(key, in_flight)

    async def serve_exchange(self, exchange: EndpointExchange) -> None:
        """Answer a call whose body has arrived with its head."""
        call_id, data, headers = request_headers.new_id(), exchange.data, exchange.request_headers
        send, dialect, admission = exchange.send, self._dialect, self._admission
        try:
            if headers is None:
                headers = RequestHeaders(
                    exchange.headers, dialect.forwarded_headers, dialect.default_headers
                )
                exchange.request_headers = headers
            key = await self._client_tokens.identify(headers)
            in_flight = admission.enter(key)
        except ProblemError as error:
            length = None if headers is None or headers.length is None else len(data)
            await self.refuse(
                send, error.problem, call_id, keep_alive=keeps_connection(error.problem, length)
            )
            return
        try:
            if len(data) <= admission.small_body_bytes or await self._accepts_body(
                data, in_flight, send, call_id
            ):
                call = request_headers.build_call(
                    dialect, headers, key, data, call_id, clocks=self._clocks
                )
                await self.serve_call(call, in_flight, None, send, exchange)
        finally:
            admission.leave(key, in_flight)

    async def read_body(
        self,
        receive: Receive,
        length: int | None,
        in_flight: InFlightRequest,
        send: Send,
        call_id: str,
    ) -> bytes | None:
        """Read the body of a request; None if it was refused or its client has left."""
        memory = self._admission.reserve_memory(in_flight)
        reading = self._admission.read_body(
            receive, length, memory, allows_token_ids=self._allows_token_ids
        )
        return await self.finish_reading(reading, in_flight, send, call_id)

    async def finish_reading[Body](
        self, reading: Awaitable[Body], in_flight: InFlightRequest, send: Send, call_id: str
    ) -> Body | None:
        """Return what `reading` returns; None if it was refused or the client has left."""
        try:
            return await reading
        except ClientGone:
            return None
        except ProblemError as error:
            problem = error.problem
        except asyncio.CancelledError:
            if not in_flight.undo_cancellation():
                raise
            problem = DRAINING
        await self.refuse(send, problem, call_id)
        return None

    async def _accepts_body(
        self, data: bytes, in_flight: InFlightRequest, send: Send, call_id: str
    ) -> bool:
        """True if a whole body passes the checks of size and memory; else refuse its call."""
        try:
            self._admission.check_body(
                data,
                self._admission.reserve_memory(in_flight),
                allows_token_ids=self._allows_token_ids,
            )
        except ProblemError as error:
            await self.refuse(send, error.problem, call_id)
            return False
        return True

    async def serve_call(
        self,
        call: Call,
        in_flight: InFlightRequest,
        receive: Receive | None,
        send: Send,
        exchange: HttpExchange | None,
        request: PassThroughRequest | None = None,
    ) -> None:
        """Serve a call under the configuration in force now, and write the reply.

        `request` is that of a pass-through call. If the client leaves, the gateway stops the work
        for this client alone. The engine records how the call ended.
        """
        revision = self._gateway.revision
        engine = revision.enter()
        try:
            server = engine if request is None else revision.passthrough
            in_flight.abort = partial(server.abort, call)
            in_flight.client_send = send
            writer = None if exchange is None else exchange.writer
            keepalive = Keepalive(self._dialect, call.id, in_flight.send, writer)
            watcher = None
            if exchange is not None:
                exchange.serve_in(in_flight)
            elif receive is not None and (request is None or not request.has_unread_body):
                # On another server: a task costs each call more.
                watcher = asyncio.create_task(_watch_disconnect(receive, in_flight))
            try:
                if request is None:
                    reply = await engine.serve(call, keepalive)
                else:
                    reply = await revision.passthrough.serve(request)
                if exchange is not None and reply.stream is None and not keepalive.has_started:
                    in_flight.is_complete = True
                    in_flight.has_started = in_flight.is_complete = exchange.write_reply(reply)
                if not in_flight.is_complete:
                    self._gateway.write_batch.flush()  # the row of the call may wait there
                    await _write_answer(reply, in_flight.send, keepalive, writer)
            except ClientGone:
                return
            except asyncio.CancelledError:
                if not in_flight.undo_cancellation():
                    raise
            finally:
                keepalive.stop()
                if exchange is not None:
                    exchange.in_flight = None
                elif watcher is not None:
                    watcher.cancel()
            if in_flight.ended_by == "drain":
                await self._write_draining(call.id, in_flight, keepalive)
        finally:
            revision.leave()

    async def _write_draining(
        self, call_id: str, in_flight: InFlightRequest, keepalive: Keepalive
    ) -> None:
        """Write the last message of a call that the gateway ends: in its stream or as an answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WRITE_SECONDS):
                await keepalive.pause()
                reply = make_problem_response(DRAINING, self._dialect, call_id, [])
                if in_flight.is_complete:
                    return
                if not in_flight.has_started:
                    reply.add_connection_close()
                    await write_reply(reply, in_flight.send)
                elif keepalive.has_started:
                    await in_flight.send({"type": "http.response.body", "body": reply.frame})

    async def refuse(
        self, send: Send, problem: Problem, call_id: str, *, keep_alive: bool = False
    ) -> None:
        """Refuse a call before its body is read, and close the connection unless `keep_alive`."""
        self._refusal_log.note(problem.kind)
        reply = make_problem_response(problem, self._dialect, call_id, [])
        if not keep_alive:
            reply.add_connection_close()
        await write_reply(reply, send)


def keeps_connection(problem: Problem, length: int | None) -> bool:
    """True if the connection stays open for the client's next attempt: a new one costs more.

    The client must be told to retry, and its body must be so small that it has been sent.
    """
    return problem.kind in _RETRYABLE_KINDS and length is not None and length <= _SMALL_BODY_BYTES


async def _watch_disconnect(receive: Receive, in_flight: InFlightRequest) -> None:
    """End a call when its client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    in_flight.end("client")


async def write_reply(reply: Response, send: Send) -> None:
    """Write a whole reply."""
    headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def make_reply_app(reply: Response) -> Any:
    """Return an ASGI application that answers every request with one reply."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await write_reply(reply, send)

    return app


async def _write_answer(
    reply: Response,
    send: Send,
    keepalive: Keepalive,
    writer: ResponseWriter | None = None,
) -> None:
    """Write a reply: a whole one in one message, a stream in one message for each item.

    Once a stream has begun, its relay may write to `writer` directly.
    """
    if reply.stream is None:
        await keepalive.pause()
        if keepalive.has_started:  # after a head with status 200
            await send({"type": "http.response.body", "body": reply.frame or reply.body})
        else:
            await write_reply(reply, send)
        return
    relay = reply.direct_relay
    async with contextlib.aclosing(reply.stream) as stream:
        # A stream that has begun records its own end; one that has not begun would not.
        data = await anext(stream, b"")
        await keepalive.pause()
        if not keepalive.has_started:
            keepalive.has_started = True
            start = {
                "type": "http.response.start",
                "status": reply.status,
                "headers": reply.headers,
            }
            await send(start)
        while data:
            # A translation may write an event four times. The client takes it piece by piece.
            for offset in range(0, len(data), _WRITE_BYTES):
                piece = data[offset : offset + _WRITE_BYTES]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            if relay is not None and writer is not None and relay.awaits_client:
                relay.pass_to(writer)
            keepalive.resume()
            data = await anext(stream, b"")
            await keepalive.pause()
    await send({"type": "http.response.body", "body": b""})
