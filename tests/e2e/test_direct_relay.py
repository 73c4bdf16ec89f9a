"""Chunks that bypass the waiting task: client bytes and row are the same as without it."""

import socket
import time

import pytest

from gateway.core import jsonio
from gateway.upstream.relay import DirectRelay
from tests.e2e.child import until
from tests.e2e.service import read_until
from tests.e2e.upstream import DONE, ROLE, SSE, Answer, Upstream, chunk, frames
from tests.e2e.world import World, chat

BODY = chat(model="smart", stream=True)
ERROR = b'data: {"error": {"message":"It broke.", "code": null}}\n\n'


@pytest.fixture
def relayed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Record the chunks that were relayed directly."""
    chunks: list[bytes] = []
    accept = DirectRelay.accept

    def spy(self: DirectRelay, data: bytes, chunk: bytes | None) -> bool:
        accepted = accept(self, data, chunk)
        if accepted:
            chunks.append(data)
        return accepted

    monkeypatch.setattr(DirectRelay, "accept", spy)
    return chunks


def open_stream(world: World, path: bytes = b"/v1/chat/completions") -> socket.socket:
    data = jsonio.dumps(BODY)
    connection = socket.create_connection(("127.0.0.1", world.port), timeout=20)
    head = b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % (path, len(data))
    connection.sendall(head + data)
    return connection


def write_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def answer_piece_by_piece(*pieces: bytes) -> Answer:
    held = [piece for data in pieces for piece in (data, None)]
    return Answer(pieces=tuple(held), headers=SSE)


def test_each_directly_relayed_chunk_is_unchanged_and_counted(
    world: World, upstream: Upstream, relayed: list[bytes]
) -> None:
    """Chunk by chunk, the bytes and the usage are those of the general path."""
    words = [f" word{at} \u00e4" for at in range(6)]
    role, first, *rest = frames(words, counts=(9, 12))
    counted = rest.pop(-2)  # the client did not ask for it
    upstream.on("/acme", answer_piece_by_piece(role, first, *rest[:-1], counted, rest[-1]))
    with open_stream(world) as connection:
        world.release()
        received = read_until(connection, first + b"\r\n")
        for frame in rest[:-1]:
            world.release()
            received += read_until(connection, write_chunk(frame))
        world.release()
        world.release()
        received += read_until(connection, write_chunk(rest[-1]))
        world.release()
        received += (
            read_until(connection, b"0\r\n\r\n") if not received.endswith(b"\r\n0\r\n\r\n") else b""
        )
    _, _, body = received.partition(b"\r\n\r\n")
    assert body == write_chunk(role + first) + b"".join(map(write_chunk, rest)) + b"0\r\n\r\n"
    assert relayed[: len(words) - 1] == rest[: len(words) - 1]
    entry = world.entry()
    assert (entry.state, entry.input, entry.output) == ("settled", 9, 12)


def test_an_error_after_directly_relayed_chunks_ends_the_stream(
    world: World, upstream: Upstream, relayed: list[bytes]
) -> None:
    texts = [chunk({"content": f" word{at}"}) for at in range(4)]
    upstream.on("/acme", answer_piece_by_piece(ROLE, *texts, ERROR, DONE))
    with open_stream(world) as connection:
        for _ in range(len(texts) + 3):
            world.release()
        received = read_until(connection, b"0\r\n\r\n")
    assert received.endswith(ERROR + b"\r\n0\r\n\r\n")
    assert received.count(b"error") == 1
    assert world.entry().state == "aborted"
    assert world.entry().aborted_by == "upstream"


def test_a_cut_after_directly_relayed_chunks_ends_in_an_error(
    world: World, upstream: Upstream, relayed: list[bytes]
) -> None:
    texts = [chunk({"content": f" word{at}"}) for at in range(4)]
    held = [piece for text in (ROLE, *texts) for piece in (text, None)]
    upstream.on("/acme", Answer(pieces=tuple(held), headers=SSE, end="cut"))
    with open_stream(world) as connection:
        for text in texts:
            world.release()
            read_until(connection, text)
        world.release()
        received = read_until(connection, b"0\r\n\r\n")
    assert b"upstream_truncated" in received
    assert relayed
    assert world.entry().aborted_by == "upstream"


def test_a_client_that_leaves_a_direct_relay_ends_the_providers_call(
    world: World, upstream: Upstream, relayed: list[bytes]
) -> None:
    """The gateway closes the provider's connection, and records the usage so far."""
    texts = [chunk({"content": f" word{at}"}) for at in range(3)]
    upstream.on("/acme", answer_piece_by_piece(ROLE, *texts, chunk({"content": "never"})))
    with open_stream(world) as connection:
        world.release()
        for text in texts:
            read_until(connection, text)
            world.release()
    assert upstream.requests[0].left.wait(20)
    until(lambda: len(world.rows()) > 1, "the row of the call")
    entry = world.entry()
    assert (entry.state, entry.aborted_by) == ("aborted", "client")


def test_a_client_that_does_not_read_slows_the_provider_down(
    world: World, upstream: Upstream, relayed: list[bytes]
) -> None:
    """The rest waits at the provider; the client still gets all of it, in order."""
    text = "x" * 60_000
    stream_frames = frames([f"{at} {text}" for at in range(300)])
    upstream.on("/acme", Answer(pieces=stream_frames, headers=SSE))
    with open_stream(world) as connection:
        time.sleep(0.5)  # what a gateway would read too much has time to come
        assert sum(map(len, relayed)) < sum(map(len, stream_frames)) / 2
        received = bytearray()
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += connection.recv(1_000_000)
    places = [received.find(b'"content":"%d x' % at) for at in range(300)]
    assert places == sorted(places)
    assert places[0] > 0
    assert received.count(text.encode()) == 300
    assert world.entry().state == "settled"
