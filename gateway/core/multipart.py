"""Read a multipart form while its bytes pass: the names, small values and sizes of its parts.

The gateway decides by what it reads here, and the provider reads the same bytes with a parser of
its own. So a form must mean the same to every parser: whatever one of them could read in another
way is refused. Sources: RFC 7578, RFC 2046 (5.1), and the WHATWG's rules for names.
"""

import re
from collections.abc import Callable
from typing import Literal

import msgspec

from gateway.core.errors import Problem, ProblemError

MAX_PARTS = 1000
MAX_KEPT_BYTES = 65_536
"""Bytes of the values of all fields that a reader keeps."""
_MAX_HEAD_BYTES = 8192
"""Bytes of the headers of one part."""
_MAX_HEADS_BYTES = 262_144
"""Bytes of the headers of all parts."""

_PARAMETER = r""" *; *([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\[^"])*)"|([^\s;"]+))"""
_PARAMETERS = re.compile(rf"(?:{_PARAMETER})* *")
_ONE_PARAMETER = re.compile(_PARAMETER)
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_HEADER_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_FIELD_NAME = re.compile(r"(?!.*%(?:22|0[AaDd]))[^\\\s](?:[^\\]*[^\\\s])?")
"""A name without escapes, be they those of mail (a backslash) or of browsers (%22)."""
_PLAIN_NAME = re.compile(r"[!#$&+.^_`|~0-9A-Za-z-]+")
"""A name that needs no quotes: parsers end one with other characters at different places."""
_PLAIN_CODINGS = frozenset({"7bit", "8bit", "binary"})
_PLAIN_CHARSETS = frozenset({"utf-8", "us-ascii"})

type ContentSink = Callable[[bytes], object]
"""A function that takes the content of one part, piece by piece."""


class FormPart(msgspec.Struct, kw_only=True):
    """One part of a form."""

    name: str
    filename: str | None
    """The name of the file; None if the part is a field."""
    content_type: str
    start: int
    """The number of bytes of the form before the content."""
    size: int = 0
    """The number of bytes of the content so far."""
    value: bytes | None = None
    """The content of a field as far as it has arrived; None for a file, or if it is large."""


