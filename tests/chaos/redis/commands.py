"""Count commands of the Redis protocol, and answer all of them alike."""

from contextlib import AbstractContextManager

from tests.chaos.redis.faults import Fault
from tests.e2e.redis_port import Place


def count(data: bytes) -> int:
    """Return the number of commands in data that holds only whole commands."""
    calls = 0
    while data.startswith(b"*"):
        words, _, data = data[1:].partition(b"\r\n")
        for _ in range(int(words)):
            length, _, data = data[1:].partition(b"\r\n")
            data = data[int(length) + 2 :]
        calls += 1
    return calls


def answering(answer: bytes) -> Fault:
    """Return a server that gives every command the same answer."""

    def fault(place: Place) -> AbstractContextManager[None]:
        return place.instead(lambda data: answer * count(data))

    return fault
