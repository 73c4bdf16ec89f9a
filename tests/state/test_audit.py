"""The audit: a file that only grows, read from its end."""

import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from gateway.state import audit
from gateway.state.audit import AuditLog, AuditQuery, AuditRow, is_cursor, read_audit


def write(log: AuditLog, count: int, **values: str) -> None:
    for number in range(count):
        log.append("key.change", who="ann", via="api", subject=f"k{number}", **values)


class Times:
    """A clock that goes on by a second at each look."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "data", clock=Times())


def read(log: AuditLog, **query: object) -> list[AuditRow]:
    return read_audit([log], AuditQuery(**query), 1_000).rows  # type: ignore[arg-type]


def subjects(log: AuditLog, **query: object) -> list[str | None]:
    return [row.subject for row in read(log, **query)]


def read_pages(*places: AuditLog, limit: int) -> list[list[str | None]]:
    """Return the subjects of each page."""
    pages: list[list[str | None]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = read_audit(places, AuditQuery(), limit, cursor)
        pages.append([row.subject for row in page.rows])
        assert page.cursor is None or is_cursor(page.cursor)
        cursor = page.cursor
    return pages


def test_a_row_is_one_line_that_only_its_owner_can_read(log: AuditLog) -> None:
    noted: list[AuditRow] = []
    log = AuditLog(log.file.parent, clock=Times(), note=noted.append)
    log.append(
        "key.rotate", who="ann", via="dashboard", subject="web", before={"a": 1}, after=[2], error="x"
    )  # fmt: skip
    (line,) = log.file.read_text().splitlines()
    row = json.loads(line)
    assert row.pop("host")
    assert row == {
        "at": 1_000_001.0, "who": "ann", "via": "dashboard", "act": "key.rotate", "subject": "web",
        "before": {"a": 1}, "after": [2], "error": "x",
    }  # fmt: skip
    assert stat.S_IMODE(log.file.stat().st_mode) == 0o600
    assert read(log) == noted
    write(log, 1)
    assert log.file.read_text().startswith(line), "it only grows"


def test_a_new_file_belongs_to_the_owner_of_its_folder(log: AuditLog) -> None:
    """A command of root must not make a file that the gateway cannot write."""
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    log.file.parent.mkdir()
    os.chown(log.file.parent, 12345, 54321)
    write(log, 1)
    status = log.file.stat()
    assert (status.st_uid, status.st_gid) == (12345, 54321)


def test_another_user_than_root_keeps_what_it_makes(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    write(log, 1)
    assert log.file.stat().st_uid == os.getuid()


def test_rows_are_read_in_pages_newest_first(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_pages(log, limit=2) == [[]]
    for size in (1, 7, 64, 1_000, 100_000):
        monkeypatch.setattr(audit, "_BLOCK_BYTES", size)
        log.file.unlink(missing_ok=True)
        write(log, 7)
        assert read_pages(log, limit=2) == [["k6", "k5"], ["k4", "k3"], ["k2", "k1"], ["k0"]]


def test_pages_have_the_rows_of_all_places_by_time(log: AuditLog, tmp_path: Path) -> None:
    other = AuditLog(tmp_path / "other", clock=Times())
    write(log, 3)
    write(other, 2)
    assert read_pages(log, other, limit=4) == [["k2", "k1", "k1", "k0"], ["k0"]]


def test_rows_of_one_moment_are_each_on_one_page(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, clock=lambda: 7.0)
    write(log, 7)
    assert read_pages(log, limit=3) == [["k6", "k5", "k4"], ["k3", "k2", "k1"], ["k0"]]


def test_rows_are_chosen_by_time_author_act_and_subject(log: AuditLog) -> None:
    write(log, 3)  # at 1_000_001 to 1_000_003
    log.append("key.revoke", who="bob", via="cli", subject="k1")
    log.append("keys", who="bob", via="cli", subject="z")
    assert subjects(log, since=1_000_003.0, until=1_000_004.0) == ["k2"]
    assert subjects(log, who="bob") == ["z", "k1"]
    assert subjects(log, act="key") == ["k1", "k2", "k1", "k0"]
    assert subjects(log, act="key.revoke") == ["k1"]
    assert subjects(log, subject="k1") == ["k1", "k1"]


def test_a_torn_line_harms_no_other(log: AuditLog) -> None:
    write(log, 2)
    with log.file.open("ab") as file:
        file.write(b'{"at":1,"wh')
    write(log, 1)
    assert subjects(log) == ["k0", "k1", "k0"]
    assert log.file.read_bytes().endswith(b"\n")


def test_a_full_disk_is_an_error(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    write(log, 1)
    monkeypatch.setattr(os, "write", lambda _, data: len(data) - 1)
    with pytest.raises(OSError, match="No space left"):
        write(log, 1)


def test_a_check_fails_before_an_act_does(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        AuditLog(tmp_path / "data").check()
    log = AuditLog(tmp_path / "other")
    log.check()
    assert read(log) == []


def _write(folder: str, number: int) -> None:
    log = AuditLog(Path(folder))
    for _ in range(40):
        log.append("key.change", who=f"w{number}", via="cli", after={"text": "x" * 500})


def test_concurrent_writers_lose_no_row(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    started = [spawn.Process(target=_write, args=(str(tmp_path), n)) for n in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    rows = read(AuditLog(tmp_path))
    assert sorted(row.who for row in rows) == ["w0"] * 40 + ["w1"] * 40 + ["w2"] * 40
