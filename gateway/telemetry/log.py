"""The log: one JSON line an event on standard error; prompts, answers and keys are never in it."""

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Literal, Protocol, TextIO

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow, Row


class Log(Protocol):
    """Writes one event with its fields."""

    def __call__(self, event: str, **fields: object) -> None:
        """Write one event."""
        ...


def make_log(stream: TextIO, clock: Callable[[], float]) -> Log:
    """A log that writes JSON lines to a stream. `clock` gives seconds since the epoch."""

    def write(event: str, **fields: object) -> None:
        row = {"at": round(clock(), 3), "event": event, **fields}
        stream.write(jsonio.dumps_printable(row) + "\n")
        stream.flush()

    return write


def make_call_sink(log: Log, selection: Literal["off", "failed", "all"]) -> Callable[[Row], None]:
    """What writes a line for each call, or for each that failed, from its final row.

    A call that its client left has not failed. Nothing that a client wrote is in a line.
    """

    def write(row: Row) -> None:
        if not isinstance(row, FinalRow) or (selection == "failed" and not _has_failed(row)):
            return
        log(
            "call",
            id=row.id,
            key=row.key,
            lab=row.lab,
            tier=row.tier,
            provider=row.provider,
            model=row.model,
            status=row.status,
            state=row.state,
            problem=row.problem,
            aborted_by=row.aborted_by,
            attempts=row.attempts,
            cache=row.cache,
            input=row.input,
            cache_read=row.cache_read,
            cache_write=row.cache_write,
            output=row.output,
            reasoning=row.reasoning,
            cost=None if row.cost is None else f"{row.cost:f}",
            first_content=row.first_content,
            duration=row.duration,
        )

    return _ignore_row if selection == "off" else write


def _has_failed(row: FinalRow) -> bool:
    if row.state == "aborted":
        return row.aborted_by not in ("client", "client_slow")
    return row.state in ("failed", "refused", "unknown_crash")


def _ignore_row(_: Row) -> None:
    """A sink that writes nothing."""


def ignore_event(event: str, **fields: object) -> None:
    """A log that writes nothing."""


def locate_error(error: BaseException) -> str:
    """Where an unexpected error came from: type and place; its text may quote a prompt."""
    frames = traceback.extract_tb(error.__traceback__)
    location = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} at {location}"


class LibraryLogHandler(logging.Handler):
    """Brings the warnings of libraries into the log, without their arguments."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        self._log("library", name=record.name, level=record.levelname, text=str(record.msg))


def make_stderr_log(clock: Callable[[], float]) -> Log:
    """The log of a running gateway."""
    return make_log(sys.stderr, clock)
