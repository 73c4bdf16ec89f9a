"""The WebSocket endpoints: Realtime and Live sessions, from the handshake to the session's engine.

A web page may open a WebSocket to any address: no preflight asks first. So the gateway checks the
origin itself, by the rules that hold for ordinary requests (cors.py, open_access.py).

A browser can set no headers here. Its key stands in the address, or in a subprotocol. The gateway
takes it from there for itself, and sends neither on.
"""

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from gateway.core.call import Call
from gateway.core.errors import DRAINING, Problem, ProblemError
from gateway.dialects import GEMINI, OPENAI_RESPONSES, Dialect
from gateway.limits.load_shedding import MemoryReservation
from gateway.pipeline.response import make_problem_response
from gateway.runtime.composition import Gateway
from gateway.server import request_headers
from gateway.server.admission import Admission, RefusalLog
from gateway.server.cors import CorsPolicy
from gateway.server.endpoint import write_reply
from gateway.server.http1.websocket_exchange import WebSocketExchange
from gateway.server.identity.client_tokens import ClientTokens
from gateway.server.open_access import OpenAccess, find_foreign_page
from gateway.server.realtime_refusals import EPHEMERAL_PROBLEM, WEBRTC_PROBLEM
from gateway.server.request_headers import RequestHeaders, Scope
from gateway.server.shutdown import InFlightRequest

if TYPE_CHECKING:
    from gateway.pipeline.realtime.accounting import SessionHooks
    from gateway.pipeline.realtime.engine import SessionRequest
    from gateway.pipeline.realtime.session import RelaySession
    from gateway.upstream.websocket_peer import WebSocketPeer

_REALTIME_PATH = re.compile(rb"(?:/v1|/openai|/openai/v1|/v1/v1)?/realtime")
_LIVE_PATH = re.compile(
    rb"/{1,2}ws/google\.ai\.generativelanguage\.(v1|v1alpha|v1beta)\.GenerativeService\."
    rb"(BidiGenerateContent|BidiGenerateContentConstrained)"
)
"""The SDK of Google writes two slashes if its base URL ends with one."""
_KEY_PROTOCOL = "openai-insecure-api-key."
_DROPPED_PROTOCOLS = (_KEY_PROTOCOL, "openai-organization.", "openai-project.")
"""Beginnings of subprotocols that say who pays: they are for the gateway, if for anybody."""
_MAX_SUBPROTOCOLS = 8
_SUBPROTOCOL = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_FORWARDED_HEADERS = frozenset({b"openai-beta"})
_KEY_MEMBERS = ("key", "api-key", "api_key")
"""Members of the query that clients put their key into."""
_FOREIGN_PAGE = Problem(
    kind="not_allowed",
    message="The page that opens this WebSocket is of another origin. List the origin in "
    "server.cors.",
)


class WebSocketEndpoint:
    """Serves all WebSockets of the gateway."""

    def __init__(
        self,
        gateway: Gateway,
        refusal_log: RefusalLog,
        admission: Admission,
        client_tokens: ClientTokens,
        cors: CorsPolicy,
        open_access: OpenAccess | None,
    ) -> None:
        """`open_access` is None if the keys are not open."""
        self._gateway = gateway
        self._refusal_log = refusal_log
        self._admission = admission
        self._client_tokens = client_tokens
        self._cors = cors
        self._open_access = open_access

    @staticmethod
    def matches(url: bytes) -> bool:
        """True if the target of a request is a WebSocket endpoint."""
        path = url.partition(b"?")[0]
        return _REALTIME_PATH.fullmatch(path) is not None or _LIVE_PATH.fullmatch(path) is not None

    async def serve(self, exchange: WebSocketExchange) -> None:
        """Answer the handshake, and serve the session to its end."""
        call_id, scope = request_headers.new_id(), exchange.scope
        live = _LIVE_PATH.fullmatch(scope["raw_path"])
        dialect = OPENAI_RESPONSES if live is None else GEMINI
        try:
            await self._serve(exchange, call_id, dialect, live)
        except ProblemError as error:
            self._refusal_log.note(error.problem.kind)
            reply = make_problem_response(error.problem, dialect, call_id, [])
            reply.add_connection_close()
            await write_reply(reply, exchange.send)

    async def _serve(
        self,
        exchange: WebSocketExchange,
        call_id: str,
        dialect: Dialect,
        live: re.Match[bytes] | None,
    ) -> None:
        scope = exchange.scope
        self._check_origin(scope)
        if live is not None and live[2].endswith(b"Constrained"):
            raise ProblemError(EPHEMERAL_PROBLEM)
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        subprotocols = _read_subprotocols(scope)
        headers = RequestHeaders(scope["headers"], _FORWARDED_HEADERS)
        _add_keys(headers, query, subprotocols)
        if "call_id" in query:
            raise ProblemError(WEBRTC_PROBLEM)
        key = await self._client_tokens.identify(headers)
        in_flight = self._admission.enter(key)
        revision = self._gateway.revision
        revision.enter()
        try:
            call = request_headers.build_call(
                dialect, headers, key, b"", call_id, clocks=self._gateway.clocks
            )
            memory = MemoryReservation(self._gateway.load_shedder)
            socket = _ExchangeSocket(exchange, in_flight, memory, revision.realtime.max_message)
            exchange.serve_in(in_flight)
            request = _make_request(call, live, query, subprotocols, headers)
            try:
                await revision.realtime.serve(request, socket, self._make_hooks(headers))
            except asyncio.CancelledError:
                if not in_flight.undo_cancellation():
                    raise
                if not (socket.is_accepted or exchange.is_disconnected):
                    raise ProblemError(DRAINING) from None
            finally:
                memory.release()
                in_flight.is_complete = True
                exchange.in_flight = None
                if socket.is_accepted:
                    exchange.finish()
        finally:
            revision.leave()
            self._admission.leave(key, in_flight)

    def _check_origin(self, scope: Scope) -> None:
        """Check where a handshake comes from. Raises ProblemError."""
        headers = scope["headers"]
        if self._open_access is not None:
            problem = self._open_access.find_problem(headers)
        else:
            problem = _FOREIGN_PAGE if find_foreign_page(headers, self._cors) else None
        if problem is not None:
            raise ProblemError(problem)

    def _check_body(self, data: bytes) -> None:
        """Check a message that is to be read whole. Raises ProblemError."""
        memory = MemoryReservation(self._gateway.load_shedder)
        try:
            self._admission.check_body(data, memory, allows_token_ids=False)
        finally:
            memory.release()

    def _make_hooks(self, headers: RequestHeaders) -> "SessionHooks":
        from gateway.pipeline.realtime.accounting import SessionHooks  # noqa: PLC0415 - as above

        keys, shutdown = self._gateway.keys, self._admission.shutdown
        return SessionHooks(
            make_id=request_headers.new_id,
            check_key=lambda: request_headers.identify(keys, headers),
            is_draining=lambda: shutdown.is_closed,
            check_body=self._check_body,
            make_memory=lambda: MemoryReservation(self._gateway.load_shedder),
        )


