"""Transcripts: in own files, redacted, found by call, removed in time; no call waits for them."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.ledger.transcripts import Transcript, TranscriptWriter, find, read_prompt, sweep

HOUR = 3600
NOON = 1_793_016_000.0  # 2026-10-26 12:00 UTC


class TranscriptFixture:
    """A transcript writer with its own clock, in a folder."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder = folder
        self.now = NOON + 60
        self.notes: list[str] = []
        tokens = iter("abcdef")
        self.content = TranscriptWriter(
            folder,
            on_error=self.notes.append,
            clock=lambda: self.now,
            token=lambda: next(tokens),
            **more,
        )

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*"))


@pytest.fixture
def transcripts(tmp_path: Path) -> Iterator[TranscriptFixture]:
    fixture = TranscriptFixture(tmp_path / "content")
    yield fixture
    fixture.content.close()


PROMPT = b'{"model":"fast","messages":[{"role":"user","content":"I am ann@example.org"}]}'
ANSWER = b'{"choices":[{"message":{"content":"Hi."}}]}'


def test_a_transcript_is_redacted_and_found_by_its_call(transcripts: TranscriptFixture) -> None:
    transcripts.content.keep("a", NOON, PROMPT, ANSWER)
    transcripts.content.keep("b", NOON + 1, b"\xff", b"")
    transcripts.content.close()
    text = find(transcripts.folder, "a")
    assert text == Transcript(
        id="a",
        at=NOON,
        prompt=PROMPT.decode().replace("ann@example.org", "[e-mail]"),
        answer=ANSWER.decode(),
    )
    transcript = find(transcripts.folder, "b")
    assert transcript is not None
    assert (transcript.prompt, transcript.answer, transcript.cut) == ("�", "", False)
    assert find(transcripts.folder, "c") is None
    assert find(transcripts.folder / "nowhere", "a") is None


def test_each_process_and_hour_has_its_own_private_file(transcripts: TranscriptFixture) -> None:
    keep = transcripts.content.keep
    keep("a", NOON, PROMPT, ANSWER)
    keep("b", NOON, PROMPT, ANSWER)
    transcripts.content.flush()
    transcripts.now += HOUR
    keep("c", NOON, PROMPT, ANSWER)
    transcripts.content.flush()
    pid = os.getpid()
    assert transcripts.files() == [f"20261026T12-{pid}-a.jsonl", f"20261026T13-{pid}-b.jsonl"]
    paths = [transcripts.folder / name for name in transcripts.files()]
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o600, 0o600]
    assert transcripts.folder.stat().st_mode & 0o777 == 0o700
    assert [len(path.read_bytes().splitlines()) for path in paths] == [2, 1]


def test_files_of_hours_before_a_time_are_removed(tmp_path: Path) -> None:
    for name in ("20261026T10-1-a", "20261026T11-1-b", "20261026T12-1-c", "notes"):
        (tmp_path / f"{name}.jsonl").write_bytes(b"{}\n")
    assert sweep(tmp_path, NOON - 1) == 1
    assert sweep(tmp_path, NOON) == 1
    assert sorted(path.stem for path in tmp_path.glob("*")) == ["20261026T12-1-c", "notes"]
    assert sweep(tmp_path / "nowhere", NOON) == 0


def test_a_removed_file_is_replaced_by_a_new_one(transcripts: TranscriptFixture) -> None:
    transcripts.content.keep("a", NOON, PROMPT, ANSWER)
    transcripts.content.flush()
    assert sweep(transcripts.folder, NOON + HOUR) == 1
    transcripts.content.keep("b", NOON, PROMPT, ANSWER)
    transcripts.content.flush()
    assert find(transcripts.folder, "b") is not None
    assert transcripts.content.dropped == 0


