"""Damage of a SQLite store: how to detect it, and how to set a damaged file aside.

The file is only a copy of the journals. So an unreadable file is renamed, with its WAL, and a new
one is fed from the journals. A file that cannot be opened or written, because of a permission or a
full disk, is not damaged.
"""

import os
import sqlite3
import time
from calendar import timegm
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gateway.ledger.errors import LedgerError, StoreDamagedError
from gateway.ledger.file_lock import FILE_MODE, lock_file
from gateway.ledger.schema import SQLITE_MIGRATIONS

type Identity = tuple[int, int]
"""The device and the inode of a file."""

ASIDE_INFIX: Final = ".damaged-"
"""The part between the store's name and the time in the name of a file that was set aside."""
ASIDE_INTERVAL_SECONDS: Final = 600.0
"""Seconds after which the file that replaced a damaged one may be set aside, too."""
MAX_ASIDE_PER_DAY: Final = 3
"""The maximum number of files set aside in a day: each takes space on a disk that may be faulty."""
_DAY_SECONDS = 86_400.0
_PRIMARY_CODE_MASK = 0xFF
_DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNREADABLE_CODES = frozenset(
    {
        sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
    }
)  # fmt: skip
_NO_ACCESS_CODES = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
)
_LACKS_PREFIXES = ("no such table", "no such column", "no such view")
_GARBLED_PREFIXES = ("Could not decode to UTF-8", "user-defined aggregate")
"""Prefixes of sqlite3's errors about values that no writer can have written."""
_FILE_SUFFIXES = ("", "-wal", "-shm")


class GarbledValueError(LedgerError, sqlite3.DatabaseError):
    """A value that no writer can have written."""


def is_damage(error: sqlite3.Error, path: Path) -> bool:
    """True if an error says that the file itself is broken."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    if (
        isinstance(error, GarbledValueError)
        or code in _UNREADABLE_CODES
        or code & _PRIMARY_CODE_MASK in _DAMAGE_CODES
    ):
        return True
    if lacks_something(error):
        with lock_file(lock_path(path)):  # another process may be creating it
            return bool(find_missing(path))
    return str(error).startswith(_GARBLED_PREFIXES)


def lacks_something(error: sqlite3.Error) -> bool:
    """True if an error says that a table, column or view is missing."""
    return str(error).startswith(_LACKS_PREFIXES)


def is_blank(path: Path) -> bool:
    """True if a store's file has no content, not even a version, and nobody is about to fill it."""
    with lock_file(lock_path(path)), closing(connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return version == 0 and not _read_names(connection)


def is_access_denied(error: sqlite3.Error) -> bool:
    """True if an error says that this process may not open or write the file."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & _PRIMARY_CODE_MASK in _NO_ACCESS_CODES


def examine(path: Path) -> str:
    """Return why a store's file is damaged; empty if no damage is found. Reads the whole file.

    Raises sqlite3.Error if it cannot be opened for another reason.
    """
    try:
        with closing(connect(path)) as connection:
            connection.execute("PRAGMA query_only = ON")
            check_result: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            # A file of an earlier version lacks some; the next process that opens it upgrades it.
            missing_names = list_missing(connection) if version == len(SQLITE_MIGRATIONS) else []
    except sqlite3.Error as error:
        if is_damage(error, path):
            return str(error)
        raise
    if check_result != "ok":
        return " ".join(check_result.split())
    return f"it lacks {', '.join(missing_names)}" if missing_names else ""


def find_missing(path: Path) -> list[str]:
    """Return the tables, indexes and views of the schema that a store's file lacks."""
    with closing(connect(path)) as connection:
        return list_missing(connection)


def list_missing(connection: sqlite3.Connection) -> list[str]:
    """Return the tables, indexes and views of the schema that a connection's database lacks."""
    return sorted(_build_expected_names() - _read_names(connection))


def is_foreign(connection: sqlite3.Connection) -> bool:
    """True if a connection's database has tables, but none of the schema."""
    names = _read_names(connection)
    return bool(names) and not names & _build_expected_names()


def _read_names(connection: sqlite3.Connection) -> set[str]:
    sql = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
    return {row[0] for row in connection.execute(sql)}


@lru_cache(1)
def _build_expected_names() -> frozenset[str]:
    """Return the names of all tables, indexes and views of the schema."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statements in SQLITE_MIGRATIONS:
            for statement in statements:
                connection.execute(statement)
        return frozenset(_read_names(connection))


def connect(path: Path, *, timeout: float = 10.0, shared: bool = False) -> sqlite3.Connection:
    """Open an existing store file, without implicit transactions.

    With `shared`, several threads may use the connection, one after the other.
    """
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode=rw",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=not shared,
    )


def make_file(path: Path) -> bool:
    """Create an empty file if there is none, and return True. The caller must hold `lock_path`.

    SQLite gives the file's mode to the files beside it. An existing file is never opened: closing
    it would drop SQLite's locks on it.
    """
    if path.exists():
        return False
    # Connections to a deleted file may still use these: the new file must not share them.
    for suffix in _FILE_SUFFIXES[1:]:
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    except FileExistsError:  # another process has created one
        return False
    return True


def read_identity(path: Path) -> Identity | None:
    """Return the identity of the file at a path; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def lock_path(path: Path) -> Path:
    """Return a store's lock file; its holder may create, change or rename the store's file."""
    return path.with_name(f"{path.name}.lock")


def set_aside(path: Path, damaged_file: Identity | None, now: float) -> Path | None:
    """Rename a damaged file and SQLite's files beside it. Return the new name.

    The caller holds the lock and creates the new file before it releases the lock.

    Returns None if another file is at the path by now: another process was first. Connections to
    the damaged file keep it, and SQLite notices the move. Raises StoreDamagedError if others were
    set aside a short while ago: then the disk is faulty, and each file takes space.
    """
    if damaged_file is None or read_identity(path) != damaged_file:
        return None
    ages = [now - _parse_aside_time(file) for file in list_aside_files(path)]
    if (
        any(0 <= age < ASIDE_INTERVAL_SECONDS for age in ages)
        or sum(0 <= age < _DAY_SECONDS for age in ages) >= MAX_ASIDE_PER_DAY
    ):
        message = f"{path} is damaged again, shortly after the gateway rebuilt it"
        raise StoreDamagedError(f"{message}; check its disk")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    aside_path = path.with_name(f"{path.name}{ASIDE_INFIX}{stamp}")
    # The database first: SQLite removes a WAL without a database.
    for suffix in _FILE_SUFFIXES:
        file = path.with_name(f"{path.name}{suffix}")
        if file.exists():
            file.rename(aside_path.with_name(f"{aside_path.name}{suffix}"))
    return aside_path


def list_aside_files(path: Path) -> list[Path]:
    """Return the damaged files that were set aside, oldest first, without the files beside them."""
    paths = path.parent.glob(f"{path.name}{ASIDE_INFIX}*")
    return sorted(
        aside_path for aside_path in paths if not aside_path.name.endswith(_FILE_SUFFIXES[1:])
    )


def _parse_aside_time(path: Path) -> float:
    """Return when a file was set aside, by its name; 0 if its name has no time."""
    try:
        moment = time.strptime(path.name.rpartition("-")[2], "%Y%m%dT%H%M%SZ")
    except ValueError:
        return 0.0
    return float(timegm(moment))