class _ExchangeSocket:
    """The client's connection, as the engine sees it."""

    def __init__(
        self,
        exchange: WebSocketExchange,
        in_flight: InFlightRequest,
        memory: MemoryReservation,
        max_message: int,
    ) -> None:
        self._exchange = exchange
        self._in_flight = in_flight
        self._memory = memory
        self._max_message = max_message
        self.is_accepted = False

    def accept(self, subprotocol: str | None) -> "WebSocketPeer":
        """See ClientSocket."""
        from gateway.upstream.websocket_accept import accept_websocket  # noqa: PLC0415 - as below

        exchange = self._exchange
        response, peer = accept_websocket(
            exchange.scope["headers"],
            subprotocol,
            exchange.connection.transport,
            max_message=self._max_message,
        )
        peer.memory = self._memory
        self.is_accepted = True
        self._in_flight.has_started = True
        exchange.accept(response, peer)
        return peer

    def set_session(self, session: "RelaySession", call: Call) -> None:
        """See ClientSocket."""
        self._in_flight.abort = partial(session.abort, call)


def _make_request(
    call: Call,
    live: re.Match[bytes] | None,
    query: dict[str, list[str]],
    subprotocols: list[str],
    headers: RequestHeaders,
) -> "SessionRequest":
    # Only gateways with sessions import what speaks WebSocket: it takes 23 ms.
    from gateway.pipeline.realtime.engine import SessionRequest  # noqa: PLC0415

    if live is not None:
        return SessionRequest(call=call, form="gemini", version=live[1].decode("ascii"))
    names = query.get("model") or query.get("deployment") or [""]
    return SessionRequest(
        call=call,
        form="openai",
        model=names[0],
        intent="transcription" if query.get("intent") == ["transcription"] else "",
        subprotocols=tuple(
            name for name in subprotocols if not name.startswith(_DROPPED_PROTOCOLS)
        ),
        headers=headers.forwarded,
    )


def _read_subprotocols(scope: Scope) -> list[str]:
    """Return the subprotocols that a client offers. Raises ProblemError."""
    offers = [
        name.strip()
        for header, value in scope["headers"]
        if header == b"sec-websocket-protocol"
        for name in value.decode("latin-1").split(",")
    ]
    if len(offers) > _MAX_SUBPROTOCOLS or not all(map(_SUBPROTOCOL.fullmatch, offers)):
        message = "The header sec-websocket-protocol is not valid."
        raise ProblemError(Problem(kind="invalid_request", message=message))
    return offers


def _add_keys(
    headers: RequestHeaders, query: dict[str, list[str]], subprotocols: list[str]
) -> None:
    """Add the keys in the query and in a subprotocol to those in headers."""
    for member in _KEY_MEMBERS:
        for value in query.get(member, []):
            headers.secrets.setdefault(value, "the URL")
    for name in subprotocols:
        if name.startswith(_KEY_PROTOCOL):
            headers.secrets.setdefault(name.removeprefix(_KEY_PROTOCOL), "a subprotocol")
