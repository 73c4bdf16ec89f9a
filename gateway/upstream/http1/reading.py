"""One response as the parser tells it: what it is, where it ends, and all that is wrong with it.

httptools (llhttp) parses; this decides what is accepted. Rules that it does not enforce stand here:
RFC 9112, 6.3 (a message with both Content-Length and Transfer-Encoding, or with two lengths, may be
an attempt at smuggling), 9112 section 2.2 and 9110 section 15.2 (interim responses are skipped).
"""

import httptools
import httpx

MOST_HEAD = 65_536
"""Bytes of status line and headers."""
_INTERIM, _SWITCHING, _FINAL = 100, 101, 200
_BODILESS = frozenset({204, 304})


class Reading:
    """The response to one request."""

    __slots__ = (
        "_head_bytes", "_interim", "_parser", "_trailing", "bodiless", "buffered", "chunks",
        "complete", "framed", "head_complete", "headers", "keep", "status",
    )  # fmt: skip

    def __init__(self, *, bodiless: bool) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self._interim = False
        self._trailing = False
        self.bodiless = bodiless
        """The answer to a HEAD: whatever its headers say, no body follows."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []
        self.buffered = 0
        self.head_complete = False
        self.complete = False
        self.framed = False
        """The message itself says where its body ends; else the end of the connection does."""
        self.keep = True
        """The connection may serve another request."""

    def feed(self, data: bytes) -> None:
        """Take bytes. Raises httpx.RemoteProtocolError for what is no acceptable response."""
        if not self.head_complete:
            self._head_bytes += len(data)
            if self._head_bytes > 4 * MOST_HEAD:
                raise httpx.RemoteProtocolError("the response's head is too large")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise httpx.RemoteProtocolError("the response switches protocols") from None
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, httpx.RemoteProtocolError):
                raise cause from None
            raise httpx.RemoteProtocolError(f"not a valid response ({error})") from None

    def end(self) -> bool:
        """Take the end of the connection; tells whether the response ended with it."""
        if self.head_complete and not self.framed and not self.complete:
            self.complete = True
        return self.complete

    def take(self) -> bytes:
        """What has arrived of the body."""
        chunks = self.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self.chunks = []
        self.buffered = 0
        return data

    def on_message_begin(self) -> None:
        """A second response behind the first: nobody asked for it."""
        if self.complete:
            self.keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those behind the body are trailers and are ignored."""
        if not self.head_complete and not self.complete:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there: decide what it means."""
        if self.complete:
            return
        status = self._parser.get_status_code()
        if status < _FINAL:
            if status == _SWITCHING or status < _INTERIM:
                raise httpx.RemoteProtocolError(f"unexpected status {status}")
            self._interim = True
            return
        lengths, chunked, size = 0, False, 0
        for name, value in self.headers:
            size += len(name) + len(value)
            lower = name.lower()
            lengths += lower == b"content-length"
            chunked = chunked or lower == b"transfer-encoding"
        if size > MOST_HEAD:
            raise httpx.RemoteProtocolError("the response's head is too large")
        if lengths > 1 or (lengths and chunked):
            raise httpx.RemoteProtocolError("the response's length is given twice")
        self.status = status
        self.framed = bool(lengths) or chunked or status in _BODILESS
        self.keep = self.framed and self._parser.should_keep_alive()
        self.head_complete = True
        if self.bodiless:
            # The parser does not know that no body follows, so it cannot be used further.
            self.complete = True
            self.keep = False

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self.complete:
            self.keep = False
            return
        self.chunks.append(data)
        self.buffered += len(data)

    def on_message_complete(self) -> None:
        """The end of an interim response, or of the response."""
        if self._interim:
            self._interim = False
            self.headers = []
            return
        self.complete = True
