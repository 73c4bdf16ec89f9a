"""A process that writes to a journal until it is killed, and prints what it has written.

Run as `python -m tests.ledger.child FOLDER MODE`. Each acknowledged row is a line of its output.
"""

import os
import resource
import sys
from pathlib import Path

from gateway.ledger.errors import JournalError
from gateway.ledger.journal import Journal
from gateway.ledger.store import open_store
from gateway.ledger.writer import LedgerWriter
from tests.ledger.rows import entry, intent


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def endless(journal: Journal) -> None:
    """Write two calls at a time: each one is closed after the next was opened."""
    number = 0
    while True:
        journal.write(intent(f"{os.getpid()}-{number}"))
        say(f"intent {os.getpid()}-{number}")
        if number:
            journal.write(entry(f"{os.getpid()}-{number - 1}"))
            say(f"final {os.getpid()}-{number - 1}")
        number += 1


def open_call(journal: Journal) -> None:
    journal.write(intent("open"))
    say("open")
    sys.stdin.read()


def full(journal: Journal) -> None:
    """Write to a disk that takes 2,000 bytes, and later more."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    number = 0
    try:
        while True:
            journal.write(entry(f"before-{number}"))
            say(f"before-{number}")
            number += 1
    except JournalError as error:
        say(f"error {error.errno}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    journal.write(entry("after"))
    say("after")


def serving(journal: Journal) -> None:
    """Write calls under `serve` to a disk that takes 2,000 bytes, and later more."""
    record = LedgerWriter(journal, "serve", [], lambda event, **fields: say(f"log {event}"))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    for number in range(20):
        record(intent(f"{number}"))
        record(entry(f"{number}"))
    say(f"late {record.late_row_count}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    record(intent("after"))
    record(entry("after"))
    say(f"late {record.late_row_count}")
    journal.close()


def feed(folder: Path, *, keep: bool) -> None:
    """Feed the store beside the folder until a line arrives on standard input, then once more."""
    store = open_store(f"sqlite:///{folder.parent / 'ledger.db'}")
    if keep:
        store.keep_connection()
    say("ready")
    os.set_blocking(0, False)
    fed = 0
    while _silent():
        fed += store.feed(folder) or 0
    say(f"{fed + (store.feed(folder) or 0)}")
    store.close()


def _silent() -> bool:
    try:
        return not os.read(0, 1)
    except BlockingIOError:
        return True


if __name__ == "__main__":
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    if mode in {"feed", "keep"}:
        feed(folder, keep=mode == "keep")
    else:
        modes = {"endless": endless, "open": open_call, "full": full, "serving": serving}
        modes[mode](Journal(folder, limit=20_000))
