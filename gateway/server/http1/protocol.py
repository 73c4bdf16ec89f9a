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
from gateway.pipeline.response import Response, refusal, written
from gateway.server import host_header, request_headers
from gateway.server.app import ALWAYS, App
from gateway.server.endpoint import Endpoint, saying
from gateway.server.http1.exchange import GIVEN, HttpExchange
from gateway.server.http1.head_cache import RepeatedHead
from gateway.server.http1.request_task import RequestTask
from gateway.server.http1.response_writer import CorkedTransport, ResponseWriter
from gateway.server.keepalive import Keepalive
from gateway.server.paths import dialect_at
from gateway.server.request_headers import Send
from gateway.server.shutdown import InFlightRequest
from gateway.settings.schema.server import WaitPart

_EVER = math.inf
_VERSIONS = ("1.0", "1.1")
_SLOW = frozenset({b"transfer-encoding", b"origin"})
"""Headers of requests that the general path takes: it knows more than the one for whole calls."""
_OFFERS = (b"upgrade", b"http2-settings", b"connection")
_ALWAYS = frozenset(path.encode() for path in ALWAYS)
FULL = Problem(
    kind="overloaded",
    message="There are as many connections as there may be. Try again shortly.",
    retry_after=2.0,
)
_UNREADABLE = Problem(
    kind="invalid_request",
    message="This is no valid HTTP/1.1 request, or one that can be read in two ways.",
)
_STRANGE = 8
"""Heads in a row that are new on a connection, after which no more are kept."""
_MOMENT = 0.005
"""Seconds that a body may come behind its head and go with it as one that has come whole: many
clients write them one after the other."""
_LITTLE = 65_536
"""Bytes of such a body."""
_PROGRESS = 16_384
"""Bytes that a client must take in its time, where more is written for it."""
_LATE = Problem(
    kind="request_timeout", message="The headers of the request did not arrive in time."
)


