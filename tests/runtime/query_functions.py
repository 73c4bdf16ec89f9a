"""Queries of the tests of query processes: functions of a module, as the process imports them."""

import os
import sys
import time
from pathlib import Path

from gateway.core.errors import invalid_request
from gateway.ledger.errors import QueryTooLargeError, QueryTooLongError
from gateway.ledger.store import LedgerStore


def count_calls(store: LedgerStore, key: str) -> int:
    """Return the number of a key's calls."""
    return store.count(only={"key": [key]})


def describe_process(store: LedgerStore) -> tuple[int, int, list[str], list[str]]:
    """Return the id and the niceness of the process, its open files, and its modules."""
    del store
    files = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.exists()]
    return os.getpid(), os.nice(0), files, list(sys.modules)


def print_text(store: LedgerStore, text: str) -> str:
    """Print a text, as a library may."""
    del store
    print(text, flush=True)
    return text


def repeat(store: LedgerStore, count: int) -> bytes:
    """Return many bytes."""
    del store
    return b"x" * count


def refuse(store: LedgerStore) -> None:
    """Raise an error for the client."""
    del store
    raise invalid_request("No such cursor.", "after")


def fail(store: LedgerStore) -> None:
    """Fail as a bug does."""
    del store
    raise KeyError("a prompt")


def hang(store: LedgerStore, file: str) -> None:
    """Make a file with the id of the process, and never return."""
    del store
    Path(file).write_text(str(os.getpid()), encoding="utf-8")
    while True:
        time.sleep(60)  # a query that never ends


def take_too_long(_: LedgerStore) -> None:
    """Fail as a query that takes longer than it may."""
    raise QueryTooLongError(2.5)


def read_too_much(_: LedgerStore) -> None:
    """Fail as a query that would read more calls than it may."""
    raise QueryTooLargeError(9)
