"""A client's connection: what it must send, and by when, before there is a request.

A request head has a size limit and a deadline. A refusal has a form that an SDK can show, and it
never stands inside another answer. The gateway drops a client that does not read its answer. A
refused client that still sends gets time to read why. A client that closes its half of the
connection has left: the gateway ends its calls.

uvicorn's server makes one of these for each connection (`http=`). Nothing else is uvicorn's.
"""

import asyncio
import contextvars
import math
from collections import deque
from typing import Any, Protocol, cast

from gateway.core.errors import Problem
from gateway.pipeline.response import encode_response, make_problem_response
from gateway.server import request_headers
from gateway.server.app import ALWAYS_SERVED_PATHS, App
from gateway.server.endpoint import Endpoint, make_reply_app
from gateway.server.http1.asgi_exchange import AsgiExchange, make_connection_scope, make_scope
from gateway.server.http1.client_transport import ClientTransport
from gateway.server.http1.exchange import EndpointExchange, HttpExchange
from gateway.server.http1.head_cache import RepeatedHead
from gateway.server.http1.request_parser import RequestHead, RequestParser, UnreadableRequestError
from gateway.server.http1.response_writer import ResponseWriter
from gateway.server.http1.websocket_exchange import WebSocketExchange
from gateway.server.paths import find_dialect

_NO_DEADLINE = math.inf
_ALWAYS_SERVED_PATHS = frozenset(path.encode() for path in ALWAYS_SERVED_PATHS)
FULL_PROBLEM = Problem(
    kind="overloaded",
    message="The gateway has reached its limit of connections. Try again shortly.",
    retry_after=2.0,
)
_HEAD_TIMEOUT_PROBLEM = Problem(
    kind="request_timeout",
    message="The headers of the request did not arrive in time. Send the request again.",
)
_MAX_NEW_HEADS = 8
"""The maximum number of new heads in a row on a connection; after that none is remembered."""
_BODY_WAIT_SECONDS = 0.005
"""Seconds that the body may arrive after its head and still count as one that arrived with it. Many
clients write them one after the other."""
_SMALL_BODY_BYTES = 65_536
"""The maximum number of bytes of such a body."""


class ServerConfig(Protocol):
    """The part of uvicorn's configuration that a connection reads."""

    @property
    def app(self) -> Any:
        """The App."""
        ...


class ServerState(Protocol):
    """The state of uvicorn's server that a connection updates, and the server's own headers."""

    connections: set[Any]
    tasks: set[asyncio.Task[None]]
    total_requests: int
    default_headers: list[tuple[bytes, bytes]]


class _AwaitedRequest:
    """A request for an endpoint whose head has arrived and whose body may follow at once."""

    __slots__ = ("body_chunks", "endpoint", "head")

    def __init__(self, head: RequestHead, endpoint: Endpoint) -> None:
        self.head = head
        self.endpoint = endpoint
        self.body_chunks: list[bytes] = []


