"""Transcripts: prompts and answers, kept if the operator switches that on.

They are in files of their own, one for each process and hour, never in rows of the ledger. Rows may
be read by people who must not see texts, and are kept longer. A line is a call. A thread strikes
secrets out and writes. If it is too slow, texts are dropped and counted, and no call waits.
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
from gateway.core.call import Call
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import ReplayRow
from gateway.core.prompt import Prompt
from gateway.dialects import OPERATIONS, TranslatableRequest
from gateway.ledger.file_lock import FILE_MODE
from gateway.ledger.journal import Segment, append
from gateway.ledger.redaction import Redactor, redact
from gateway.routing import features
from gateway.routing.features import Features
from gateway.routing.replay_decision import RecordedFeatures

FILE_SUFFIX = ".jsonl"

_HOUR_SECONDS = 3600
_STAMP_FORMAT = "%Y%m%dT%H"
_MAX_WAITING_BYTES = 64_000_000  # the maximum that waits for a write
_MAX_WAITING_CALLS = 1024

_make_token = partial(secrets.token_hex, 4)


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of one call, without secrets."""

    id: str
    """The id of the call."""
    at: float
    """The time of receipt, in seconds since the epoch."""
    prompt: str
    """The body that the client sent."""
    answer: str
    """The answer that the client got, or the part of it that exists."""
    cut: bool = False
    """True if a text was too long and lost a part."""


class TranscriptWriter:
    """Writes the texts of calls into a folder; one in a process. `close` ends its thread.

    `redactors` strike out what the operator configures. `clock` returns seconds since the epoch.
    `on_error` gets the reason if texts cannot be written. `max_text_bytes` limits each text.
    """

    def __init__(
        self,
        folder: Path,
        redactors: Sequence[Redactor] = (),
        *,
        on_error: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        token: Callable[[], str] = _make_token,
        max_text_bytes: int = 262_144,
        max_waiting_bytes: int = _MAX_WAITING_BYTES,
    ) -> None:
        self.dropped = 0
        """The number of calls whose texts were dropped: too many waited, or the disk refused."""
        self._folder = folder
        self._redactors = tuple(redactors)
        self._on_error = on_error
        self._clock = clock
        self._token = token
        self._max_text_bytes = max_text_bytes
        self._free_bytes = max_waiting_bytes
        self._lock = threading.Lock()  # of the free bytes and the count
        self._queue: queue.Queue[tuple[str, float, bytes, bytes] | None] = queue.Queue(
            _MAX_WAITING_CALLS
        )
        self._segment: Segment | None = None
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="content", daemon=True)
        self._thread.start()

    def keep(self, id: str, received_at: float, prompt: bytes, answer: bytes) -> None:
        """Queue the texts of a call to be written; returns at once."""
        size = len(prompt) + len(answer)
        with self._lock:
            if size > self._free_bytes:
                self.dropped += 1
                return
            self._free_bytes -= size
        try:
            self._queue.put_nowait((id, received_at, prompt, answer))
        except queue.Full:
            self._count_dropped(size)

    def flush(self) -> None:
        """Wait until all queued texts are written."""
        self._queue.join()

    def close(self) -> None:
        """Write all queued texts, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (queued_call := self._queue.get()) is not None:
            size = len(queued_call[2]) + len(queued_call[3])
            try:
                self._write(*queued_call)
            except Exception as error:  # noqa: BLE001 - the thread outlives what it cannot write
                self._count_dropped(size)
                if not self._is_failing:  # once, until a write succeeds
                    self._is_failing = True
                    self._on_error(getattr(error, "strerror", None) or type(error).__name__)
            else:
                self._is_failing = False
                with self._lock:
                    self._free_bytes += size
            self._queue.task_done()
        self._queue.task_done()
        if self._segment is not None:
            os.close(self._segment.descriptor)

    def _count_dropped(self, size: int) -> None:
        with self._lock:
            self._free_bytes += size
            self.dropped += 1

    def _write(self, id: str, received_at: float, prompt: bytes, answer: bytes) -> None:
        redacted_prompt, prompt_is_cut = redact(prompt, self._redactors, self._max_text_bytes)
        redacted_answer, answer_is_cut = redact(answer, self._redactors, self._max_text_bytes)
        transcript = Transcript(
            id=id,
            at=received_at,
            prompt=redacted_prompt.decode(errors="replace"),
            answer=redacted_answer.decode(errors="replace"),
            cut=prompt_is_cut or answer_is_cut,
        )
        append(self._open_segment(), jsonio.dumps(transcript) + b"\n")

    def _open_segment(self) -> Segment:
        """Return the file of this hour; a new one if somebody removed it."""
        now, segment = self._clock(), self._segment
        if segment is not None:
            if now < segment.ends_at and segment.path.exists():
                return segment
            self._segment = None
            os.close(segment.descriptor)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        stamp = datetime.fromtimestamp(now, UTC).strftime(_STAMP_FORMAT)
        path = self._folder / f"{stamp}-{os.getpid()}-{self._token()}{FILE_SUFFIX}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, FILE_MODE)
        self._segment = Segment(
            path, descriptor, ends_at=(now // _HOUR_SECONDS + 1) * _HOUR_SECONDS
        )
        return self._segment


def find(folder: Path, id: str) -> Transcript | None:
    """Return the texts of a call; None if they were not kept or are deleted."""
    start = b'{"id":' + jsonio.dumps(id) + b","
    for path in sorted(folder.glob(f"*{FILE_SUFFIX}"), reverse=True):
        try:
            with path.open("rb") as file:
                for line in file:
                    if line.startswith(start):
                        transcript: Transcript = _parse_transcript(line)
                        return transcript
        except (FileNotFoundError, jsonio.JsonError):  # swept, or half written
            continue
    return None


def erase(folder: Path, ids: set[str]) -> int:
    """Overwrite the texts of some calls with spaces. Return the number of texts."""
    starts = tuple(b'{"id":%b,' % jsonio.dumps(id) for id in ids)
    count = 0
    for path in sorted(folder.glob(f"*{FILE_SUFFIX}")) if starts else ():
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # the file was swept
            continue
        offset = 0
        with os.fdopen(descriptor, "r+b") as file:
            for line in file:
                if line.startswith(starts):
                    os.pwrite(descriptor, b" " * len(line.rstrip(b"\n")), offset)
                    count += 1
                offset += len(line)
            os.fsync(descriptor)
    return count


def make_features_reader(
    folder: Path, fetches: frozenset[str]
) -> Callable[[ReplayRow, RecordedFeatures], Features | None] | None:
    """Return a function that reads a call's features from its text; None if no texts are kept."""
    if not folder.is_dir():
        return None

    def read_features(row: ReplayRow, recorded: RecordedFeatures) -> Features | None:
        transcript = find(folder, row.id)
        if (
            transcript is None
            or transcript.cut
            or recorded.client_dialect.read_with_path is not None
        ):
            return None
        try:
            body = recorded.client_dialect.read(transcript.prompt.encode())
        except ProblemError:  # a secret in it was struck out
            return None
        request = TranslatableRequest(recorded.client_dialect, body, fetches)
        call_features = features.read(
            body.prompt, row.dialect, recorded.key, recorded.options, request
        )
        call_features.turn = recorded.turn
        return call_features

    return read_features


