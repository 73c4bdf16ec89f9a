"""One response as the parser tells it: what it is, where it ends, and all that is wrong with it.

httptools (llhttp) parses; this decides what is accepted. Rules that it does not enforce stand here:
RFC 9112, 6.3 (a message whose length is given twice may be an attempt at smuggling), 6.1 (codings
beside chunked are none that we asked for) and RFC 9110, 15.2 (interim responses are skipped).

One chunk of the chunked coding, as nearly all who write a frame at a time send it.

Its size stands before it in the fewest digits, in lower case, without an extension: so does uvicorn
write it too. Source: RFC 9112, 7.1.
"""

import httptools
import httpx

from gateway.upstream.http1.head_template import HeadTemplate

_MOST = 4096
"""Bytes of a chunk that is looked at: longer ones cost their parser little beside the rest."""
_HEADS: dict[int, bytes] = {}
"""By the length of a whole chunk: what it begins with."""


def inside(data: bytes) -> bytes | None:
    """What one such chunk holds; None where the bytes are not one, all of it and nothing else."""
    size = len(data)
    if size > _MOST:
        return None
    head = _HEADS.get(size) or _head(size)
    if data.startswith(head) and data.endswith(b"\r\n"):
        return data[len(head) : -2]
    return None


def _head(size: int) -> bytes:
    """How a chunk of a length begins; more than there is where none has that length."""
    digits = 1
    while 16**digits <= size - digits - 4:
        digits += 1
    held = size - digits - 4
    right = held > 0 and held >= 16 ** (digits - 1)
    head = b"%x\r\n" % held if right else b"-" * (size + 1)
    _HEADS[size] = head
    return head


MOST_HEAD = 65_536
"""Bytes of headers. Twice as many may come without a byte of the body: trailers, chunk lines."""
_INTERIM, _SWITCHING, _FINAL = 100, 101, 200
_BODILESS = frozenset({204, 304})
_LINE = 4
"""Bytes of a header line beside name and value."""
_SMALL_HEAD = 16_384
"""Bytes that have come with which no head is too large, however little stands between its lines."""


class IncomingResponse:
    """The response to one request."""

    __slots__ = (
        "_barren", "_bodiless", "_form", "_framed", "_interim", "_parser", "_told", "between",
        "buffered", "chunks", "complete", "fields", "formed", "head_complete", "heard", "keep",
        "status", "whole",
    )  # fmt: skip

    def __init__(self, form: HeadTemplate | None = None, *, bodiless: bool = False) -> None:
        """`bodiless`: the answer to a HEAD, behind which no body follows whatever it says.

        `form` is that of an answer before it.
        """
        self._parser: httptools.HttpResponseParser | None = None
        self._form = None if bodiless else form
        self._bodiless = bodiless
        self._barren = 0
        self._interim = False
        self._framed = False
        self.status = 0
        self._told: list[tuple[bytes, bytes]] = []
        self.fields: list[tuple[bytes, bytes]] = []
        """The headers with their names in lower case, once all are there."""
        self.chunks: list[bytes] = []
        self.buffered = 0
        self.between = False
        """The parser stands between two chunks, for certain: one that comes whole may pass it."""
        self.heard = False
        """A byte has come."""
        self.head_complete = False
        self.complete = False
        self.keep = True
        """The connection may serve another request."""
        self.formed = False
        """It had the form of the one before, and was not parsed."""
        self.whole: bytes | None = None
        """An answer that was parsed, where all of it came at once."""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As they were written."""
        form = self._form
        return self._told if form is None or not self.formed else form.written(self.fields)

    def feed(self, data: bytes) -> None:
        """Take bytes. Raises httpx.RemoteProtocolError for what is no acceptable response."""
        first = not self.heard
        self.heard = True
        parser = self._parser
        if parser is None:
            form = self._form
            if form is not None and first and (found := form.read(data)) is not None:
                self.fields, body = found
                self.chunks.append(body)
                self.buffered = len(body)
                self.status = 200
                self.formed = self._framed = self.head_complete = self.complete = True
                return
            self._parser = parser = httptools.HttpResponseParser(self)
        self._barren += len(data)
        self.between = False
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, httpx.RemoteProtocolError):
                raise cause from None
            raise httpx.RemoteProtocolError(f"not a valid response ({error})") from None
        if self._barren > 2 * MOST_HEAD and not self.complete:
            what = "trailer" if self.head_complete else "head"
            raise httpx.RemoteProtocolError(f"the response's {what} is too large")
        if first and self.complete:
            self.whole = data

    def end(self) -> bool:
        """Take the end of the connection; tells whether the response ended with it."""
        if self.head_complete and not self._framed:
            self.complete = True
        return self.complete

    def take(self) -> bytes:
        """What has arrived of the body."""
        chunks = self.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self.chunks = []
        self.buffered = 0
        return data

    def release(self) -> None:
        """Let go of the parser, which refers to this: else both wait for the garbage collector."""
        self._parser = None

    # the parser's side

    def on_message_begin(self) -> None:
        """A second response behind the first: nobody asked for it."""
        if self.complete:
            self.keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those behind the body are trailers and are ignored."""
        if not self.head_complete:
            self._told.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there: decide what it means."""
        parser = self._parser
        if self.complete or parser is None:
            return
        status = parser.get_status_code()
        if status < _FINAL:
            if status == _SWITCHING or status < _INTERIM:
                raise httpx.RemoteProtocolError(f"unexpected status {status}")
            self._interim = True
            return
        self.fields = fields = [(name.lower(), value) for name, value in self._told]
        lengths = codings = 0
        for name, value in fields:
            if name == b"content-length":
                lengths += 1
            elif name == b"transfer-encoding":
                codings += 1
                if value.lower() != b"chunked":
                    raise httpx.RemoteProtocolError("a transfer coding that was not asked for")
        if self._barren > _SMALL_HEAD and _size(fields) > MOST_HEAD:
            raise httpx.RemoteProtocolError("the response's head is too large")
        if lengths + codings > 1:
            raise httpx.RemoteProtocolError("the response's length is given twice")
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise httpx.RemoteProtocolError(f"HTTP/{version} was not asked for")
        self.status = status
        self._framed = lengths + codings > 0 or status in _BODILESS
        self.keep = (
            self._framed
            and parser.should_keep_alive()
            and not (codings and version == "1.0")  # RFC 9112, 6.1: its framing is faulty
        )
        self.head_complete = True
        self._barren = 0
        if self._bodiless:
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
        self._barren = 0

    def on_message_complete(self) -> None:
        """The end of an interim response, or of the response."""
        if self._interim:
            self._interim = False
            self._told = []
            return
        self.complete = True


def _size(fields: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + _LINE for name, value in fields)
