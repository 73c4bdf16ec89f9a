"""Answer a client's handshake for a WebSocket."""

import asyncio

from websockets.datastructures import Headers
from websockets.exceptions import InvalidUpgrade
from websockets.http11 import Request
from websockets.protocol import Protocol, Side
from websockets.server import ServerProtocol

from gateway.core.errors import Problem, ProblemError
from gateway.upstream.websocket_peer import QUIET_LOGGER, PeerTransport, WebSocketPeer


def accept_websocket(
    headers: list[tuple[bytes, bytes]],
    subprotocol: str | None,
    transport: PeerTransport,
    *,
    max_message: int,
) -> tuple[bytes, WebSocketPeer]:
    """Return the answer to a handshake, and the client's side of the session.

    `subprotocol` is the one that the provider chose: the client offered it. Raises ProblemError if
    the handshake is not valid.
    """
    request_headers = Headers()
    for name, value in headers:
        request_headers[name.decode("latin-1")] = value.decode("latin-1")
    handshake = ServerProtocol(logger=QUIET_LOGGER)
    response = handshake.accept(Request("/", request_headers))
    if handshake.handshake_exc is not None:
        is_upgrade = isinstance(handshake.handshake_exc, InvalidUpgrade)
        status = 426 if is_upgrade else 400
        message = f"This is no valid handshake for a WebSocket: {handshake.handshake_exc}."
        raise ProblemError(Problem(kind="invalid_request", message=message, status=status))
    if subprotocol is not None:
        response.headers["Sec-WebSocket-Protocol"] = subprotocol
    # A protocol of its own: that of the handshake would still wait for the request.
    protocol = Protocol(Side.SERVER, max_size=max_message, logger=QUIET_LOGGER)
    return response.serialize(), WebSocketPeer(
        protocol, transport, asyncio.get_running_loop().time()
    )
