"""Transcripts: in own files, redacted, found by call, removed in time; no call waits for them."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.ledger.transcripts import Transcript, TranscriptWriter, find, sweep

HOUR = 3600
NOON = 1_793_016_000.0  # 2026-10-26 12:00 UTC


class Kept:
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
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "content")
    yield made
    made.content.close()


PROMPT = b'{"model":"fast","messages":[{"role":"user","content":"I am ann@example.org"}]}'
ANSWER = b'{"choices":[{"message":{"content":"Hi."}}]}'


def test_texts_are_struck_and_found_by_their_call(kept: Kept) -> None:
    kept.content.keep("a", NOON, PROMPT, ANSWER)
    kept.content.keep("b", NOON + 1, b"\xff", b"")
    kept.content.close()
    text = find(kept.folder, "a")
    assert text == Transcript(
        id="a",
        at=NOON,
        prompt=PROMPT.decode().replace("ann@example.org", "[e-mail]"),
        answer=ANSWER.decode(),
    )
    found = find(kept.folder, "b")
    assert found is not None
    assert (found.prompt, found.answer, found.cut) == ("�", "", False)
    assert find(kept.folder, "c") is None
    assert find(kept.folder / "nowhere", "a") is None


def test_files_are_of_a_process_and_an_hour_and_belong_to_the_user(kept: Kept) -> None:
    keep = kept.content.keep
    keep("a", NOON, PROMPT, ANSWER)
    keep("b", NOON, PROMPT, ANSWER)
    kept.content.flush()
    kept.now += HOUR
    keep("c", NOON, PROMPT, ANSWER)
    kept.content.flush()
    pid = os.getpid()
    assert kept.files() == [f"20261026T12-{pid}-a.jsonl", f"20261026T13-{pid}-b.jsonl"]
    paths = [kept.folder / name for name in kept.files()]
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o600, 0o600]
    assert kept.folder.stat().st_mode & 0o777 == 0o700
    assert [len(path.read_bytes().splitlines()) for path in paths] == [2, 1]


def test_whole_files_go_when_their_hour_was_over_before_a_time(tmp_path: Path) -> None:
    for name in ("20261026T10-1-a", "20261026T11-1-b", "20261026T12-1-c", "notes"):
        (tmp_path / f"{name}.jsonl").write_bytes(b"{}\n")
    assert sweep(tmp_path, NOON - 1) == 1
    assert sweep(tmp_path, NOON) == 1
    assert sorted(path.stem for path in tmp_path.glob("*")) == ["20261026T12-1-c", "notes"]
    assert sweep(tmp_path / "nowhere", NOON) == 0


def test_a_file_that_was_removed_is_followed_by_another(kept: Kept) -> None:
    kept.content.keep("a", NOON, PROMPT, ANSWER)
    kept.content.flush()
    assert sweep(kept.folder, NOON + HOUR) == 1
    kept.content.keep("b", NOON, PROMPT, ANSWER)
    kept.content.flush()
    assert find(kept.folder, "b") is not None
    assert kept.content.dropped == 0


def test_a_long_text_is_cut_and_says_so(tmp_path: Path) -> None:
    kept = Kept(tmp_path, max_text_bytes=400)
    kept.content.keep("a", NOON, jsonio.dumps({"content": "word " * 900}), b"")
    kept.content.close()
    text = find(tmp_path, "a")
    assert text is not None
    assert text.cut
    assert len(text.prompt) <= 400
    assert jsonio.loads(text.prompt.encode())["content"].endswith("characters more]")


class Stuck:
    """A redactor that waits: it keeps the thread busy until a test releases it."""

    def __init__(self) -> None:
        self.busy = threading.Event()
        self.go = threading.Event()

    def __call__(self, data: bytes) -> bytes:
        self.busy.set()
        assert self.go.wait(30)
        return data


def test_what_the_thread_cannot_keep_up_with_is_dropped_and_counted(tmp_path: Path) -> None:
    """Both number and size are bounded; `keep` never waits, and there is room again afterwards."""
    stuck = Stuck()
    kept = Kept(tmp_path, redactors=[stuck], max_waiting_bytes=10_000)
    kept.content.keep("first", NOON, b"hello", b"")
    assert stuck.busy.wait(30)
    kept.content.keep("large", NOON, b"x" * 9_000, b"x" * 990)
    kept.content.keep("too large", NOON, b"x" * 6, b"")
    assert kept.content.dropped == 1
    for number in range(1023):
        kept.content.keep(str(number), NOON, b"", b"")
    assert kept.content.dropped == 1
    kept.content.keep("too many", NOON, b"", b"")
    assert kept.content.dropped == 2
    stuck.go.set()
    kept.content.flush()
    kept.content.keep("after", NOON, b"x" * 10_000, b"")
    kept.content.close()
    assert kept.content.dropped == 2
    assert find(tmp_path, "too large") is None
    assert find(tmp_path, "too many") is None
    assert find(tmp_path, "after") is not None


def test_a_disk_that_refuses_is_noted_once_and_the_next_text_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    kept.content.keep("a", NOON, PROMPT, ANSWER)
    kept.content.flush()
    real, left = os.write, [40, 0, 0]

    def write(descriptor: int, data: bytes) -> int:
        if not left:
            return real(descriptor, data)
        if taken := left.pop(0):
            return real(descriptor, data[:taken])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    for id in ("b", "c", "d"):
        kept.content.keep(id, NOON, PROMPT, ANSWER)
    kept.content.flush()
    kept.content.close()
    assert kept.notes == ["No space left on device"]
    assert kept.content.dropped == 2
    assert [find(tmp_path, id) is not None for id in "abcd"] == [True, False, False, True]


def test_a_strike_that_fails_keeps_no_text(tmp_path: Path) -> None:
    def fail(_: bytes) -> bytes:
        raise KeyError("sk-secret")

    kept = Kept(tmp_path, redactors=[fail])
    kept.content.keep("a", NOON, PROMPT, ANSWER)
    kept.content.close()
    assert (kept.notes, kept.content.dropped, kept.files()) == (["KeyError"], 1, [])


def test_a_torn_line_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "20261026T10-1-a.jsonl").write_bytes(b'{"id":"a","at":1.5,"pro')
    assert find(tmp_path, "a") is None