def test_a_long_transcript_is_marked_as_cut(tmp_path: Path) -> None:
    transcripts = TranscriptFixture(tmp_path, max_text_bytes=400)
    transcripts.content.keep("a", NOON, jsonio.dumps({"content": "word " * 900}), b"")
    transcripts.content.close()
    text = find(tmp_path, "a")
    assert text is not None
    assert text.cut
    assert len(text.prompt) <= 400
    assert jsonio.loads(text.prompt.encode())["content"].endswith("characters more]")


class StuckFile:
    """A redactor that waits: it keeps the thread busy until a test releases it."""

    def __init__(self) -> None:
        self.busy = threading.Event()
        self.go = threading.Event()

    def __call__(self, data: bytes) -> bytes:
        self.busy.set()
        assert self.go.wait(30)
        return data


def test_transcripts_that_the_thread_cannot_write_in_time_are_dropped(tmp_path: Path) -> None:
    """Both number and size are bounded; `keep` never waits, and there is room again afterwards."""
    stuck = StuckFile()
    transcripts = TranscriptFixture(tmp_path, redactors=[stuck], max_waiting_bytes=10_000)
    transcripts.content.keep("first", NOON, b"hello", b"")
    assert stuck.busy.wait(30)
    transcripts.content.keep("large", NOON, b"x" * 9_000, b"x" * 990)
    transcripts.content.keep("too large", NOON, b"x" * 6, b"")
    assert transcripts.content.dropped == 1
    for number in range(1023):
        transcripts.content.keep(str(number), NOON, b"", b"")
    assert transcripts.content.dropped == 1
    transcripts.content.keep("too many", NOON, b"", b"")
    assert transcripts.content.dropped == 2
    stuck.go.set()
    transcripts.content.flush()
    transcripts.content.keep("after", NOON, b"x" * 10_000, b"")
    transcripts.content.close()
    assert transcripts.content.dropped == 2
    assert find(tmp_path, "too large") is None
    assert find(tmp_path, "too many") is None
    assert find(tmp_path, "after") is not None


def test_a_full_disk_is_reported_once_and_the_next_transcript_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcripts = TranscriptFixture(tmp_path)
    transcripts.content.keep("a", NOON, PROMPT, ANSWER)
    transcripts.content.flush()
    real, answers = os.write, [40, 0, 0]

    def write(descriptor: int, data: bytes) -> int:
        if not answers:
            return real(descriptor, data)
        if size := answers.pop(0):
            return real(descriptor, data[:size])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    for id in ("b", "c", "d"):
        transcripts.content.keep(id, NOON, PROMPT, ANSWER)
    transcripts.content.flush()
    transcripts.content.close()
    assert transcripts.notes == ["No space left on device"]
    assert transcripts.content.dropped == 2
    assert [find(tmp_path, id) is not None for id in "abcd"] == [True, False, False, True]


def test_a_failing_redactor_drops_the_transcript(tmp_path: Path) -> None:
    def fail(_: bytes) -> bytes:
        raise KeyError("sk-secret")

    transcripts = TranscriptFixture(tmp_path, redactors=[fail])
    transcripts.content.keep("a", NOON, PROMPT, ANSWER)
    transcripts.content.close()
    assert (transcripts.notes, transcripts.content.dropped, transcripts.files()) == (
        ["KeyError"],
        1,
        [],
    )


def test_a_torn_line_is_no_transcript(tmp_path: Path) -> None:
    (tmp_path / "20261026T10-1-a.jsonl").write_bytes(b'{"id":"a","at":1.5,"pro')
    assert find(tmp_path, "a") is None


def test_a_kept_text_gives_its_prompt_unless_a_part_of_it_was_removed() -> None:
    def read(dialect: str, body: str) -> str | None:
        transcript = Transcript(id="tg-1", at=1.0, prompt=body, answer="")
        prompt = read_prompt(transcript, dialect)
        return None if prompt is None else prompt.user

    chat = '{"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}'
    assert read("openai-chat", chat) == "Hi"
    assert read("gemini", '{"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}') == "Hi"
    assert read("openai-chat", chat[:-2]) is None
