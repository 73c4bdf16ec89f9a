"""The log: one JSON line an event on standard error, without prompts, answers or keys."""

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Literal, Protocol, TextIO

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow, Row, has_failed


class Log(Protocol):
    """A function that writes one event with its fields."""

    def __call__(self, event: str, **fields: object) -> None:
        """Write one event."""
        ...


def make_log(stream: TextIO, clock: Callable[[], float]) -> Log:
    """Return a log that writes JSON lines to a stream. `clock` returns seconds since the epoch."""

    def write(event: str, **fields: object) -> None:
        row = {"at": round(clock(), 3), "event": event, **fields}
        stream.write(jsonio.dumps_printable(row) + "\n")
        stream.flush()

    return write


def make_call_sink(log: Log, selection: Literal["off", "failed", "all"]) -> Callable[[Row], None]:
    """Return a function that logs the final row of each call, or of each call that failed.

    A call that its client left has not failed. A line has nothing that a client wrote.
    """

    def write(row: Row) -> None:
        if not isinstance(row, FinalRow) or (
            selection == "failed" and not has_failed(row.state, row.aborted_by)
        ):
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


def _ignore_row(_: Row) -> None:
    """Ignore a row."""


def ignore_event(event: str, **fields: object) -> None:
    """Ignore an event."""


def locate_error(error: BaseException) -> str:
    """Return the type and place of an unexpected error, but no text: it may quote a prompt."""
    frames = traceback.extract_tb(error.__traceback__)
    location = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} at {location}"


class LibraryLogHandler(logging.Handler):
    """Writes the warnings of libraries to the log, without their arguments."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        self._log("library", name=record.name, level=record.levelname, text=str(record.msg))


def make_stderr_log(clock: Callable[[], float]) -> Log:
    """Return the log of a running gateway."""
    return make_log(sys.stderr, clock)