def read_prompt(transcript: Transcript, dialect_name: str) -> Prompt | None:
    """Return the prompt in a call's text; None if redaction has removed a part of the request."""
    dialect = OPERATIONS[dialect_name, "generate"]
    call = Call(
        id=transcript.id,
        dialect=dialect.name,
        operation=dialect.operation,
        body=transcript.prompt.encode(),
        path="models/auto:generateContent" if dialect.read_with_path is not None else "",
        received_at=transcript.at,
        started_at=0.0,
    )
    try:
        return dialect.read_call(call).prompt
    except ProblemError:
        return None


def read_all(folder: Path) -> Iterator[Transcript]:
    """Yield the texts of all calls, oldest files first; half-written lines are skipped."""
    for path in sorted(folder.glob(f"*{FILE_SUFFIX}")):
        try:
            with path.open("rb") as file:
                for line in file:
                    try:
                        transcript: Transcript = _parse_transcript(line)
                    except jsonio.JsonError:
                        continue
                    yield transcript
        except FileNotFoundError:  # the file was swept
            continue


_parse_transcript = jsonio.make_reader(Transcript)


def sweep(folder: Path, cutoff: float) -> int:
    """Remove the files whose hour ended before `cutoff`. Return how many.

    `cutoff` is in seconds since the epoch. A text is deleted at most one hour after its time.
    """
    removed = 0
    for path in folder.glob(f"*{FILE_SUFFIX}"):
        try:
            start = datetime.strptime(path.name.partition("-")[0], _STAMP_FORMAT).replace(
                tzinfo=UTC
            )
        except ValueError:
            continue  # not a transcript file
        if (start + timedelta(seconds=_HOUR_SECONDS)).timestamp() <= cutoff:
            path.unlink(missing_ok=True)
            removed += 1
    return removed
