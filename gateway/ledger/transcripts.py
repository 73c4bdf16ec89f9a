"""Kept text: what was asked and answered, for those who have switched it on.

It is in files of its own, one a process and hour, never in the rows of the ledger: they may be read
by whom the text is no business of, and are kept longer. A line is a call. A thread strikes secrets
out and writes; where it cannot keep up, texts are dropped and counted, and no call waits.
"""

import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec

from gateway.core import jsonio
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import ReplayRow
from gateway.dialects import TranslatableRequest
from gateway.ledger.file_lock import MODE
from gateway.ledger.journal import Segment, append
from gateway.ledger.redaction import Strike, redact
from gateway.routing import features as routing
from gateway.routing.features import Features
from gateway.routing.replay_decision import RecordedFeatures

SUFFIX = ".jsonl"

_HOUR = 3600
_STAMP = "%Y%m%dT%H"
_BYTES = 64_000_000  # that wait to be written at most
_CALLS = 1024

_token = partial(secrets.token_hex, 4)


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """What was said in one call, without what was struck out of it."""

    id: str
    """Of the call."""
    at: float
    """When it was received, seconds since the epoch."""
    prompt: str
    """The body that the client sent."""
    answer: str
    """What the client got, or as much of it as there was."""
    cut: bool = False
    """Something of them is missing: they were too long."""


class TranscriptWriter:
    """Keeps the texts of calls in a folder; one a process, and `close` ends its thread.

    `strikes` take out what else is configured; `clock` tells seconds since the epoch; `note` is
    told why texts could not be written; `most` is of each text, in bytes.
    """

    def __init__(
        self,
        folder: Path,
        strikes: Sequence[Strike] = (),
        *,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        token: Callable[[], str] = _token,
        most: int = 262_144,
        waiting: int = _BYTES,
    ) -> None:
        self.dropped = 0
        """Texts that were not kept: too many waited, or the disk refused."""
        self._folder = folder
        self._strikes = tuple(strikes)
        self._note = note
        self._clock = clock
        self._token = token
        self._most = most
        self._room = waiting
        self._lock = threading.Lock()  # of the room and the count
        self._queue: queue.Queue[tuple[str, float, bytes, bytes] | None] = queue.Queue(_CALLS)
        self._segment: Segment | None = None
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="content", daemon=True)
        self._thread.start()

    def keep(self, id: str, at: float, prompt: bytes, answer: bytes) -> None:
        """Keep the texts of a call; returns at once."""
        size = len(prompt) + len(answer)
        with self._lock:
            if size > self._room:
                self.dropped += 1
                return
            self._room -= size
        try:
            self._queue.put_nowait((id, at, prompt, answer))
        except queue.Full:
            self._gone(size)

    def flush(self) -> None:
        """Wait until what was to be kept by now is written."""
        self._queue.join()

    def close(self) -> None:
        """Write what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (text := self._queue.get()) is not None:
            size = len(text[2]) + len(text[3])
            try:
                self._write(*text)
            except Exception as error:  # noqa: BLE001 - the thread outlives what it cannot write
                self._gone(size)
                if not self._failed:  # once, until it works again
                    self._failed = True
                    self._note(getattr(error, "strerror", None) or type(error).__name__)
            else:
                self._failed = False
                with self._lock:
                    self._room += size
            self._queue.task_done()
        self._queue.task_done()
        if self._segment is not None:
            os.close(self._segment.descriptor)

    def _gone(self, size: int) -> None:
        with self._lock:
            self._room += size
            self.dropped += 1

    def _write(self, id: str, at: float, prompt: bytes, answer: bytes) -> None:
        asked, shortened = redact(prompt, self._strikes, self._most)
        told, shorter = redact(answer, self._strikes, self._most)
        text = Transcript(
            id=id,
            at=at,
            prompt=asked.decode(errors="replace"),
            answer=told.decode(errors="replace"),
            cut=shortened or shorter,
        )
        append(self._open(), jsonio.dumps(text) + b"\n")

    def _open(self) -> Segment:
        """The file of this hour; another where somebody has removed it."""
        now, segment = self._clock(), self._segment
        if segment is not None:
            if now < segment.until and segment.path.exists():
                return segment
            self._segment = None
            os.close(segment.descriptor)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        stamp = datetime.fromtimestamp(now, UTC).strftime(_STAMP)
        path = self._folder / f"{stamp}-{os.getpid()}-{self._token()}{SUFFIX}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, MODE)
        self._segment = Segment(path, descriptor, until=(now // _HOUR + 1) * _HOUR)
        return self._segment


def find(folder: Path, id: str) -> Transcript | None:
    """The texts of a call; None where none are kept, or no more."""
    start = b'{"id":' + jsonio.dumps(id) + b","
    for path in sorted(folder.glob(f"*{SUFFIX}"), reverse=True):
        try:
            with path.open("rb") as file:
                for line in file:
                    if line.startswith(start):
                        text: Transcript = _TEXT(line)
                        return text
        except (FileNotFoundError, jsonio.JsonError):  # its time was up; half of it was written
            continue
    return None


def features(
    folder: Path, fetches: frozenset[str]
) -> Callable[[ReplayRow, RecordedFeatures], Features | None] | None:
    """Return what reads the features of a row's call from its text; None where none is kept."""
    if not folder.is_dir():
        return None

    def read(row: ReplayRow, seen: RecordedFeatures) -> Features | None:
        found = find(folder, row.id)
        if found is None or found.cut or seen.client.read_at is not None:
            return None
        try:
            body = seen.client.read(found.prompt.encode())
        except ProblemError:  # something of it was struck out
            return None
        told = TranslatableRequest(seen.client, body, fetches)
        call = routing.read(body.prompt, row.dialect, seen.key, seen.steer, told)
        call.turn = seen.turn
        return call

    return read


def each(folder: Path) -> Iterator[Transcript]:
    """The texts of all calls, oldest files first; a line that is half written is left out."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            with path.open("rb") as file:
                for line in file:
                    try:
                        text: Transcript = _TEXT(line)
                    except jsonio.JsonError:
                        continue
                    yield text
        except FileNotFoundError:  # its time was up
            continue


_TEXT = jsonio.reader(Transcript)


def sweep(folder: Path, before: float) -> int:
    """Remove the files whose hour was over before a time, in seconds since the epoch; how many.

    So a text is gone at the latest one hour after its time.
    """
    removed = 0
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            start = datetime.strptime(path.name.partition("-")[0], _STAMP).replace(tzinfo=UTC)
        except ValueError:
            continue  # not ours
        if (start + timedelta(seconds=_HOUR)).timestamp() <= before:
            path.unlink(missing_ok=True)
            removed += 1
    return removed
