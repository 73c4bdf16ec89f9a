"""Parse requests from the bytes of a connection: valid heads, and pieces of bodies.

httptools parses. This module refuses what httptools accepts but RFC 9112 forbids, and heads that
are too large. It ignores offers to upgrade, unless the listener takes the request as the start of a
WebSocket: then the parser has read its last byte of the connection.
"""

from typing import NamedTuple, Protocol

import httptools

from gateway.core.errors import Problem
from gateway.server import host_header, request_headers

_HTTP_VERSIONS = ("1.0", "1.1")
_ASGI_HEADERS = (b"transfer-encoding", b"origin")
"""Headers of requests for the ASGI application, which handles more than an endpoint does."""
_BODY_HEADERS = (b"content-length", b"transfer-encoding")
_UPGRADE_HEADERS = (b"upgrade", b"http2-settings", b"connection")
UNREADABLE_PROBLEM = Problem(
    kind="invalid_request",
    message="This is not a valid HTTP/1.1 request, or a parser could read it in two ways.",
)


class UnreadableRequestError(Exception):
    """Input that cannot become a request."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class RequestHead(NamedTuple):
    """The valid head of a request, with its target in origin form."""

    method: bytes
    url: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    """Headers with names in lower case."""
    keep_alive: bool
    """False if the client wants the connection closed after the answer."""
    expects_continue: bool
    """True if the client waits for `100 Continue` before it sends the body."""
    is_plain: bool
    """True if an endpoint may serve the request without the ASGI application."""


class RequestListener(Protocol):
    """Receives what a parser reads. If it raises an error, the request is unreadable."""

    def on_head(self, head: RequestHead) -> None:
        """Take the head of a request."""
        ...

    def on_body(self, body: bytes) -> None:
        """Take a piece of the request's body."""
        ...

    def on_message_complete(self) -> None:
        """Take the end of the request."""
        ...

    def on_upgrade(self, head: RequestHead, remaining_data: bytes) -> bool:
        """Take a request that offers a WebSocket, and all bytes after it.

        Return False to have it read as one without the offer.
        """
        ...


class RequestParser:
    """The parser of one connection."""

    __slots__ = (
        "_expects_continue",
        "_has_request",
        "_head_size",
        "_headers",
        "_is_upgrade",
        "_listener",
        "_parser",
        "_problem",
        "is_between_requests",
        "is_in_head",
        "url",
    )

    def __init__(self, listener: RequestListener) -> None:
        self._listener = listener
        self._parser = self._make_parser()
        self.url = b""
        """The target of the last request, as far as it has arrived."""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = self._is_upgrade = self._has_request = False
        self._head_size = 0
        self._problem = UNREADABLE_PROBLEM
        """The problem to report if a request cannot be read."""
        self.is_in_head = False
        self.is_between_requests = True
        """True if every request that has begun has arrived completely."""

    def _make_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # Bytes after a request with `connection: close` do not make that request wrong.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def feed(self, data: bytes) -> bool:
        """Parse data. Return False if none of it belongs to a request, as with blank lines.

        Raises UnreadableRequestError.
        """
        was_in_head, self._has_request = self.is_in_head, not self.is_between_requests
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            raise UnreadableRequestError(self._problem) from None
        if self.is_in_head and was_in_head:
            self._head_size += len(data)
            if self._head_size > request_headers.MAX_HEADER_BYTES:
                raise UnreadableRequestError(request_headers.TOO_MANY_HEADERS)
        return self._has_request

    def stop(self) -> None:
        """Release the connection and the parser: both refer back to this object, in a cycle."""
        del self._listener, self._parser

    def _ignore_upgrade(self, remaining_data: bytes) -> bool:
        """Parse a request again without its offer of another protocol.

        httptools assigns everything after such a head to the other protocol. That is wrong for the
        body of a POST, as Java's HTTP client sends it.
        """
        method = self._parser.get_method()
        if method == b"CONNECT":
            raise UnreadableRequestError(UNREADABLE_PROBLEM)
        if method == b"GET" and self._offers_websocket():
            head = RequestHead(
                method, self.url, "1.1", self._headers, keep_alive=False,
                expects_continue=False, is_plain=False,
            )  # fmt: skip
            if self._listener.on_upgrade(head, remaining_data):
                return True
        header_lines = [
            name + b": " + value for name, value in self._headers if name not in _UPGRADE_HEADERS
        ]
        request_line = method + b" " + self.url + b" HTTP/1.1"
        self._parser = self._make_parser()
        return self.feed(b"\r\n".join([request_line, *header_lines, b"", remaining_data]))

    def _offers_websocket(self) -> bool:
        names = {name for name, _ in self._headers}
        return b"sec-websocket-key" in names and names.isdisjoint(_BODY_HEADERS)

    # what httptools calls

    def on_message_begin(self) -> None:
        """Take the first byte of a request."""
        self.is_in_head = self._has_request = True
        self.is_between_requests = False
        self._head_size = 0
        self.url = b""
        self._headers = []
        self._expects_continue = False

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; ignore trailers: a proxy in front checks and removes headers alone."""
        if not self.is_in_head:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Take the end of a head. Raises ValueError if the gateway refuses the request."""
        self.is_in_head = False
        parser, headers = self._parser, self._headers
        version = parser.get_http_version()
        is_plain = version == "1.1" and not self._expects_continue
        for name, value in headers:
            if name in _ASGI_HEADERS:
                is_plain = False
                if name == b"transfer-encoding" and (
                    value.strip().lower() != b"chunked" or version != "1.1"
                ):
                    raise ValueError("only chunked is known")
        if version not in _HTTP_VERSIONS:
            raise ValueError("this HTTP version is not supported")
        if not host_header.has_valid_host(headers, version):
            self._problem = host_header.HOST_PROBLEM
            raise ValueError("its Host header is missing or not valid")
        if (target := host_header.resolve_target(self.url, headers)) is None:
            raise ValueError("its target is none of this server")
        self.url, self._headers = target
        self._is_upgrade = parser.should_upgrade()
        if not self._is_upgrade:
            self._listener.on_head(
                RequestHead(
                    parser.get_method(),
                    self.url,
                    version,
                    self._headers,
                    version != "1.0" and parser.should_keep_alive(),
                    self._expects_continue,
                    is_plain,
                )
            )

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._listener.on_body(body)

    def on_message_complete(self) -> None:
        """Take the last byte of a request."""
        self.is_between_requests = True
        if not self._is_upgrade:
            self._listener.on_message_complete()
