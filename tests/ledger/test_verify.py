"""What `verify` reports of whole folders of journals."""

from pathlib import Path

import pytest

from gateway.ledger import verify as verify_module
from gateway.ledger.chain import CLOSED_LINE
from gateway.ledger.journal import Journal, encode_row, list_segments
from gateway.ledger.verify import verify
from tests.ledger.rows import entry, intent, sealed


def test_a_folder_of_intact_journals(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for row in (intent("a"), entry("a")):
        journal.write(row)
    (report,) = verify(tmp_path)
    assert (report.rows, report.torn, report.sealed, report.damages) == (2, False, True, [])
    journal.close()
    assert list(verify(tmp_path)) == [report]
    assert list(verify(tmp_path / "away")) == []


def test_damage_pieces_and_torn_ends_are_told_apart(tmp_path: Path) -> None:
    lines = sealed(*map(entry, "abcde")).splitlines(keepends=True)
    path = tmp_path / "a.sealed.jsonl"
    path.write_bytes(
        b"".join([lines[0], lines[1][:70], b"\n", *lines[1:3], lines[4], lines[0]])[:-9]
    )
    (report,) = verify(tmp_path)
    assert (report.rows, report.debris, report.torn) == (4, 1, True)
    assert [(row.first, row.last) for row in report.damages] == [(4, 4)]
    path.write_bytes(b"".join([*lines[:2], b"\0" * 512]))
    (report,) = verify(tmp_path)
    assert [(row.first, row.last) for row in report.damages] == [(3, 3)]


def test_a_file_without_checksums_has_lines_that_are_no_row(tmp_path: Path) -> None:
    data = encode_row(entry("a")) + b"torn\n" + encode_row(entry("b")) + CLOSED_LINE
    (tmp_path / "a.jsonl").write_bytes(data)
    (report,) = verify(tmp_path)
    assert (report.rows, report.unreadable, report.sealed, report.damages) == (2, 1, False, [])


def test_a_file_that_goes_meanwhile_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    journal.write(entry("a"))
    journal.close()
    paths = [*list_segments(tmp_path), tmp_path / "gone.jsonl"]
    monkeypatch.setattr(verify_module, "list_segments", lambda _: paths)
    assert len(list(verify(tmp_path))) == 1
