"""Test that answers are framed as RFC 9112 says, and that the head leaves with the first bytes."""

import asyncio
from typing import Any

import pytest

from gateway.server.http1.client_transport import ClientTransport
from gateway.server.http1.response_writer import ResponseWriter
from gateway.upstream.write_batch import WriteBatch
from tests.server.http1.fakes import FakeTransport

LENGTH = (b"Content-Length", b"4")


class RecordedAnswer:
    """One answer, and the bytes written for it."""

    def __init__(self, **options: Any) -> None:
        self.transport = FakeTransport()
        transport: Any = self.transport
        self.client = ClientTransport(transport, WriteBatch(lambda: True), 60.0)
        self.writer = ResponseWriter(self.client, **{"keep_alive": True, **options})

    @property
    def written(self) -> bytes:
        return self.transport.data


async def test_a_body_of_unknown_length_is_chunked() -> None:
    answer = RecordedAnswer()
    answer.writer.start(200, [(b"A", b"b")])
    assert answer.written == b""
    answer.writer.write_body(b"some", more_body=True)
    assert answer.transport.written == [
        b"HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n"
    ]
    answer.writer.write_body(b"", more_body=True)  # a chunk of no bytes would end the body
    answer.writer.write_body(b" more", more_body=False)
    assert answer.transport.written[1:] == [b"5\r\n more\r\n0\r\n\r\n"]
    assert answer.writer.is_complete


async def test_a_body_of_known_length_is_not_chunked() -> None:
    answer = RecordedAnswer()
    answer.writer.start(200, [LENGTH])
    answer.writer.write_body(b"so", more_body=True)
    answer.writer.write_body(b"me", more_body=False)
    assert answer.written == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsome"


async def test_an_application_may_request_chunks() -> None:
    answer = RecordedAnswer()
    answer.writer.start(200, [(b"transfer-encoding", b"chunked")])
    answer.writer.write_body(b"some", more_body=False)
    assert answer.written.count(b"chunked") == 1
    assert answer.written.endswith(b"4\r\nsome\r\n0\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_with_204_and_304_have_no_body(status: int) -> None:
    answer = RecordedAnswer()
    answer.writer.start(status, [])
    answer.writer.write_body(b"some", more_body=False)
    assert answer.written.startswith(b"HTTP/1.1 %d " % status)
    assert answer.written.endswith(b"\r\n\r\n")
    assert b"transfer-encoding" not in answer.written
    assert answer.writer.is_complete


@pytest.mark.parametrize("headers", [[], [LENGTH]])
async def test_an_answer_to_head_has_no_body(headers: list[tuple[bytes, bytes]]) -> None:
    answer = RecordedAnswer(omits_body=True)
    answer.writer.start(200, headers)
    answer.writer.write_body(b"some", more_body=False)
    lines = b"content-length: 4\r\n" if headers else b""
    assert answer.written == b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n"
    assert answer.writer.is_complete


async def test_a_status_without_a_standard_phrase_has_none() -> None:
    answer = RecordedAnswer()
    answer.writer.start(529, [LENGTH])
    answer.writer.flush_head()
    assert answer.written.startswith(b"HTTP/1.1 529 \r\n")


async def test_connection_close_is_written_once() -> None:
    closed_by_header, closed_by_gateway = RecordedAnswer(), RecordedAnswer(keep_alive=False)
    closed_by_header.writer.start(200, [LENGTH, (b"Connection", b"x, Close")])
    closed_by_gateway.writer.start(200, [LENGTH])
    for answer in (closed_by_header, closed_by_gateway):
        answer.writer.flush_head()
        assert not answer.writer.keep_alive
        assert answer.written.lower().count(b"connection: ") == 1


async def test_default_headers_come_first() -> None:
    answer = RecordedAnswer(default_headers=[(b"date", b"today")])
    answer.writer.start(200, [LENGTH])
    answer.writer.flush_head()
    assert answer.written == b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 4\r\n\r\n"


@pytest.mark.parametrize(
    "header",
    [(b"a", b"b\r\nc: d"), (b"a", b"b\n"), (b"a", b"\0"), (b"a b", b"c"), (b"a:", b"c")],
)
async def test_sec_hdr_a_header_with_a_line_break_is_not_written(
    header: tuple[bytes, bytes],
) -> None:
    answer = RecordedAnswer()
    with pytest.raises(RuntimeError, match="header"):
        answer.writer.start(200, [header])
    answer.writer.flush_head()
    assert answer.written == b""


async def test_a_body_that_differs_from_its_length_is_an_error() -> None:
    for body, problem in ((b"some more", "longer"), (b"so", "shorter")):
        answer = RecordedAnswer()
        answer.writer.start(200, [LENGTH])
        with pytest.raises(RuntimeError, match=problem):
            answer.writer.write_body(body, more_body=False)
        assert not answer.writer.is_complete
        assert b"more" not in answer.written


async def test_a_whole_answer_is_written_unchanged() -> None:
    answer = RecordedAnswer()
    answer.writer.write_whole(b"head and body")
    assert answer.written == b"head and body"
    assert (answer.writer.is_started, answer.writer.is_complete) == (True, True)


async def test_100_continue_comes_before_the_answer() -> None:
    answer = RecordedAnswer()
    answer.writer.write_continue()
    assert answer.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert not answer.writer.is_started


async def test_pieces_of_a_relayed_stream_become_chunks() -> None:
    answer = RecordedAnswer()
    assert not answer.writer.write(b"early", None)
    answer.writer.start(200, [])
    assert not answer.writer.write(b"before the first", None)
    answer.writer.write_body(b"1", more_body=True)
    assert answer.writer.last_piece_at == 0.0
    assert answer.writer.write(b"22", None)
    assert answer.writer.write(b"333", b"0003\r\n333\r\n")
    assert answer.transport.written[1:] == [b"2\r\n22\r\n", b"0003\r\n333\r\n"]
    assert answer.writer.last_piece_at > 0.0
    answer.client.pause_writing()
    assert not answer.writer.write(b"4", None)
    answer.client.resume_writing()
    assert answer.writer.write(b"4", None)
    answer.writer.write_body(b"", more_body=False)
    assert not answer.writer.write(b"5", None)


async def test_no_piece_is_written_to_a_client_that_has_left() -> None:
    answer = RecordedAnswer()
    answer.writer.start(200, [])
    answer.writer.write_body(b"1", more_body=True)
    answer.transport.close()
    assert not answer.writer.write(b"2", None)


async def test_a_body_of_known_length_takes_no_relayed_pieces() -> None:
    answer = RecordedAnswer()
    answer.writer.start(200, [LENGTH])
    answer.writer.write_body(b"so", more_body=True)
    assert not answer.writer.write(b"me", None)
    await asyncio.sleep(0)
    assert answer.written.endswith(b"\r\n\r\nso")
