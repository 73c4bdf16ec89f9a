"""One response as the parser reports it: what it is, where it ends, and what is wrong with it.

httptools (llhttp) parses; this module decides what is accepted. It has the rules that httptools
does not enforce. RFC 9112, 6.3: a message whose length is given twice may be an attempt at
smuggling. RFC 9112, 6.1: the gateway asks for no coding besides chunked. RFC 9110, 15.2: interim
responses are skipped.

The module also reads one chunk of the chunked coding without the parser, in the form in which
nearly all servers send a frame. The size stands before it in the fewest digits, in lower case,
without an extension; uvicorn writes it so too. Source: RFC 9112, 7.1.
"""

import httptools
import httpx
import msgspec

_MAX_CHUNK_BYTES = 4096
"""Bytes of the largest chunk that skips the parser: a longer one costs the parser little."""
_CHUNK_HEADS: dict[int, bytes] = {}
"""The first bytes of a chunk, by the length of the whole chunk."""


def unwrap_chunk(data: bytes) -> bytes | None:
    """Return the content if the bytes are one short chunk and nothing else; otherwise None."""
    size = len(data)
    if size > _MAX_CHUNK_BYTES:
        return None
    head = _CHUNK_HEADS.get(size) or _build_chunk_head(size)
    if data.startswith(head) and data.endswith(b"\r\n"):
        return data[len(head) : -2]
    return None


def _build_chunk_head(size: int) -> bytes:
    """Return how a chunk of a length begins, or a head that never matches if none has it."""
    digits = 1
    while 16**digits <= size - digits - 4:
        digits += 1
    content_size = size - digits - 4
    is_exact = content_size > 0 and content_size >= 16 ** (digits - 1)
    head = b"%x\r\n" % content_size if is_exact else b"-" * (size + 1)
    _CHUNK_HEADS[size] = head
    return head


MAX_HEAD_BYTES = 65_536
"""Bytes of headers. Twice as many may come without a byte of the body: trailers, chunk lines."""
_MIN_INTERIM_STATUS, _SWITCHING_STATUS, _MIN_FINAL_STATUS = 100, 101, 200
_BODILESS_STATUSES = frozenset({204, 304})
_LINE_OVERHEAD = 4
"""Bytes of a header line besides its name and value."""
_SMALL_HEAD_BYTES = 16_384
"""Received bytes up to which no head can be too large, however many lines it has."""


class IncomingResponse(msgspec.Struct, kw_only=True, eq=False):
    """The response to one request."""

    bodiless: bool = False
    """True for the answer to a HEAD request: no body follows its headers."""
    status: int = 0
    fields: list[tuple[bytes, bytes]] = []
    """The headers, with their names in lower case."""
    chunks: list[bytes] = []
    buffered: int = 0
    is_between_chunks: bool = False
    """True if the parser is certainly between two chunks: a whole chunk may then skip it."""
    has_data: bool = False
    """True if a byte has come."""
    head_complete: bool = False
    complete: bool = False
    can_keep_alive: bool = True
    """True if the connection may serve another request."""
    parser: httptools.HttpResponseParser | None = None
    """The parser, which refers back here: the connection drops it at the end of the exchange."""
    _bytes_without_body: int = 0
    _is_interim: bool = False
    _is_framed: bool = False

    def feed(self, data: bytes) -> None:
        """Take bytes. Raises httpx.RemoteProtocolError if they are no acceptable response."""
        self.has_data = True
        parser = self.parser
        if parser is None:
            self.parser = parser = httptools.HttpResponseParser(self)
        self._bytes_without_body += len(data)
        self.is_between_chunks = False
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, httpx.RemoteProtocolError):
                raise cause from None
            raise httpx.RemoteProtocolError(f"not a valid response ({error})") from None
        if self._bytes_without_body > 2 * MAX_HEAD_BYTES and not self.complete:
            section = "trailer" if self.head_complete else "head"
            raise httpx.RemoteProtocolError(f"the response's {section} is too large")

    def feed_eof(self) -> bool:
        """Take the end of the connection; return True if the response ended with it."""
        if self.head_complete and not self._is_framed:
            self.complete = True
        return self.complete

    def take_body(self) -> bytes:
        """Return what has arrived of the body, and forget it."""
        chunks = self.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self.chunks = []
        self.buffered = 0
        return data

    # callbacks of the parser

    def on_message_begin(self) -> None:
        """Note a second response behind the first: nobody asked for it."""
        if self.complete:
            self.can_keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; ignore those behind the body, which are trailers."""
        if not self.head_complete:
            self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Decide what the head means. Raises httpx.RemoteProtocolError."""
        parser = self.parser
        if self.complete or parser is None:
            return
        status = parser.get_status_code()
        if status < _MIN_FINAL_STATUS:
            if status == _SWITCHING_STATUS or status < _MIN_INTERIM_STATUS:
                raise httpx.RemoteProtocolError(f"unexpected status {status}")
            self._is_interim = True
            return
        fields = self.fields
        names = [name for name, _ in fields]
        lengths = names.count(b"content-length")
        codings = names.count(b"transfer-encoding")
        if codings and fields[names.index(b"transfer-encoding")][1].lower() != b"chunked":
            raise httpx.RemoteProtocolError("a transfer coding that was not asked for")
        if self._bytes_without_body > _SMALL_HEAD_BYTES and _compute_size(fields) > MAX_HEAD_BYTES:
            raise httpx.RemoteProtocolError("the response's head is too large")
        if lengths + codings > 1:
            raise httpx.RemoteProtocolError("the response's length is given twice")
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise httpx.RemoteProtocolError(f"HTTP/{version} was not asked for")
        self.status = status
        self._is_framed = lengths + codings > 0 or status in _BODILESS_STATUSES
        self.can_keep_alive = (
            self._is_framed
            and parser.should_keep_alive()
            and not (codings and version == "1.0")  # RFC 9112, 6.1: its framing is faulty
        )
        self.head_complete = True
        self._bytes_without_body = 0
        if self.bodiless:
            # The parser does not know that no body follows, so it cannot be used further.
            self.complete = True
            self.can_keep_alive = False

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self.complete:
            self.can_keep_alive = False
            return
        self.chunks.append(data)
        self.buffered += len(data)
        self._bytes_without_body = 0

    def on_message_complete(self) -> None:
        """Note the end of an interim response, or of the response."""
        if self._is_interim:
            self._is_interim = False
            self.fields = []
            return
        self.complete = True


def _compute_size(fields: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + _LINE_OVERHEAD for name, value in fields)
