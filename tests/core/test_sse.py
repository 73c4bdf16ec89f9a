"""Server-sent events as bytes: frames end alike for all line ends and all splits into reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import sse

FRAMES = st.lists(
    st.sampled_from(
        [
            b"data: 1\n\n", b"data: 1\r\n\r\n", b": comment\n\n", b"event: x\ndata: a\ndata: b\n\n", b"\n", b"data:\n\r\n",
            "data: \u2028\u0085\n\n".encode(), b"id: 7\n\n", b"data: a\rb\n\n",
        ]
    ),
    max_size=8,
)  # fmt: skip


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"", 0),
        (b"data: 1", 0),
        (b"data: 1\n", 0),
        (b"data: 1\r\n\r", 0),
        (b"data: 1\n\n", 9),
        (b"data: 1\r\n\r\n", 11),
        (b"data: 1\n\r\n", 10),
        (b"data: 1\n\ndata: 2", 9),
        (b"data: 1\r\n\r\ndata: 2\n\nda", 20),
        (b"data: 1\n\ndata: 2\r\n\r\nda", 20),
        (b"data: 1\r\rdata: 2", 0),
    ],
)
def test_frames_end_after_the_last_blank_line(data: bytes, whole: int) -> None:
    """Lines end with LF or CRLF; a lone CR ends none."""
    assert sse.find_frames_end(data) == whole


def test_unicode_line_separators_end_no_line() -> None:
    """JSON strings may hold it; str.splitlines would cut there."""
    text = 'data: {"a":"\u2028\u2029\u0085"}\n\n'.encode()
    assert sse.split_frames(text) == [text]
    assert sse.read_data(text) == '{"a":"\u2028\u2029\u0085"}'.encode()


@pytest.mark.parametrize(
    ("frame", "payload"),
    [
        (b"data: 1\n\n", b"1"),
        (b"data:1\n\n", b"1"),
        (b"data:  1\n\n", b" 1"),
        (b"data: 1\r\n\r\n", b"1"),
        (b"event: error\ndata: a\ndata: b\n\n", b"a\nb"),
        (b": OPENROUTER PROCESSING\n\n", b""),
        (b"event: ping\n\n", b""),
        (b"database: 1\n\n", b""),
        (b"data: 1", b"1"),
        (b"\n", b""),
    ],
)
def test_the_payload_is_the_text_of_the_data_lines(frame: bytes, payload: bytes) -> None:
    assert sse.read_data(frame) == payload


def test_a_written_frame_reads_as_its_payload() -> None:
    assert sse.write_frame(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert sse.read_data(sse.write_frame(b'{"a":1}')) == b'{"a":1}'


@given(FRAMES, st.sampled_from([b"", b"data: half", b"data: x\n"]))
def test_split_frames_hold_every_byte(parts: list[bytes], rest: bytes) -> None:
    """No byte is lost or added; what follows the last blank line is one more frame."""
    data = b"".join(parts) + rest
    frames = sse.split_frames(data)
    assert b"".join(frames) == data
    end = sse.find_frames_end(data)
    assert b"".join(sse.split_frames(data[:end])) == data[:end]
    assert not sse.find_frames_end(data[end:])


@given(FRAMES, st.data())
def test_a_stream_has_the_same_payloads_wherever_reads_end(
    parts: list[bytes], data: st.DataObject
) -> None:
    """The payloads do not depend on where reads end."""
    text = b"".join(parts)
    cut = data.draw(st.integers(0, len(text)))
    end = sse.find_frames_end(text[:cut])
    frames = sse.split_frames(text[:end]) + sse.split_frames(text[end:])
    payloads = [sse.read_data(frame) for frame in frames]
    assert [p for p in payloads if p] == [
        p for p in map(sse.read_data, sse.split_frames(text)) if p
    ]


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"a\n\n\nb", 3),
        (b"a\n\n\n\nb", 5),
        (b"a\n\n\n\n\nb", 5),
        (b"\n\n\nb", 2),
        (b"a\r\n\r\n\r\nb", 5),
        (b"a\r\n\r\nb", 5),
    ],
)
def test_an_extra_blank_line_belongs_to_the_next_frame(data: bytes, whole: int) -> None:
    """Otherwise the forwarded bytes would depend on where a read ended."""
    assert sse.find_frames_end(data) == whole


@given(data=st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"\r"]), max_size=30), parts=st.data())
def test_the_splitter_returns_whole_frames_wherever_reads_end(
    data: list[bytes], parts: st.DataObject
) -> None:
    """The frames are those of the whole text; the rest is kept and counted."""
    joined = b"".join(data)
    splitter, out, unread = sse.FrameSplitter(), b"", joined
    while unread:
        size = parts.draw(st.integers(1, len(unread)))
        out += splitter.feed(unread[:size])
        unread = unread[size:]
    assert out == joined[: len(out)]
    assert splitter.pending == joined[len(out) :]
    assert splitter.size == len(splitter.pending)
    assert len(out) == sse.find_frames_end(joined)
    assert splitter.take_pending() == joined[len(out) :]
    assert (splitter.size, splitter.pending) == (0, b"")


def test_the_splitter_joins_a_long_frame_only_once() -> None:
    """A later read does not copy earlier parts again."""
    splitter = sse.FrameSplitter()
    assert splitter.feed(b"data: ") == b""
    pieces = [bytes([97 + at % 26]) * 1000 for at in range(100)]
    for piece in pieces:
        assert splitter.feed(piece) == b""
        assert splitter._parts[-1] is piece
    assert splitter.feed(b"\n\ndata") == b"data: " + b"".join(pieces) + b"\n\n"
    assert splitter.take_pending() == b"data"


@pytest.mark.parametrize("data", [b"", b"\n\n\n", b": still here\n\n", b"event: ping\n\nid: 7\n\n"])
def test_frames_without_data_are_skipped(data: bytes) -> None:
    assert sse.split_data_frames(data) == []
    assert sse.split_data_frames(data + b"data: 1\n\n") == sse.split_frames(data + b"data: 1\n\n")