class ClientConnection(asyncio.Protocol):
    """One connection of a client; it has slots, since there are many idle connections."""

    __slots__ = (
        "_app", "_app_state", "_awaited_request", "_body_timer", "_connection_scope", "_context",
        "_current", "_head_timer", "_idle_deadline", "_idle_timer", "_is_over_limit",
        "_is_refused", "_loop", "_new_head_count", "_parser", "_pending_head", "_repeated_head",
        "_request_data", "_server_state", "_skips_linger", "_timeouts", "_waiting", "_websocket",
        "transport",
    )  # fmt: skip

    transport: ClientTransport

    def __init__(
        self,
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Make a connection with the arguments that uvicorn's server passes."""
        self._app: App = config.app
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._timeouts = self._app.timeouts
        self._parser = RequestParser(self)
        self._current: HttpExchange | None = None
        """The request that is being answered, or was answered last."""
        self._waiting: deque[HttpExchange] = deque()
        """Requests that were read and wait for their turn."""
        self._websocket: WebSocketExchange | None = None
        """The request for a WebSocket, which takes all bytes that follow; None without one."""
        self._awaited_request: _AwaitedRequest | None = None
        self._request_data = b""
        """All bytes of the awaited request, if nothing came before its head; else empty."""
        self._pending_head: tuple[RepeatedHead, bytes, int] | None = None
        """A repeated head, its bytes, and the number of body bytes that the gateway waits for."""
        self._body_timer: asyncio.TimerHandle | None = None
        """The timer that ends the wait for a body."""
        self._repeated_head: RepeatedHead | None = None
        """The remembered head of an earlier request."""
        self._new_head_count = 0
        """The number of new heads since the last repeated one."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_deadline = _NO_DEADLINE
        self._is_refused = self._skips_linger = self._is_over_limit = False

    # what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        app = self._app
        self._context = contextvars.copy_context()
        self._connection_scope = make_connection_scope(transport)
        self.transport = ClientTransport(
            cast("asyncio.Transport", transport), app.write_batch, self._timeouts.read
        )
        self._server_state.connections.add(self)
        self._is_over_limit = not app.connection_limit.add(self)
        self._start_head_timer()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Release everything and end the calls that are being served."""
        self._app.connection_limit.remove(self)
        self._server_state.connections.discard(self)
        self._cancel_head_timer()
        self._cancel_body_timer()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        exchanges = [*self._waiting] if self._current is None else [self._current, *self._waiting]
        for exchange in exchanges:
            exchange.disconnect()
        self.transport.resume_writing()
        # Cleared at once: reference cycles would stay until the garbage collector runs.
        self._parser.stop()
        self._current = self._awaited_request = self._pending_head = self._repeated_head = None
        self._websocket = None
        self._waiting.clear()

    def eof_received(self) -> None:
        """Let the transport close: a client that closes its half has left."""

    def pause_writing(self) -> None:
        """Pause the answers: the client does not read what is written."""
        self._context.copy().run(self.transport.pause_writing)

    def resume_writing(self) -> None:
        """Resume the answers: the client reads again."""
        self.transport.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Process the bytes that were read."""
        self._idle_deadline = _NO_DEADLINE
        transport = self.transport
        if self._is_refused or transport.is_lingering:
            transport.discard(len(data))
            return
        if self._websocket is not None:
            self._websocket.feed(data)
            return
        if self._pending_head is not None:
            (pending_head, head_data, body_size), self._pending_head = self._pending_head, None
            self._cancel_body_timer()
            if len(data) == body_size:
                self._begin_repeated(pending_head, data)
                return
            data = head_data + data
        known_head = self._repeated_head
        if known_head is not None and self._parser.is_between_requests and self._is_answered():
            if (body := known_head.match_body(data)) is not None:
                self._begin_repeated(known_head, body)
                return
            if body_size := known_head.parse_awaited_size(data):
                self._pending_head = known_head, data, body_size
                self._app.connection_limit.mark_busy(self)
                self._body_timer = self._loop.call_later(_BODY_WAIT_SECONDS, self._on_body_timeout)
                return
        self._parse(data)

    # what uvicorn's server, the shutdown and the connection limit call

    def shutdown(self) -> None:
        """Close the connection: now, or after the last pending answer."""
        if self._is_answered():
            self._close()
        else:
            self.close_after_answer()

    def close_after_answer(self) -> None:
        """Close the connection after the last pending answer, if there is one."""
        exchange = self._get_last_exchange()
        if exchange is not None and not exchange.writer.is_complete:
            exchange.writer.keep_alive = False

    def drop(self) -> None:
        """Close the connection to make room: it has no request."""
        if self._is_over_limit and not self._is_refused:
            self._skips_linger = True
            self._refuse_input(FULL_PROBLEM)
        else:
            self.transport.abort()

    # what exchanges call: in the connection's context, so that nothing of the call's context stays

    def end_answer(self) -> None:
        """Continue with the next request: an answer is written."""
        self._context.copy().run(self._end_answer)

    def cut_answer(self) -> None:
        """Close the connection: an answer cannot be completed."""
        self._context.copy().run(self._close)

    def resume_reading(self) -> None:
        """Resume reading from the client."""
        self._context.copy().run(self.transport.resume_reading)

    # what the parser calls

    def on_head(self, head: RequestHead) -> None:
        """Take the head of a request. Raises ValueError if the gateway refuses it."""
        self._cancel_head_timer()
        app = self._app
        if self._is_over_limit and head.url.partition(b"?")[0] not in _ALWAYS_SERVED_PATHS:
            raise ValueError("there are too many connections")
        app.connection_limit.mark_busy(self)
        if head.is_plain and head.method == b"POST" and self._is_answered():
            endpoint = app.find_endpoint(head.url, head.headers)
            if endpoint is not None:
                self._awaited_request = _AwaitedRequest(head, endpoint)
                return
        self._add_asgi_exchange(head)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a request's body."""
        if self._awaited_request is not None:
            self._awaited_request.body_chunks.append(body)
        elif isinstance(exchange := self._get_last_exchange(), AsgiExchange):
            exchange.add_body(body)

    def on_message_complete(self) -> None:
        """Take the last byte of a request."""
        if (request := self._awaited_request) is not None:
            self._awaited_request = None
            chunks = request.body_chunks
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            writer = self._make_writer(keep_alive=request.head.keep_alive)
            self._waiting.append(
                EndpointExchange(self, writer, request.endpoint, request.head.headers, body)
            )
        elif isinstance(exchange := self._get_last_exchange(), AsgiExchange):
            exchange.end_body()

    def on_upgrade(self, head: RequestHead, remaining_data: bytes) -> bool:
        """Take a request that offers a WebSocket. Return False if its path has none."""
        app = self._app
        if self._is_over_limit or not self._is_answered() or not app.websockets.matches(head.url):
            return False
        self._cancel_head_timer()
        app.connection_limit.mark_busy(self)
        exchange = WebSocketExchange(
            self,
            self._make_writer(keep_alive=False),
            app.websockets,
            make_scope(self._connection_scope, head, self._app_state),
        )
        self._websocket = exchange
        self._waiting.append(exchange)
        if remaining_data:
            exchange.feed(remaining_data)
        return True

    # requests in their turn

    def _parse(self, data: bytes) -> None:
        """Parse bytes that match no remembered head, and begin the request that they complete."""
        parser = self._parser
        request_data = data
        if not parser.is_between_requests:
            request_data = self._request_data and self._request_data + data
        try:
            has_request = parser.feed(data)
        except UnreadableRequestError as error:
            is_full = self._is_over_limit and not parser.is_in_head
            self._refuse_input(FULL_PROBLEM if is_full else error.problem)
        else:
            if parser.is_in_head or not has_request:
                self._start_head_timer()
            if self._awaited_request is not None:
                self._request_data = request_data
                self._await_body(self._awaited_request)
                return
        self._cancel_body_timer()
        self._request_data = b""
        exchange = self._waiting[0] if self._waiting else None
        self._begin_next()  # not earlier: it must not answer in the middle of a read
        if isinstance(exchange, EndpointExchange):
            self._remember_head(request_data, exchange)

    def _remember_head(self, request_data: bytes, exchange: EndpointExchange) -> None:
        """Remember the head for later requests, if `request_data` is exactly this request."""
        if (
            request_data
            and self._parser.is_between_requests
            and self._get_last_exchange() is exchange
            and self._new_head_count < _MAX_NEW_HEADS
        ):
            self._new_head_count += 1
            self._repeated_head = (
                RepeatedHead.from_request(request_data, exchange)
                if exchange.writer.keep_alive
                else None
            )

    def _begin_repeated(self, known_head: RepeatedHead, body: bytes) -> None:
        """Begin a whole request with a remembered head: the parser would give the same result."""
        self._new_head_count = 0
        self._cancel_head_timer()
        self._app.connection_limit.mark_busy(self)
        self._begin(
            EndpointExchange(
                self,
                self._make_writer(keep_alive=True),
                known_head.endpoint,
                (),
                body,
                known_head.request_headers,
            )
        )

    def _add_asgi_exchange(self, head: RequestHead) -> None:
        """Queue a request whose body may still be arriving."""
        scope = make_scope(self._connection_scope, head, self._app_state)
        writer = self._make_writer(keep_alive=head.keep_alive, omits_body=head.method == b"HEAD")
        if not self._is_answered():
            self.transport.pause_reading()
        self._waiting.append(
            AsgiExchange(self, writer, self._app, scope, expects_continue=head.expects_continue)
        )

    def _make_writer(self, *, keep_alive: bool, omits_body: bool = False) -> ResponseWriter:
        closes = self._is_over_limit or self._app.admission.shutdown.closes_connections
        return ResponseWriter(
            self.transport,
            keep_alive=keep_alive and not closes,
            omits_body=omits_body,
            default_headers=self._server_state.default_headers,
        )

    def _begin_next(self) -> None:
        """Begin the next request, if it is its turn."""
        if self._waiting and (self._current is None or self._current.writer.is_complete):
            self._begin(self._waiting.popleft())

    def _begin(self, exchange: HttpExchange) -> None:
        """Start to answer a request: at once, if its answer need not wait for anything."""
        self._current = exchange
        # A context of its own: its variables reach neither the next call nor the connection.
        task = asyncio.Task(
            exchange.run(),
            loop=self._loop,
            context=self._context.copy(),
            eager_start=exchange.starts_at_once,
        )
        if task.done():
            self._app.write_batch.mark_immediate_answer()
            return
        tasks = self._server_state.tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _end_answer(self) -> None:
        self._server_state.total_requests += 1
        current = self._current
        if current is None:
            return
        if not current.writer.keep_alive:
            self._close()
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        last = self._waiting[-1] if self._waiting else current
        if last.more_body:  # the rest of its body is not needed, but must arrive in time
            self._start_head_timer()
        if self._waiting:
            self._begin_next()
            return
        self._app.connection_limit.mark_idle(self)
        self._idle_deadline = self._loop.time() + self._timeouts.idle
        if self._idle_timer is None:  # one timer serves many answers
            self._idle_timer = self._loop.call_at(self._idle_deadline, self._check_idle)

    def _get_last_exchange(self) -> HttpExchange | None:
        """Return the last request that was read; None before the first."""
        return self._waiting[-1] if self._waiting else self._current

    def _is_answered(self) -> bool:
        """True if all requests that were read are answered."""
        return not self._waiting and (self._current is None or self._current.writer.is_complete)

    # bodies that arrive just after their heads

    def _await_body(self, request: _AwaitedRequest) -> None:
        """Give a body a moment to arrive, so that its request counts as one that arrived whole."""
        if sum(map(len, request.body_chunks)) > _SMALL_BODY_BYTES:
            self._stop_waiting_for_body()
        elif self._body_timer is None:
            self._body_timer = self._loop.call_later(_BODY_WAIT_SECONDS, self._on_body_timeout)

    def _cancel_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _on_body_timeout(self) -> None:
        self._body_timer = None
        if self._pending_head is not None:
            (_, head_data, _), self._pending_head = self._pending_head, None
            self._parse(head_data)
        self._stop_waiting_for_body()

    def _stop_waiting_for_body(self) -> None:
        """Let the ASGI application serve the request, which takes the body as it arrives."""
        self._cancel_body_timer()
        self._request_data = b""
        if (request := self._awaited_request) is not None:
            self._awaited_request = None
            self._add_asgi_exchange(request.head)
            for chunk in request.body_chunks:
                self.on_body(chunk)
            self._begin_next()

    # deadlines, refusals and the end

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self._loop.call_later(self._timeouts.head, self._on_head_timeout)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_head_timeout(self) -> None:
        self._head_timer = None
        if self._parser.is_in_head:
            self._refuse_input(_HEAD_TIMEOUT_PROBLEM)
        elif self._is_answered():
            self._close()

    def _check_idle(self) -> None:
        self._idle_timer = None
        if self._loop.time() < self._idle_deadline:
            if self._idle_deadline < _NO_DEADLINE:
                self._idle_timer = self._loop.call_at(self._idle_deadline, self._check_idle)
        elif not self.transport.is_closing():
            self._close()

    def _refuse_input(self, problem: Problem) -> None:
        """Refuse input that cannot become a request, in its turn; read nothing after it."""
        self._is_refused = True
        self._cancel_head_timer()
        self._cancel_body_timer()
        self._app.refusal_log.note(problem.kind)
        path = self._parser.url.partition(b"?")[0].decode("latin-1")
        reply = make_problem_response(problem, find_dialect(path), request_headers.new_id(), [])
        reply.add_connection_close()
        exchange = self._get_last_exchange()
        if exchange is not None and not exchange.writer.is_complete:
            if isinstance(exchange, AsgiExchange) and exchange.more_body:
                if exchange is not self._current:  # its body broke before its turn came
                    exchange.more_body = exchange.writer.keep_alive = False
                    exchange.app = make_reply_app(reply)
                    return
                exchange.disconnect()
                if exchange.writer.is_started:
                    exchange.writer.flush_head()
                    self._close()
                    return
            else:
                exchange.writer.keep_alive = False  # those before it are answered
                return
        writer = ResponseWriter(self.transport, keep_alive=False)
        writer.write_whole(encode_response(reply) or b"")
        self._close()

    def _is_client_sending(self) -> bool:
        """True if the client may still be sending bytes that the gateway does not need."""
        exchange = self._get_last_exchange()
        return not self._skips_linger and (
            self._is_refused or (exchange is not None and exchange.more_body)
        )

    def _close(self) -> None:
        self.transport.close(lingers=self._is_client_sending())
