"""Amazon's event stream: bytes in, messages out, however the bytes were cut.

    total length | length of headers | CRC-32 of these two        4 bytes each, big endian
    headers: length of name (1), name, type (1), value
    payload
    CRC-32 of all before it                                       4 bytes

Sources: "Event stream encoding" of Amazon's developer guides, and the limits of botocore's reader.
"""

import struct
import zlib
from collections.abc import Iterator

import msgspec

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_MAX_PAYLOAD_BYTES = 24 * 1024 * 1024
_MAX_HEADER_BYTES = 128 * 1024
_FRAMING_BYTES = _PRELUDE.size + _CRC.size
_VALUE_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type: booleans, integers, a time, a UUID."""
_BYTES_TYPE, _STRING_TYPE = 6, 7
"""Types whose value has its length before it, in two bytes."""


class EventStreamError(ValueError):
    """Raised for bytes that are no event stream. Its text says what is wrong, and quotes none."""


class EventMessage(msgspec.Struct, frozen=True, gc=False):
    """One message of a stream."""

    headers: dict[str, str]
    """The headers that are strings; no others are known to mean anything."""
    payload: bytes


class EventStreamReader:
    """Returns whole messages from the bytes of a stream, and keeps the beginning of the next."""

    __slots__ = ("_buffer", "_needed_bytes")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed_bytes = _PRELUDE.size
        """The bytes from which on the buffer holds more than is known: a prelude, or a message."""

    @property
    def has_pending(self) -> bool:
        """True if the beginning of a message has come, and not its end."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[EventMessage]:
        """Yield the messages that are whole now. Raises EventStreamError at the first broken one.

        The caller takes all of them before it feeds more bytes.
        """
        self._buffer += data
        while len(self._buffer) >= self._needed_bytes:
            total_bytes, header_bytes, prelude_crc = _PRELUDE.unpack_from(self._buffer)
            if self._needed_bytes == _PRELUDE.size:
                self._check_prelude(total_bytes, header_bytes, prelude_crc)
                self._needed_bytes = total_bytes
                continue
            message = bytes(memoryview(self._buffer)[:total_bytes])
            del self._buffer[:total_bytes]
            self._needed_bytes = _PRELUDE.size
            yield _read_message(message, header_bytes)

    def _check_prelude(self, total_bytes: int, header_bytes: int, prelude_crc: int) -> None:
        """Raise EventStreamError for lengths that cannot be right: nothing is kept for them."""
        if zlib.crc32(memoryview(self._buffer)[: _PRELUDE.size - _CRC.size]) != prelude_crc:
            raise EventStreamError("the checksum of a message's lengths is wrong")
        payload_bytes = total_bytes - header_bytes - _FRAMING_BYTES
        if payload_bytes < 0:
            raise EventStreamError("a message is shorter than its headers")
        if header_bytes > _MAX_HEADER_BYTES or payload_bytes > _MAX_PAYLOAD_BYTES:
            raise EventStreamError("a message is too large")


def _read_message(message: bytes, header_bytes: int) -> EventMessage:
    """Return a whole message. Raises EventStreamError if it was changed on its way."""
    (message_crc,) = _CRC.unpack_from(message, len(message) - _CRC.size)
    if zlib.crc32(memoryview(message)[: -_CRC.size]) != message_crc:
        raise EventStreamError("the checksum of a message is wrong")
    payload_start = _PRELUDE.size + header_bytes
    headers = _read_headers(message[_PRELUDE.size : payload_start])
    return EventMessage(headers, message[payload_start : -_CRC.size])


def _read_headers(data: bytes) -> dict[str, str]:
    """Return the headers that are strings. Raises EventStreamError for bytes that are none."""
    headers: dict[str, str] = {}
    offset = 0
    try:
        while offset < len(data):
            name_start, name_end = offset + 1, offset + 1 + data[offset]
            value_type, offset = data[name_end], name_end + 1
            size = _VALUE_SIZES.get(value_type)
            if size is None:
                if value_type not in (_BYTES_TYPE, _STRING_TYPE):
                    raise EventStreamError("a header has an unknown type")
                size, offset = int.from_bytes(data[offset : offset + 2]), offset + 2
            value_start, offset = offset, offset + size
            if value_type == _STRING_TYPE:
                name = data[name_start:name_end].decode()
                headers[name] = data[value_start:offset].decode()
    except (IndexError, UnicodeDecodeError):
        raise EventStreamError("a header is broken") from None
    if offset != len(data):
        raise EventStreamError("a header is longer than all headers")
    return headers