class MultipartReader:
    """A reader of one form. It keeps no more than the values of small fields."""

    def __init__(
        self, content_type: str, open_sink: Callable[[FormPart], ContentSink | None] | None = None
    ) -> None:
        """Take the content type of the request.

        `open_sink` returns who takes the content of a part, when that begins; None if nobody does.
        Raises ProblemError if the type is not that of a form.
        """
        self._mark = b"--" + read_boundary(content_type)
        self._open_sink = open_sink
        self._sink: ContentSink | None = None
        self._state: Literal["start", "head", "content", "end"] = "start"
        self._buffer = b"\r\n"
        """Bytes that do not have a meaning yet; the first delimiter is read as all others."""
        self._buffer_start = -2
        """The number of bytes before the buffer."""
        self._kept_bytes = self._head_bytes = 0
        self.parts: list[FormPart] = []
        """The parts that have begun."""

    def find_field(self, name: str) -> FormPart | None:
        """Return the only part with this name, which is no file; None if there is none so far.

        Raises ProblemError if there are several, or if it is a file.
        """
        parts = [part for part in self.parts if part.name == name]
        if not parts:
            return None
        if len(parts) > 1:
            raise _make_error(f"it has several parts with the name {name}")
        if parts[0].filename is not None:
            raise _make_error(f"its part {name} is a file, not a value")
        return parts[0]

    @property
    def is_in_part(self) -> bool:
        """True while the content of the last part arrives."""
        return self._state == "content"

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises ProblemError if they are no valid form."""
        self._buffer = self._buffer + data if self._buffer else data
        while (self._read_head if self._state == "head" else self._read_content)():
            pass

    def finish(self) -> None:
        """Take the end of the body. Raises ProblemError if the form is not complete."""
        if self._state != "end" or self._buffer not in (b"", b"\r\n"):
            raise _make_error("it ends before its last boundary")

    def _read_head(self) -> bool:
        """Read the headers of a part; return False if more bytes are needed."""
        end = self._buffer.find(b"\r\n\r\n")
        if (end if end >= 0 else len(self._buffer)) > _MAX_HEAD_BYTES:
            raise _make_error(f"the headers of a part have more than {_MAX_HEAD_BYTES} bytes")
        if end < 0:
            return False
        head = self._buffer[:end]
        self._head_bytes += end
        if self._head_bytes > _MAX_HEADS_BYTES:
            raise _make_error(f"the headers of its parts have more than {_MAX_HEADS_BYTES} bytes")
        self._drop(end + len(b"\r\n\r\n"))
        if len(self.parts) == MAX_PARTS:
            raise _make_error(f"it has more than {MAX_PARTS} parts")
        part = _read_part(head.decode("utf-8", "replace"), self._buffer_start)
        if part.filename is None:
            part.value = b""
        self.parts.append(part)
        self._sink = None if self._open_sink is None else self._open_sink(part)
        self._state = "content"
        return True

    def _read_content(self) -> bool:
        """Read content up to a boundary; return False if more bytes are needed."""
        buffer, mark = self._buffer, self._mark
        if self._state == "end":
            if not b"\r\n".startswith(buffer):
                raise _make_error("it has bytes behind its last boundary")
            return False
        found = buffer.find(mark)
        if found < 0:
            # The end of the buffer may be the beginning of a delimiter: line end, mark.
            self._take_content(max(0, len(buffer) - len(mark) - 1))
            return False
        if found < 2 or buffer[found - 2 : found] != b"\r\n":
            raise _make_error("a boundary does not begin a line")
        self._take_content(found - 2)
        behind = self._buffer[2 + len(mark) : 4 + len(mark)]
        if len(behind) < 2:
            return False
        if behind not in (b"\r\n", b"--"):
            raise _make_error("a boundary does not end its line")
        self._state = "head" if behind == b"\r\n" else "end"
        self._drop(len(mark) + 4)
        return True

    def _take_content(self, size: int) -> None:
        """Take the first bytes of the buffer as content."""
        if not size:
            return
        if self._state == "start":
            raise _make_error("it does not begin with its boundary")
        data, part = self._buffer[:size], self.parts[-1]
        self._drop(size)
        part.size += size
        if part.value is not None:
            self._kept_bytes += size
            if self._kept_bytes <= MAX_KEPT_BYTES:
                part.value += data
            else:
                self._kept_bytes -= len(part.value) + size
                part.value = None
        if self._sink is not None:
            self._sink(data)

    def _drop(self, size: int) -> None:
        self._buffer = self._buffer[size:]
        self._buffer_start += size


def read_boundary(content_type: str) -> bytes:
    """Return the boundary in the content type of a form. Raises ProblemError."""
    kind, separator, rest = content_type.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        raise _make_error("its content type is not multipart/form-data")
    parameters = _read_parameters(separator + rest)
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise _make_error("its content type has no valid boundary")
    return boundary.encode("ascii")


def replace_field(body: bytes, content_type: str, name: str, value: bytes) -> bytes:
    """Return a form with another value of one field, and else the same bytes.

    Raises ProblemError if it is no valid form, or has no such field.
    """
    reader = MultipartReader(content_type)
    reader.feed(body)
    reader.finish()
    part = reader.find_field(name)
    if part is None:
        raise _make_error(f"it has no part with the name {name}")
    return b"%b%b%b" % (body[: part.start], value, body[part.start + part.size :])


def _read_part(head: str, start: int) -> FormPart:
    """Return the part that has these headers. Raises ProblemError."""
    headers: dict[str, str] = {}
    for line in head.split("\r\n"):
        match = _HEADER_LINE.fullmatch(line)
        if match is None:
            raise _make_error("a part has a header that is not valid")
        name = match[1].lower()
        if name in headers:
            raise _make_error(f"a part has two headers {name}")
        headers[name] = match[2].strip(" \t")
    disposition, separator, rest = headers.get("content-disposition", "").partition(";")
    if disposition.strip().lower() != "form-data":
        raise _make_error("a part has no content-disposition: form-data")
    parameters = _read_parameters(separator + rest)
    name, filename = parameters.get("name", ""), parameters.get("filename")
    if not _FIELD_NAME.fullmatch(name) or "name*" in parameters:
        raise _make_error("a part has no valid name")
    if headers.get("content-transfer-encoding", "binary").lower() not in _PLAIN_CODINGS:
        raise _make_error("a part has a content-transfer-encoding")
    content_type = headers.get("content-type", "")
    if filename is None and "filename*" not in parameters:
        _check_charset(content_type)
    return FormPart(
        name=name,
        filename=parameters.get("filename*") if filename is None else filename,
        content_type=content_type,
        start=start,
    )


def _check_charset(content_type: str) -> None:
    """Check that a field is text that every parser reads alike. Raises ProblemError."""
    _, separator, rest = content_type.partition(";")
    charset = _read_parameters(separator + rest).get("charset", "utf-8")
    if charset.lower() not in _PLAIN_CHARSETS:
        raise _make_error("a field has another charset than utf-8")


def _read_parameters(text: str) -> dict[str, str]:
    """Return the parameters of a header, by names in lower case. Raises ProblemError."""
    if not _PARAMETERS.fullmatch(text):
        raise _make_error("a header has parameters that are not valid")
    parameters: dict[str, str] = {}
    for match in _ONE_PARAMETER.finditer(text):
        name = match[1].lower()
        if name in parameters:
            raise _make_error(f"a header has two parameters {name}")
        if name == "name" and match[3] is not None and not _PLAIN_NAME.fullmatch(match[3]):
            raise _make_error("a part has a name that needs quotes")
        parameters[name] = match[2] if match[2] is not None else match[3]
    return parameters


def _make_error(reason: str) -> ProblemError:
    message = f"The body is no form that every server reads alike: {reason}."
    return ProblemError(Problem(kind="invalid_request", message=message))
