"""Test direct relay: which bytes skip the waiting reader, and which go through it."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway.dialects import OPENAI_CHAT, StreamInspector, WrittenBody
from gateway.upstream.relay import DirectRelay
from tests.dialects.cases import ask, chunk, sse

ROLE = sse(chunk({"role": "assistant", "content": ""}), done=False)
HEL = sse(chunk({"content": "Hel"}), done=False)
LO = sse(chunk({"content": "lo"}), done=False)
ERROR = sse({"error": {"message": "It broke."}}, done=False)
USAGE = sse({**chunk(), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}, done=False)  # fmt: skip


class RelayClient:
    """A client to write to."""

    def __init__(self) -> None:
        self.open = True
        self.got: list[tuple[bytes, bytes | None]] = []

    def write(self, data: bytes, chunk: bytes | None) -> bool:
        if self.open:
            self.got.append((data, chunk))
        return self.open


def begin(
    watch: Any = None, keep: Callable[[bytes], None] | None = None
) -> tuple[DirectRelay, RelayClient, StreamInspector]:
    watch = watch or OPENAI_CHAT.inspect_stream(ask(stream=True), WrittenBody(b"", asks_usage=True))
    direct, client = DirectRelay(watch, keep), RelayClient()
    assert not direct.accept(HEL, None)  # no client yet
    assert direct.feed(ROLE + HEL) == ROLE + HEL
    direct.pass_to(client)
    assert not direct.awaits_client
    return direct, client, watch


def test_frames_are_passed_on_unchanged() -> None:
    direct, client, watch = begin()
    assert direct.accept(LO, b"chunk")
    assert direct.accept(LO, None)
    assert client.got == [(LO, b"chunk"), (LO, None)]
    assert watch.content_bytes == 7


def test_half_a_frame_waits_for_its_end() -> None:
    direct, client, _ = begin()
    assert direct.accept(LO[:9], b"chunk")
    assert client.got == []
    assert direct.accept(LO[9:], b"chunk")
    assert client.got == [(LO, None)]


def test_usage_that_the_client_did_not_ask_for_is_not_passed_on() -> None:
    direct, client, watch = begin()
    assert direct.accept(USAGE, b"chunk")
    assert direct.accept(USAGE + LO, b"chunk")
    assert client.got == [(LO, None)]
    assert watch.usage is not None


def test_bytes_that_the_client_cannot_take_go_through_the_reader() -> None:
    direct, client, watch = begin()
    client.open = False
    assert not direct.accept(LO, b"chunk")
    assert direct.feed(LO + HEL) == LO + HEL
    assert watch.content_bytes == 8
    assert client.got == []
    client.open = True
    assert direct.accept(LO, b"chunk")


def test_an_error_goes_through_the_reader_and_is_read_once() -> None:
    direct, client, watch = begin()
    assert not direct.accept(LO + ERROR, b"chunk")
    assert watch.problem is not None
    assert direct.feed(LO + ERROR + HEL) == LO + ERROR
    assert direct.feed(HEL) == b""
    assert client.got == []
    assert watch.content_bytes == 5


def test_an_exception_is_raised_in_the_waiting_reader() -> None:
    class Broken:
        problem = None

        def feed(self, data: bytes) -> bytes:
            if data == LO:
                raise ArithmeticError("a bug")
            return data

    direct, client, _ = begin(watch=Broken())
    assert not direct.accept(LO, b"chunk")
    with pytest.raises(ArithmeticError, match="a bug"):
        direct.feed(LO)
    assert client.got == []


def test_bytes_that_are_passed_on_may_be_recorded() -> None:
    """The reader keeps bytes that go the long way."""
    passed_on: list[bytes] = []
    direct, client, _ = begin(keep=passed_on.append)
    assert direct.accept(LO[:9], b"chunk")
    assert direct.accept(LO[9:] + USAGE, b"chunk")
    client.open = False
    assert not direct.accept(HEL, b"chunk")
    assert passed_on == [LO]


def test_a_stopped_relay_sends_everything_through_the_reader() -> None:
    direct, client, _ = begin()
    assert direct.accept(LO[:9], b"chunk")
    direct.stop()
    assert not direct.awaits_client
    assert not direct.accept(LO[9:], b"chunk")
    assert direct.feed(LO[9:]) == LO
    assert client.got == []


def test_the_relay_waits_for_its_client() -> None:
    direct, client, _ = begin()
    direct.pass_to(None)
    assert direct.awaits_client
    assert not direct.accept(LO, None)
    assert direct.feed(LO) == LO
    direct.pass_to(client)
    assert direct.accept(LO, None)
