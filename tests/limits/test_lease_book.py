"""Lease books: what recovery reads of a dead process, and when it reads nothing."""

import os
from pathlib import Path

import msgspec
import pytest

from gateway.limits.lease_book import DeadLease, LeaseBook, list_dead_books, lock_dead_book


@pytest.fixture
def boot_id_file(tmp_path: Path) -> Path:
    file = tmp_path / "boot_id"
    file.write_text("first boot\n")
    return file


@pytest.fixture
def book(tmp_path: Path, boot_id_file: Path) -> LeaseBook:
    return LeaseBook(tmp_path / "leases", "g", boot_id_file)


def die(book: LeaseBook) -> None:
    os.close(book._descriptor)


def read(folder: Path, boot_id_file: Path) -> list[DeadLease]:
    leases: list[DeadLease] = []
    for path in list_dead_books(folder / "leases"):
        with lock_dead_book(path, boot_id_file) as found:
            leases += found
            found.clear()
    return leases


def test_recovery_reads_each_open_lease_once(
    tmp_path: Path, boot_id_file: Path, book: LeaseBook
) -> None:
    records = [book.begin(owner, f"lease g {owner}") for owner in (None, "ended", "t")]
    assert records == [1, 2, 3]
    book.claim(3, 70)
    book.end(2)
    assert book.begin("ü", "lease g 4") == 2
    die(book)
    assert read(tmp_path, boot_id_file) == [
        (None, "lease g None", 0), ("ü", "lease g 4", 0), ("t", "lease g t", 70),
    ]  # fmt: skip
    assert read(tmp_path, boot_id_file) == []


def test_a_living_process_keeps_its_book(
    tmp_path: Path, boot_id_file: Path, book: LeaseBook
) -> None:
    book.begin("t", "lease g 1")
    assert read(tmp_path, boot_id_file) == []
    assert len(list_dead_books(tmp_path / "leases")) == 1


@pytest.mark.parametrize("is_same_boot", [False, True])
def test_another_boot_returns_nothing(
    tmp_path: Path, boot_id_file: Path, book: LeaseBook, *, is_same_boot: bool
) -> None:
    """The machine may have lost the last claims."""
    book.begin("t", "lease g 1")
    die(book)
    if not is_same_boot:
        boot_id_file.write_text("second boot\n")
    assert len(read(tmp_path, boot_id_file)) == is_same_boot
    assert list_dead_books(tmp_path / "leases") == []


def test_a_machine_without_boot_ids_has_no_books(
    tmp_path: Path, boot_id_file: Path, book: LeaseBook
) -> None:
    assert book.begin("t", "lease g 1") == 1
    die(book)
    boot_id_file.unlink()
    assert read(tmp_path, boot_id_file) == []
    assert LeaseBook(tmp_path / "leases", "h", boot_id_file).begin("t", "lease h 1") is None
    assert list(tmp_path.glob("leases/*")) == []


def test_a_file_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, book: LeaseBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("os.pwrite", refuse)
    assert book.begin("t", "lease g 1") is None
    assert list(tmp_path.glob("leases/*")) == []


def test_names_that_do_not_fit_into_a_record_have_none(
    tmp_path: Path, boot_id_file: Path, book: LeaseBook
) -> None:
    """A record of 512 bytes begins with ten bytes that are not of the names."""
    longest = next(
        tenant
        for tenant in ("t" * length for length in range(500, 0, -1))
        if len(msgspec.msgpack.encode((tenant, "lease g 1"))) == 502
    )
    assert book.begin(f"{longest}t", "lease g 1") is None
    assert book.begin(longest, "lease g 1") == 1
    die(book)
    assert read(tmp_path, boot_id_file) == [(longest, "lease g 1", 0)]


def test_gateways_share_a_folder_that_their_user_alone_may_read(
    tmp_path: Path, boot_id_file: Path
) -> None:
    folder = tmp_path / "data" / "leases"
    for gateway in ("g", "h"):
        assert LeaseBook(folder, gateway, boot_id_file).begin("t", "lease 1") == 1
    paths = list_dead_books(folder)
    assert [path.name for path in paths] == ["g.leases", "h.leases"]
    assert [path.stat().st_mode & 0o777 for path in (folder, *paths)] == [0o700, 0o600, 0o600]


def test_a_book_without_open_leases_is_removed_at_the_end(tmp_path: Path, book: LeaseBook) -> None:
    book.close()  # it has no file yet
    record = book.begin("t", "lease g 1")
    assert record is not None
    book.end(record)
    book.close()
    book.end(record)  # writes nothing any more
    assert list(tmp_path.glob("leases/*")) == []


def test_a_book_with_open_leases_stays_for_recovery(
    tmp_path: Path, boot_id_file: Path, book: LeaseBook
) -> None:
    book.begin("t", "lease g 1")
    book.begin("t", "lease g 2")
    book.end(2)
    book.close()
    with pytest.raises(OSError, match="Bad file"):
        book.claim(1, 7)
    assert read(tmp_path, boot_id_file) == [("t", "lease g 1", 0)]


def test_a_book_whose_file_somebody_has_removed_closes(tmp_path: Path, book: LeaseBook) -> None:
    record = book.begin("t", "lease g 1")
    assert record is not None
    (tmp_path / "leases" / "g.leases").unlink()
    book.end(record)
    book.close()


def test_a_book_that_another_process_removes_meanwhile_has_no_leases(
    tmp_path: Path, boot_id_file: Path
) -> None:
    with lock_dead_book(tmp_path / "gone.leases", boot_id_file) as leases:
        assert leases == []


def test_a_lease_that_is_not_returned_keeps_the_book(
    tmp_path: Path, boot_id_file: Path, book: LeaseBook
) -> None:
    book.begin("t", "lease g 1")
    die(book)
    [path] = list_dead_books(tmp_path / "leases")
    with lock_dead_book(path, boot_id_file) as leases:
        assert len(leases) == 1
    assert len(read(tmp_path, boot_id_file)) == 1
