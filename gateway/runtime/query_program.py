"""The program of a query process: it answers ledger queries, one after the other, as they come in.

It reads pickles from its standard input: first the URL of the store and the gateway's version, then
one query each. It ends with its input, also in the middle of a query. So it outlives no gateway.
"""

import contextlib
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, NamedTuple

from gateway.core.errors import ProblemError
from gateway.ledger.errors import StoreError
from gateway.ledger.store import LedgerStore, open_store
from gateway.telemetry.log import locate_error

NICENESS = 10
"""The nice value of a query process: on a busy processor, calls run first."""
OOM_SCORE = "500"
"""Added to the process's score if memory runs out: the kernel then ends it, not the gateway."""
LENGTH_BYTES = 8
"""The bytes of the number that comes before each reply: its length."""
EXIT_OTHER_VERSION = 3
"""The exit status if another version than the gateway's is installed by now."""


class QueryReply(NamedTuple):
    """The outcome of one query: its value, or an error."""

    value: Any = None
    error: Exception | None = None
    """An error that the query may raise: StoreError, ProblemError or OSError."""
    bug: str = ""
    """The type and place of any other error."""


def answer_query(
    get_store: Callable[[], LedgerStore], function: Callable[..., Any], arguments: tuple[Any, ...]
) -> QueryReply:
    """Run one query on the store, and return its outcome."""
    try:
        return QueryReply(function(get_store(), *arguments))
    except (OSError, ProblemError, StoreError) as error:
        return QueryReply(error=error)
    except Exception as error:  # noqa: BLE001 - the gateway logs it
        return QueryReply(bug=locate_error(error))


def main() -> None:
    """Answer queries until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which drains first
    _yield_to_calls()
    reply_file = _take_stdout()
    url, version = pickle.load(sys.stdin.buffer)  # noqa: S301 - the gateway writes it
    if version != metadata.version("tiergate"):
        sys.exit(EXIT_OTHER_VERSION)
    queries: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = SimpleQueue()
    threading.Thread(target=_read_queries, args=[queries], daemon=True).start()
    stores: list[LedgerStore] = []

    def get_store() -> LedgerStore:
        # At the first query, and again after an error: the error is then a query's.
        if not stores:
            store = open_store(url)
            store.keep_connection()
            stores.append(store)
        return stores[0]

    while True:
        reply = pickle.dumps(answer_query(get_store, *queries.get()))
        reply_file.write(len(reply).to_bytes(LENGTH_BYTES))
        reply_file.write(reply)
        reply_file.flush()


def _yield_to_calls() -> None:
    """Let the gateway go first, where processor or memory are short."""
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.nice(NICENESS)
    # Linux shares processors among sessions first, and the process has one of its own.
    for name, value in (("autogroup", f"{NICENESS}"), ("oom_score_adj", OOM_SCORE)):
        with contextlib.suppress(OSError):  # another system, or a Linux without it
            Path("/proc/self", name).write_text(value, encoding="ascii")


def _take_stdout() -> BinaryIO:
    """Return a file for replies, and point standard output elsewhere: no library writes there."""
    reply_file = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    with Path(os.devnull).open("wb") as null:
        os.dup2(null.fileno(), sys.stdout.fileno())
    return reply_file


def _read_queries(queries: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
    """Read queries until the gateway closes the input or is gone, then end the process."""
    try:
        with contextlib.suppress(EOFError):
            while True:
                queries.put(pickle.load(sys.stdin.buffer))  # noqa: S301 - as above
    finally:
        os._exit(0)
