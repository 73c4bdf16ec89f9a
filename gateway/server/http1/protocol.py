"""A client's connection: what must hold, and within which time, before there is a request at all.

uvicorn's protocol has no limit of its own on the head of a request, and answers what it cannot
parse in plain text, in the middle of the answer before it if need be. Here a head has a size and a
deadline, a refusal is one that an SDK can show, and it never stands inside another answer. A client
that does not read its answer is let go, and one that still sends when it is refused can read why.
A client that closes its half of the connection has left: nobody who waits for an answer does so.
"""

import asyncio
import math
from asyncio import current_task

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.core.errors import Problem
from gateway.pipeline.response import Response, encode_response, make_problem_response
from gateway.server import host_header, request_headers
from gateway.server.app import ALWAYS_SERVED_PATHS, App
from gateway.server.endpoint import Endpoint, make_reply_app
from gateway.server.http1.exchange import UVICORN_SLOTS, HttpExchange
from gateway.server.http1.head_cache import RepeatedHead
from gateway.server.http1.request_task import RequestTask
from gateway.server.http1.response_writer import CorkedTransport, ResponseWriter
from gateway.server.keepalive import Keepalive
from gateway.server.paths import find_dialect
from gateway.server.request_headers import Send
from gateway.server.shutdown import InFlightRequest
from gateway.settings.schema.server import WaitPart

_NO_DEADLINE = math.inf
_HTTP_VERSIONS = ("1.0", "1.1")
_GENERAL_PATH_HEADERS = frozenset({b"transfer-encoding", b"origin"})
"""Headers of requests that the general path takes: it knows more than the one for whole calls."""
_UPGRADE_HEADERS = (b"upgrade", b"http2-settings", b"connection")
_ALWAYS_SERVED_PATHS = frozenset(path.encode() for path in ALWAYS_SERVED_PATHS)
FULL_PROBLEM = Problem(
    kind="overloaded",
    message="There are as many connections as there may be. Try again shortly.",
    retry_after=2.0,
)
_UNREADABLE_PROBLEM = Problem(
    kind="invalid_request",
    message="This is no valid HTTP/1.1 request, or one that can be read in two ways.",
)
_MAX_NEW_HEADS = 8
"""Heads in a row that are new on a connection, after which no more are kept."""
_BODY_WAIT_SECONDS = 0.005
"""Seconds that a body may come behind its head and go with it as one that has come whole: many
clients write them one after the other."""
_SMALL_BODY_BYTES = 65_536
"""Bytes of such a body."""
_MIN_PROGRESS_BYTES = 16_384
"""Bytes that a client must take in its time, where more is written for it."""
_HEAD_TIMEOUT_PROBLEM = Problem(
    kind="request_timeout", message="The headers of the request did not arrive in time."
)