class ClientConnection(HttpToolsProtocol):
    """One connection of a client; what uvicorn keeps of it has places here too, and no table."""

    __slots__ = (
        *GIVEN, "_begun", "_between", "_came", "_corked", "_door", "_ended", "_fault", "_house",
        "_idle", "_idle_until", "_in_head", "_known", "_moment", "_moved", "_patience", "_promised",
        "_rude", "_shed", "_size", "_strange", "_timer", "_unread", "_upgrading", "_waits",
        "_whole", "lost", "slow", "visit",
    )  # fmt: skip

    def connection_made(  # type: ignore[override]  # as in the class that it extends
        self, transport: asyncio.Transport
    ) -> None:
        """Wait for the first request."""
        app = self.config.app
        self._house = app if isinstance(app, App) else None
        self._waits = WaitPart() if self._house is None else self._house.waits
        outbox = None if self._house is None else self._house.outbox
        self._corked = CorkedTransport(transport, self._owes, self._waits.read, outbox)
        super().connection_made(self._corked)  # type: ignore[arg-type]  # it has all of one
        self._idle: asyncio.TimerHandle | None = None
        self._idle_until = math.inf
        self.url = b""
        self._door: Endpoint | None = None
        """Of a request that may come whole: where it goes."""
        self._came: list[bytes] = []
        self._begun = b""
        """All of it so far, where nothing came before its head; else empty."""
        self._promised: tuple[RepeatedHead, bytes, int] | None = None
        """A head that came before, and the bytes that are to come behind it."""
        self._moment: asyncio.TimerHandle | None = None
        """Ends the wait for a body."""
        self._whole: HttpExchange | None = None
        """It has, and is to begin."""
        self._between = True
        """All of the requests that have begun has come."""
        self._known: RepeatedHead | None = None
        """The head of one before."""
        self._strange = 0
        """Heads that came since one that was known."""
        self.slow = self.lost = self._rude = False
        self.visit: InFlightRequest | None = None
        self._in_head = False
        self._size = 0
        self._ended = self._upgrading = False
        self._fault = _UNREADABLE
        """Why a request cannot be read, where one cannot."""
        self._timer: asyncio.TimerHandle | None = None
        self._unread = 0
        self._patience: asyncio.TimerHandle | None = None
        self._shed = self._house is not None and not self._house.lines.come(self)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        if self._house is not None:
            self._house.lines.go(self)
        self._stop()
        self._now()
        self._door = self._promised = self._known = None
        if self._idle is not None:
            self._idle.cancel()
        self.resume_writing()
        super().connection_lost(exc)
        self.lost = True
        self.left()
        # What is left of it goes at once: in a circle it would stay until one is looked for.
        self._corked.over()
        self.cycle = self._whole = None  # type: ignore[assignment]  # as before the first request
        self.scope = {}  # type: ignore[typeddict-item]
        self.pipeline.clear()

    def left(self) -> None:
        """End the visit of its client."""
        if self.visit is not None:
            self.visit.end("client_slow" if self.slow else "client")

    def answer(self, send: Send, reply: Response) -> bool:
        """Write a whole reply at once; False where it must be sent in the usual way.

        It does what uvicorn does of two messages, in one piece: `send` is the request's own.
        """
        cycle: RequestResponseCycle | HttpExchange = send.__self__  # type: ignore[attr-defined]  # a bound method
        if self.flow.write_paused or cycle.response_started or not cycle.keep_alive:
            return False
        if (data := written(reply)) is None:
            return False  # not without a look at each
        if not cycle.disconnected:
            cycle.response_started = cycle.response_complete = True
            self._corked.put(data)
            if isinstance(cycle, HttpExchange):
                self.on_response_complete()
            else:
                cycle.waiting_for_100_continue = False
                cycle.message_event.set()
                cycle.on_response()
        return True

    def out(self, send: Send, beat: Keepalive) -> ResponseWriter | None:
        """Where pieces of a stream that has begun may be written, past its task; None: nowhere."""
        cycle: RequestResponseCycle = send.__self__  # type: ignore[attr-defined]  # as above
        below = self._corked.below()
        if not cycle.chunked_encoding or below is None:
            return None
        return ResponseWriter(cycle, below, beat)

    def last(self) -> None:
        """Close it once what is being answered is answered; one that waits is told when it asks."""
        cycle = self._cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False

    def drop(self) -> None:
        """Close it to make room: it has no request."""
        if self._shed and not self._ended:
            self._rude = True
            self._end(FULL)
        else:
            self._corked.drop()

    def pause_writing(self) -> None:
        """The client does not take what is written, for now."""
        super().pause_writing()
        if self._patience is None:
            self._unread = self._corked.left()
            self._patience = self.loop.call_later(self._waits.read, self._unmoved)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _unmoved(self) -> None:
        before, self._unread = self._unread, self._corked.left()
        if before - self._unread >= _PROGRESS:
            self._patience = self.loop.call_later(self._waits.read, self._unmoved)
            return
        self._patience = None
        self.slow = True
        self._corked.drop()

    def _owes(self) -> bool:
        """Whether the client may still be sending what nobody reads."""
        cycle = self._cycle
        return not self._rude and (self._ended or (cycle is not None and cycle.more_body))

    def data_received(self, data: bytes) -> None:
        """Take what was read."""
        self._idle_until = _EVER
        if self._ended or self._corked.lingers:
            self._corked.skip(len(data))
            return
        if self._promised is not None:
            (promised, head, size), self._promised = self._promised, None
            self._now()
            if len(data) == size:
                self._again(promised, data)
                return
            data = head + data
        known = self._known  # one has been answered, where there is one
        if known is not None and self._between and self.cycle.response_complete:
            if (body := known.body(data)) is not None:
                self._again(known, body)
                return
            if size := known.awaits(data):
                self._promised = known, data, size
                if self._house is not None:
                    self._house.lines.busy(self)
                self._moment = self.loop.call_later(_MOMENT, self._alone)
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Take what no head that came before explains."""
        cycle, between = self._cycle, self._between
        late = self._door is not None
        before = late or self._in_head or (cycle is not None and cycle.more_body)
        in_head, self._moved = self._in_head, before
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._end(FULL if self._shed and not self._in_head else self._fault)
        else:
            if self._door is not None:
                self._soon(data if between else self._begun and self._begun + data)
            self._look(len(data), in_head=in_head)
        if self._whole is not None:  # not before: it must not answer in the middle of this
            whole, self._whole = self._whole, None
            if late:
                self._now()
                data, self._begun = self._begun and self._begun + data, b""
            elif not between:
                data = b""
            self._begin(whole)
            if data and self._between and self._cycle is whole and self._strange < _STRANGE:
                self._strange += 1
                self._known = RepeatedHead.of(data, whole) if whole.keep_alive else None

    def _again(self, known: RepeatedHead, body: bytes) -> None:
        """A whole request whose head came before: a parser would make the same of it."""
        self._strange, parts = 0, self._shed
        if self._timer is not None:
            self._stop()
        if (house := self._house) is not None:
            house.lines.busy(self)
            parts = parts or house.entrance.drain.parts
        whole = HttpExchange(self, known.door, (), body, not parts, known.head)
        self.cycle = whole  # type: ignore[assignment]  # it does for one
        self._begin(whole)

    def _look(self, size: int, *, in_head: bool) -> None:
        """Whether a head is too long in coming."""
        if self._in_head and in_head:
            self._size += size
            if self._size > request_headers.MOST_HEADERS:
                self._end(request_headers.CROWDED)
                return
        if self._in_head or not self._moved:
            self._wait()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._in_head = self._moved = True
        self._between = False
        self._size = 0
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """The last byte of a request's head."""
        self._in_head = False
        self._stop()
        parser = self.parser
        version = parser.get_http_version()
        plain = not self.expect_100_continue
        for name, value in self.headers:
            if name in _SLOW:
                plain = False
                if name == b"transfer-encoding" and (
                    value.strip().lower() != b"chunked" or version != "1.1"
                ):
                    raise ValueError("only chunked is known")
        if version not in _VERSIONS:
            raise ValueError("this version is not spoken")
        if not host_header.check(self.headers, version):
            self._fault = host_header.PROBLEM
            raise ValueError("its host is missing, or is none")
        if (target := host_header.resolve(self.url, self.headers)) is None:
            raise ValueError("its target is none of this server")
        self.url, self.headers = target
        self._upgrading = parser.should_upgrade()
        if self._upgrading:
            return
        house = self._house
        if house is not None:
            if self._shed and self.url.partition(b"?")[0] not in _ALWAYS:
                raise ValueError("there are too many")
            house.lines.busy(self)
            cycle = self._cycle
            if plain and version == "1.1" and (cycle is None or cycle.response_complete):
                door = house.door(self.url, self.headers)
                if door is not None and parser.get_method() == b"POST" and not self.access_log:
                    self._door, self._came = door, []
                    return
        self._receive()

    def _receive(self) -> None:
        """Begin a request whose body may still come."""
        known = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = known
        self.scope["headers"] = self.headers
        if self._house is not None:
            self.scope["wire"] = self  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()
        if self._parts():
            self.cycle.keep_alive = False

    def _parts(self) -> bool:
        """Whether it is closed behind its next answer."""
        return self._shed or (self._house is not None and self._house.entrance.drain.parts)

    def _soon(self, begun: bytes) -> None:
        """A body has not come with its head; it may come in a moment, and be as one that has."""
        self._begun = begun
        if sum(map(len, self._came)) > _LITTLE:
            self._slowly()
        elif self._moment is None:
            self._moment = self.loop.call_later(_MOMENT, self._slowly)

    def _now(self) -> None:
        """There is nothing more to wait for."""
        if self._moment is not None:
            self._moment.cancel()
            self._moment = None

    def _alone(self) -> None:
        """Nothing has come behind a head that came before."""
        self._moment = None
        if self._promised is not None:
            (_, head, _), self._promised = self._promised, None
            self._parse(head)
            if self._door is not None:
                self._slowly()

    def _slowly(self) -> None:
        """A body does not come with its head."""
        self._now()
        self._begun = b""
        self._door = None
        self._receive()
        for piece in self._came:
            super().on_body(piece)

    def _begin(self, whole: HttpExchange) -> None:
        """Begin a call that has come whole; where it has nothing to wait for, it ends here."""
        work, loop = whole.door.whole(whole), self.loop
        task: asyncio.Task[None] | RequestTask
        if current_task(loop) is None:
            task = RequestTask(work, loop)
        else:  # it is told from within one: two do not run at once
            task = asyncio.Task(work, loop=loop, eager_start=True)
        if not task.done():
            whole.task = task
            self.tasks.add(task)  # type: ignore[arg-type]  # it is all that is asked of one here
        elif self._house is not None:
            self._house.outbox.passed()

    def on_body(self, body: bytes) -> None:
        """A piece of a request's body."""
        if self._door is not None:
            self._came.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._between = True
        if (door := self._door) is not None:
            self._door, came = None, self._came
            body = came[0] if len(came) == 1 else b"".join(came)
            keep = self.parser.should_keep_alive() and not self._parts()
            whole = HttpExchange(self, door, self.headers, body, keep)
            self.cycle = self._whole = whole  # type: ignore[assignment]  # it does for one
        elif not self._upgrading:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is written; what is left of a body that nobody wanted has its time too."""
        corked = self._corked
        corked.uncork()
        self.server_state.total_requests += 1
        if corked.is_closing():
            return
        if (flow := self.flow).read_paused:
            flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            if self._house is not None:
                self._house.lines.rest(self)
            self._idle_until = until = self.loop.time() + self._waits.idle
            if self._idle is None:  # one that waits on serves many answers
                self._idle = self.loop.call_at(until, self._rested)
        if self.cycle.more_body:
            self._wait()

    def _rested(self) -> None:
        self._idle = None
        if self.loop.time() < self._idle_until:
            if self._idle_until < math.inf:
                self._idle = self.loop.call_at(self._idle_until, self._rested)
        elif not self._corked.is_closing():
            self.transport.close()

    def _stay(self, rest: bytes) -> None:
        """Read a request again as if it had not offered another protocol: none is spoken here.

        The parser takes what follows such a head for the other protocol's, also where it is the
        body of a POST, as the HTTP client of Java sends it.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._end(_UNREADABLE)
            return
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        kept = [name + b": " + value for name, value in self.headers if name not in _OFFERS]
        self.data_received(
            b"\r\n".join([method + b" " + self.url + b" HTTP/1.1", *kept, b"", rest])
        )

    @property
    def _cycle(self) -> RequestResponseCycle | HttpExchange | None:
        """The last request that was read, and its answer; none at first."""
        return self.cycle

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._waits.head, self._late)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        cycle = self._cycle
        if self._in_head:
            self._end(_LATE)
        elif cycle is None or cycle.response_complete:
            self.transport.close()

    def _end(self, problem: Problem) -> None:
        """Refuse what cannot become a request, in its turn; nothing is read after it."""
        self._ended = True
        self._stop()
        self._now()
        app = self.config.app
        if isinstance(app, App):
            app.refused.note(problem.kind)
        path = self.url.partition(b"?")[0].decode("latin-1")
        reply = refusal(problem, dialect_at(path), request_headers.new_id(), [])
        reply.close()
        cycle = self._cycle
        if cycle is not None and cycle.more_body and not cycle.response_complete:
            if self.pipeline:  # its body broke before its turn came
                self.cycle.more_body = self.cycle.keep_alive = False
                self.pipeline[0] = self.cycle, saying(reply)
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        elif cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False  # those before it are answered
            return
        self.transport.write(written(reply) or b"")
        self.transport.close()
