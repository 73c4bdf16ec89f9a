"""Commands of the Redis protocol as they stand on the wire, and who answers them all alike."""

from contextlib import AbstractContextManager

from tests.e2e.loss import Fault
from tests.e2e.place import Place


def count(data: bytes) -> int:
    """How many commands stand in what was read, where all of them are whole."""
    found = 0
    while data.startswith(b"*"):
        words, _, data = data[1:].partition(b"\r\n")
        for _ in range(int(words)):
            length, _, data = data[1:].partition(b"\r\n")
            data = data[int(length) + 2 :]
        found += 1
    return found


def answering(answer: bytes) -> Fault:
    """A server that answers every command with the same."""

    def fault(place: Place) -> AbstractContextManager[None]:
        return place.instead(lambda data: answer * count(data))

    return fault