class ClientConnection(HttpToolsProtocol):
    """One connection of a client; what uvicorn keeps of it has places here too, and no table."""

    __slots__ = (
        *UVICORN_SLOTS, "_request_data", "_is_between_requests", "_body_chunks",
        "_corked_transport", "_endpoint", "_is_refused", "_parse_problem", "_gateway_app",
        "_idle_timer", "_idle_deadline", "_in_head", "_repeated_head", "_body_timer",
        "_has_request", "_write_timer", "_pending_head", "_skips_linger", "_is_over_limit",
        "_head_size", "_new_head_count", "_head_timer", "_unsent_bytes", "_is_upgrade",
        "_timeouts", "_pending_exchange", "is_closed", "is_slow", "in_flight",
    )  # fmt: skip

    def connection_made(  # type: ignore[override]  # as in the class that it extends
        self, transport: asyncio.Transport
    ) -> None:
        """Wait for the first request."""
        app = self.config.app
        self._gateway_app = app if isinstance(app, App) else None
        self._timeouts = WaitPart() if self._gateway_app is None else self._gateway_app.timeouts
        write_batch = None if self._gateway_app is None else self._gateway_app.write_batch
        self._corked_transport = CorkedTransport(
            transport, self._is_client_sending, self._timeouts.read, write_batch
        )
        super().connection_made(self._corked_transport)  # type: ignore[arg-type]  # it has all of one
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_deadline = math.inf
        self.url = b""
        self._endpoint: Endpoint | None = None
        """Of a request that may come whole: where it goes."""
        self._body_chunks: list[bytes] = []
        self._request_data = b""
        """All of it so far, where nothing came before its head; else empty."""
        self._pending_head: tuple[RepeatedHead, bytes, int] | None = None
        """A head that came before, and the bytes that are to come behind it."""
        self._body_timer: asyncio.TimerHandle | None = None
        """Ends the wait for a body."""
        self._pending_exchange: HttpExchange | None = None
        """It has, and is to begin."""
        self._is_between_requests = True
        """All of the requests that have begun has come."""
        self._repeated_head: RepeatedHead | None = None
        """The head of one before."""
        self._new_head_count = 0
        """Heads that came since one that was known."""
        self.is_slow = self.is_closed = self._skips_linger = False
        self.in_flight: InFlightRequest | None = None
        self._in_head = False
        self._head_size = 0
        self._is_refused = self._is_upgrade = False
        self._parse_problem = _UNREADABLE_PROBLEM
        """Why a request cannot be read, where one cannot."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0
        self._write_timer: asyncio.TimerHandle | None = None
        self._is_over_limit = (
            self._gateway_app is not None and not self._gateway_app.connection_limit.add(self)
        )
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        if self._gateway_app is not None:
            self._gateway_app.connection_limit.remove(self)
        self._cancel_head_timer()
        self._cancel_body_timer()
        self._endpoint = self._pending_head = self._repeated_head = None
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self.resume_writing()
        super().connection_lost(exc)
        self.is_closed = True
        self.end_in_flight()
        # What is left of it goes at once: in a circle it would stay until one is looked for.
        self._corked_transport.detach()
        self.cycle = self._pending_exchange = None  # type: ignore[assignment]  # as before the first request
        self.scope = {}  # type: ignore[typeddict-item]
        self.pipeline.clear()

    def end_in_flight(self) -> None:
        """End the visit of its client."""
        if self.in_flight is not None:
            self.in_flight.end("client_slow" if self.is_slow else "client")

    def write_reply(self, send: Send, reply: Response) -> bool:
        """Write a whole reply at once; False where it must be sent in the usual way.

        It does what uvicorn does of two messages, in one piece: `send` is the request's own.
        """
        cycle: RequestResponseCycle | HttpExchange = send.__self__  # type: ignore[attr-defined]  # a bound method
        if self.flow.write_paused or cycle.response_started or not cycle.keep_alive:
            return False
        if (data := encode_response(reply)) is None:
            return False  # not without a look at each
        if not cycle.disconnected:
            cycle.response_started = cycle.response_complete = True
            self._corked_transport.write_response(data)
            if isinstance(cycle, HttpExchange):
                self.on_response_complete()
            else:
                cycle.waiting_for_100_continue = False
                cycle.message_event.set()
                cycle.on_response()
        return True

    def open_stream_writer(self, send: Send, keepalive: Keepalive) -> ResponseWriter | None:
        """Where pieces of a stream that has begun may be written, past its task; None: nowhere."""
        cycle: RequestResponseCycle = send.__self__  # type: ignore[attr-defined]  # as above
        transport = self._corked_transport.find_direct_transport()
        if not cycle.chunked_encoding or transport is None:
            return None
        return ResponseWriter(cycle, transport, keepalive)

    def close_after_answer(self) -> None:
        """Close it once what is being answered is answered; one that waits is told when it asks."""
        cycle = self._cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False

    def drop(self) -> None:
        """Close it to make room: it has no request."""
        if self._is_over_limit and not self._is_refused:
            self._skips_linger = True
            self._refuse_input(FULL_PROBLEM)
        else:
            self._corked_transport.drop()

    def pause_writing(self) -> None:
        """The client does not take what is written, for now."""
        super().pause_writing()
        if self._write_timer is None:
            self._unsent_bytes = self._corked_transport.count_unsent()
            self._write_timer = self.loop.call_later(
                self._timeouts.read, self._check_write_progress
            )

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _check_write_progress(self) -> None:
        unsent_before, self._unsent_bytes = (
            self._unsent_bytes,
            self._corked_transport.count_unsent(),
        )
        if unsent_before - self._unsent_bytes >= _MIN_PROGRESS_BYTES:
            self._write_timer = self.loop.call_later(
                self._timeouts.read, self._check_write_progress
            )
            return
        self._write_timer = None
        self.is_slow = True
        self._corked_transport.drop()

    def _is_client_sending(self) -> bool:
        """Whether the client may still be sending what nobody reads."""
        cycle = self._cycle
        return not self._skips_linger and (
            self._is_refused or (cycle is not None and cycle.more_body)
        )

    def data_received(self, data: bytes) -> None:
        """Take what was read."""
        self._idle_deadline = _NO_DEADLINE
        if self._is_refused or self._corked_transport.is_lingering:
            self._corked_transport.discard(len(data))
            return
        if self._pending_head is not None:
            (pending_head, head, body_size), self._pending_head = self._pending_head, None
            self._cancel_body_timer()
            if len(data) == body_size:
                self._begin_repeated(pending_head, data)
                return
            data = head + data
        known_head = self._repeated_head  # one has been answered, where there is one
        if known_head is not None and self._is_between_requests and self.cycle.response_complete:
            if (body := known_head.match_body(data)) is not None:
                self._begin_repeated(known_head, body)
                return
            if body_size := known_head.parse_awaited_size(data):
                self._pending_head = known_head, data, body_size
                if self._gateway_app is not None:
                    self._gateway_app.connection_limit.mark_busy(self)
                self._body_timer = self.loop.call_later(_BODY_WAIT_SECONDS, self._on_body_timeout)
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Take what no head that came before explains."""
        cycle, was_between = self._cycle, self._is_between_requests
        awaited_body = self._endpoint is not None
        has_request = awaited_body or self._in_head or (cycle is not None and cycle.more_body)
        was_in_head, self._has_request = self._in_head, has_request
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse_input(
                FULL_PROBLEM if self._is_over_limit and not self._in_head else self._parse_problem
            )
        else:
            if self._endpoint is not None:
                self._wait_for_body(
                    data if was_between else self._request_data and self._request_data + data
                )
            self._check_head_size(len(data), was_in_head=was_in_head)
        if (
            self._pending_exchange is not None
        ):  # not before: it must not answer in the middle of this
            exchange, self._pending_exchange = self._pending_exchange, None
            if awaited_body:
                self._cancel_body_timer()
                data, self._request_data = self._request_data and self._request_data + data, b""
            elif not was_between:
                data = b""
            self._begin_exchange(exchange)
            if (
                data
                and self._is_between_requests
                and self._cycle is exchange
                and self._new_head_count < _MAX_NEW_HEADS
            ):
                self._new_head_count += 1
                self._repeated_head = (
                    RepeatedHead.from_request(data, exchange) if exchange.keep_alive else None
                )

    def _begin_repeated(self, known_head: RepeatedHead, body: bytes) -> None:
        """A whole request whose head came before: a parser would make the same of it."""
        self._new_head_count, closes = 0, self._is_over_limit
        if self._head_timer is not None:
            self._cancel_head_timer()
        if (app := self._gateway_app) is not None:
            app.connection_limit.mark_busy(self)
            closes = closes or app.admission.shutdown.closes_connections
        exchange = HttpExchange(
            self, known_head.endpoint, (), body, not closes, known_head.request_headers
        )
        self.cycle = exchange  # type: ignore[assignment]  # it does for one
        self._begin_exchange(exchange)

    def _check_head_size(self, size: int, *, was_in_head: bool) -> None:
        """Whether a head is too long in coming."""
        if self._in_head and was_in_head:
            self._head_size += size
            if self._head_size > request_headers.MAX_HEADER_BYTES:
                self._refuse_input(request_headers.TOO_MANY_HEADERS)
                return
        if self._in_head or not self._has_request:
            self._start_head_timer()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._in_head = self._has_request = True
        self._is_between_requests = False
        self._head_size = 0
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """The last byte of a request's head."""
        self._in_head = False
        self._cancel_head_timer()
        parser = self.parser
        version = parser.get_http_version()
        is_plain = not self.expect_100_continue
        for name, value in self.headers:
            if name in _GENERAL_PATH_HEADERS:
                is_plain = False
                if name == b"transfer-encoding" and (
                    value.strip().lower() != b"chunked" or version != "1.1"
                ):
                    raise ValueError("only chunked is known")
        if version not in _HTTP_VERSIONS:
            raise ValueError("this version is not spoken")
        if not host_header.has_valid_host(self.headers, version):
            self._parse_problem = host_header.HOST_PROBLEM
            raise ValueError("its host is missing, or is none")
        if (target := host_header.resolve_target(self.url, self.headers)) is None:
            raise ValueError("its target is none of this server")
        self.url, self.headers = target
        self._is_upgrade = parser.should_upgrade()
        if self._is_upgrade:
            return
        app = self._gateway_app
        if app is not None:
            if self._is_over_limit and self.url.partition(b"?")[0] not in _ALWAYS_SERVED_PATHS:
                raise ValueError("there are too many")
            app.connection_limit.mark_busy(self)
            cycle = self._cycle
            if is_plain and version == "1.1" and (cycle is None or cycle.response_complete):
                endpoint = app.find_endpoint(self.url, self.headers)
                if endpoint is not None and parser.get_method() == b"POST" and not self.access_log:
                    self._endpoint, self._body_chunks = endpoint, []
                    return
        self._begin_cycle()

    def _begin_cycle(self) -> None:
        """Begin a request whose body may still come."""
        head_state = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = head_state
        self.scope["headers"] = self.headers
        if self._gateway_app is not None:
            self.scope["connection"] = self  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()
        if self._closes_after_answer():
            self.cycle.keep_alive = False

    def _closes_after_answer(self) -> bool:
        """Whether it is closed behind its next answer."""
        return self._is_over_limit or (
            self._gateway_app is not None
            and self._gateway_app.admission.shutdown.closes_connections
        )

    def _wait_for_body(self, request_data: bytes) -> None:
        """A body has not come with its head; it may come in a moment, and be as one that has."""
        self._request_data = request_data
        if sum(map(len, self._body_chunks)) > _SMALL_BODY_BYTES:
            self._stop_waiting_for_body()
        elif self._body_timer is None:
            self._body_timer = self.loop.call_later(_BODY_WAIT_SECONDS, self._stop_waiting_for_body)

    def _cancel_body_timer(self) -> None:
        """There is nothing more to wait for."""
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _on_body_timeout(self) -> None:
        """Nothing has come behind a head that came before."""
        self._body_timer = None
        if self._pending_head is not None:
            (_, head, _), self._pending_head = self._pending_head, None
            self._parse(head)
            if self._endpoint is not None:
                self._stop_waiting_for_body()

    def _stop_waiting_for_body(self) -> None:
        """A body does not come with its head."""
        self._cancel_body_timer()
        self._request_data = b""
        self._endpoint = None
        self._begin_cycle()
        for chunk in self._body_chunks:
            super().on_body(chunk)

    def _begin_exchange(self, exchange: HttpExchange) -> None:
        """Begin a call that has come whole; where it has nothing to wait for, it ends here."""
        coroutine, loop = exchange.endpoint.serve_exchange(exchange), self.loop
        task: asyncio.Task[None] | RequestTask
        if current_task(loop) is None:
            task = RequestTask(coroutine, loop)
        else:  # it is told from within one: two do not run at once
            task = asyncio.Task(coroutine, loop=loop, eager_start=True)
        if not task.done():
            exchange.task = task
            self.tasks.add(task)  # type: ignore[arg-type]  # it is all that is asked of one here
        elif self._gateway_app is not None:
            self._gateway_app.write_batch.mark_immediate_answer()

    def on_body(self, body: bytes) -> None:
        """A piece of a request's body."""
        if self._endpoint is not None:
            self._body_chunks.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._is_between_requests = True
        if (endpoint := self._endpoint) is not None:
            self._endpoint, chunks = None, self._body_chunks
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            keep_alive = self.parser.should_keep_alive() and not self._closes_after_answer()
            exchange = HttpExchange(self, endpoint, self.headers, body, keep_alive)
            self.cycle = self._pending_exchange = exchange  # type: ignore[assignment]  # it does for one
        elif not self._is_upgrade:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is written; what is left of a body that nobody wanted has its time too."""
        transport = self._corked_transport
        transport.uncork()
        self.server_state.total_requests += 1
        if transport.is_closing():
            return
        if (flow := self.flow).read_paused:
            flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            if self._gateway_app is not None:
                self._gateway_app.connection_limit.mark_idle(self)
            self._idle_deadline = idle_deadline = self.loop.time() + self._timeouts.idle
            if self._idle_timer is None:  # one that waits on serves many answers
                self._idle_timer = self.loop.call_at(idle_deadline, self._check_idle)
        if self.cycle.more_body:
            self._start_head_timer()

    def _check_idle(self) -> None:
        self._idle_timer = None
        if self.loop.time() < self._idle_deadline:
            if self._idle_deadline < math.inf:
                self._idle_timer = self.loop.call_at(self._idle_deadline, self._check_idle)
        elif not self._corked_transport.is_closing():
            self.transport.close()

    def _ignore_upgrade(self, remaining_data: bytes) -> None:
        """Read a request again as if it had not offered another protocol: none is spoken here.

        The parser takes what follows such a head for the other protocol's, also where it is the
        body of a POST, as the HTTP client of Java sends it.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse_input(_UNREADABLE_PROBLEM)
            return
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        header_lines = [
            name + b": " + value for name, value in self.headers if name not in _UPGRADE_HEADERS
        ]
        self.data_received(
            b"\r\n".join(
                [method + b" " + self.url + b" HTTP/1.1", *header_lines, b"", remaining_data]
            )
        )

    @property
    def _cycle(self) -> RequestResponseCycle | HttpExchange | None:
        """The last request that was read, and its answer; none at first."""
        return self.cycle

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._timeouts.head, self._on_head_timeout)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_head_timeout(self) -> None:
        self._head_timer = None
        cycle = self._cycle
        if self._in_head:
            self._refuse_input(_HEAD_TIMEOUT_PROBLEM)
        elif cycle is None or cycle.response_complete:
            self.transport.close()

    def _refuse_input(self, problem: Problem) -> None:
        """Refuse what cannot become a request, in its turn; nothing is read after it."""
        self._is_refused = True
        self._cancel_head_timer()
        self._cancel_body_timer()
        app = self.config.app
        if isinstance(app, App):
            app.refusal_log.note(problem.kind)
        path = self.url.partition(b"?")[0].decode("latin-1")
        reply = make_problem_response(problem, find_dialect(path), request_headers.new_id(), [])
        reply.add_connection_close()
        cycle = self._cycle
        if cycle is not None and cycle.more_body and not cycle.response_complete:
            if self.pipeline:  # its body broke before its turn came
                self.cycle.more_body = self.cycle.keep_alive = False
                self.pipeline[0] = self.cycle, make_reply_app(reply)
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        elif cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False  # those before it are answered
            return
        self.transport.write(encode_response(reply) or b"")
        self.transport.close()
