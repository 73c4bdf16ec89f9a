"""The reader of Amazon's event stream: any cut of the bytes gives the same messages."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.bedrock_converse.event_stream import (
    EventMessage,
    EventStreamError,
    EventStreamReader,
)
from tests.dialects.bedrock_converse.frames import (
    text,
    write_event,
    write_header,
    write_message,
    write_string_header,
)
from tests.dialects.cases import pieces

EMPTY = bytes.fromhex("00000010 00000000 05c248eb 7d98c8ff")
"""A message without headers and payload, of the vectors that Amazon publishes with its SDKs."""
NAMES = st.text(min_size=1, max_size=20).filter(lambda name: len(name.encode()) < 256)
HEADERS = st.dictionaries(NAMES, st.text(max_size=20), max_size=4)
MESSAGES = st.lists(st.tuples(HEADERS, st.binary(max_size=60)), max_size=4)


def read(*parts: bytes) -> list[EventMessage]:
    reader = EventStreamReader()
    return [message for part in parts for message in reader.feed(part)]


def write(headers: dict[str, str], payload: bytes) -> bytes:
    written = b"".join(write_string_header(name, value) for name, value in headers.items())
    return write_message(written, payload)


def test_amazons_empty_message_is_read() -> None:
    assert write_message(b"", b"") == EMPTY
    assert read(EMPTY) == [EventMessage({}, b"")]


@given(MESSAGES, st.data())
def test_any_cut_of_the_bytes_gives_the_same_messages(
    messages: list[tuple[dict[str, str], bytes]], data: st.DataObject
) -> None:
    stream = b"".join(write(headers, payload) for headers, payload in messages)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    reader = EventStreamReader()
    found = [message for part in pieces(stream, cuts) for message in reader.feed(part)]
    assert found == [EventMessage(headers, payload) for headers, payload in messages]
    assert not reader.has_pending


def test_each_single_byte_may_come_alone() -> None:
    stream = text("Grüße \U0001f600") + EMPTY
    assert read(*(bytes([byte]) for byte in stream)) == read(stream)


def test_half_a_message_is_pending() -> None:
    reader = EventStreamReader()
    assert list(reader.feed(EMPTY[:-1])) == []
    assert reader.has_pending
    assert list(reader.feed(EMPTY[-1:])) == [EventMessage({}, b"")]
    assert not reader.has_pending


def test_headers_of_other_types_are_skipped_and_strings_are_read() -> None:
    headers = b"".join([
        write_header("true", 0, b""), write_header("false", 1, b""), write_header("byte", 2, b"\x01"),
        write_header("short", 3, b"\x01\x02"), write_header("integer", 4, bytes(4)),
        write_header("long", 5, bytes(8)), write_header("bytes", 6, b"\x00\x03abc"),
        write_string_header("string", "ü"), write_header("time", 8, bytes(8)), write_header("uuid", 9, bytes(16)),
        write_string_header("last", ""),
    ])  # fmt: skip
    assert read(write_message(headers, b"{}")) == [EventMessage({"string": "ü", "last": ""}, b"{}")]


@given(st.integers(0, 8 * len(text("hi")) - 1))
def test_a_changed_bit_anywhere_is_noticed(position: int) -> None:
    """The first message is good, the second is changed: only the first comes."""
    good = text("hi")
    changed = bytearray(good)
    changed[position // 8] ^= 1 << position % 8
    messages = EventStreamReader().feed(good + bytes(changed))
    assert next(messages) == read(good)[0]
    with pytest.raises(EventStreamError):
        next(messages)


def write_prelude(total: int, headers: int) -> bytes:
    prelude = struct.pack(">II", total, headers)
    return prelude + struct.pack(">I", zlib.crc32(prelude))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (write_prelude(15, 0), "shorter than its headers"),
        (write_prelude(40, 30), "shorter than its headers"),
        (write_prelude(2**32 - 1, 0), "too large"),
        (write_prelude(300_000, 200_000), "too large"),
        (b"HTTP/1.1 200 OK\r\n", "checksum of a message's lengths"),
        (write_message(write_header("x", 10, b""), b""), "unknown type"),
        (write_message(b"\x09x\x07", b""), "header is broken"),
        (write_message(b"\x01x\x07\x00\x09ab", b""), "longer than all headers"),
        (write_message(b"\x01x\x04\x00", b""), "longer than all headers"),
        (write_message(write_header("x", 7, b"\x00\x01\xff"), b""), "header is broken"),
    ],
)
def test_bytes_that_are_no_event_stream_are_refused(data: bytes, words: str) -> None:
    """A length that cannot be right is refused before any more of the message is kept."""
    with pytest.raises(EventStreamError, match=words):
        read(data)


def test_an_event_has_its_type_and_its_payload() -> None:
    (message,) = read(write_event("messageStop", {"stopReason": "end_turn"}))
    assert message.headers[":event-type"] == "messageStop"
    assert message.payload == b'{"stopReason": "end_turn"}'
