"""Damage of a SQLite store: how it is known, and how a damaged file is set aside.

The file is only a copy of the journals. So one that cannot be read is renamed, with its WAL, and a
new one is fed from the journals. What merely cannot be opened or written, as for a missing
permission or a full disk, is not damage.
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
"""Device and inode of a file."""

ASIDE_INFIX: Final = ".damaged-"
"""Stands between the store's name and the time in the name of a file that was set aside."""
ASIDE_INTERVAL_SECONDS: Final = 600.0
"""Seconds after which a file may be set aside that took the place of a damaged one."""
MAX_ASIDE_PER_DAY: Final = 3
"""Files that are set aside in a day: each takes room on a disk that may be the reason."""
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
"""Beginnings of sqlite3's errors about values that nobody can have written."""
_FILE_SUFFIXES = ("", "-wal", "-shm")


class GarbledValueError(LedgerError, sqlite3.DatabaseError):
    """A value that nobody can have written."""


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
        with lock_file(lock_path(path)):  # another process may be in the middle of making it
            return bool(find_missing(path))
    return str(error).startswith(_GARBLED_PREFIXES)


def lacks_something(error: sqlite3.Error) -> bool:
    """True if an error says that a file has no such table, or the like."""
    return str(error).startswith(_LACKS_PREFIXES)


def is_blank(path: Path) -> bool:
    """True if nothing is in a store's file, not even a version, and nobody is about to fill it."""
    with lock_file(lock_path(path)), closing(connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return version == 0 and not _read_names(connection)


def is_access_denied(error: sqlite3.Error) -> bool:
    """True if an error says that this process may not open or write the file."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & _PRIMARY_CODE_MASK in _NO_ACCESS_CODES


def examine(path: Path) -> str:
    """Return why a store's file is damaged; empty where nothing of it is known to be. Reads all.

    Raises sqlite3.Error where it cannot be opened, for another reason.
    """
    try:
        with closing(connect(path)) as connection:
            connection.execute("PRAGMA query_only = ON")
            check_result: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            # What an earlier version made has not all; whoever opens it brings it up to date.
            missing_names = list_missing(connection) if version == len(SQLITE_MIGRATIONS) else []
    except sqlite3.Error as error:
        if is_damage(error, path):
            return str(error)
        raise
    if check_result != "ok":
        return " ".join(check_result.split())
    return f"it lacks {', '.join(missing_names)}" if missing_names else ""


def find_missing(path: Path) -> list[str]:
    """Return the tables, indexes and views of the schema that a store's file does not have."""
    with closing(connect(path)) as connection:
        return list_missing(connection)


def list_missing(connection: sqlite3.Connection) -> list[str]:
    """Return what a connection's database does not have of the schema."""
    return sorted(_build_expected_names() - _read_names(connection))


def is_foreign(connection: sqlite3.Connection) -> bool:
    """True if a connection's database has tables, none of which is of the schema."""
    names = _read_names(connection)
    return bool(names) and not names & _build_expected_names()


def _read_names(connection: sqlite3.Connection) -> set[str]:
    sql = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
    return {row[0] for row in connection.execute(sql)}


@lru_cache(1)
def _build_expected_names() -> frozenset[str]:
    """Return the names of all that the schema makes."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statements in SQLITE_MIGRATIONS:
            for statement in statements:
                connection.execute(statement)
        return frozenset(_read_names(connection))


def connect(path: Path, *, timeout: float = 10.0, shared: bool = False) -> sqlite3.Connection:
    """Open a store's file, which is never made by this, without implicit transactions.

    `shared`: the connection may be used in several threads, one after the other.
    """
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode=rw",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=not shared,
    )


def make_file(path: Path) -> bool:
    """Make an empty file where there is none, and return True; for who has `lock_path`.

    SQLite gives its mode to the files beside it. It is never opened where it exists: to close it
    would drop the locks that SQLite has on it.
    """
    if path.exists():
        return False
    # Connections to a file that was deleted may still have them: the new file must not share them.
    for suffix in _FILE_SUFFIXES[1:]:
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    except FileExistsError:  # somebody has put one there
        return False
    return True


def read_identity(path: Path) -> Identity | None:
    """Return which file a path is of; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def lock_path(path: Path) -> Path:
    """Return the lock file of a store, for whoever makes, changes or renames its file."""
    return path.with_name(f"{path.name}.lock")


def set_aside(path: Path, damaged_file: Identity | None, now: float) -> Path | None:
    """Rename a damaged file, and what SQLite has beside it; return its new name.

    The caller holds the lock, and makes the new file before it lets go of it.

    None where the path is of another file by now: another process was first. Connections to the
    damaged file keep it, and SQLite sees that it has moved. Raises StoreDamagedError where others
    were set aside a short while ago: then the disk is broken, and each file takes room.
    """
    if damaged_file is None or read_identity(path) != damaged_file:
        return None
    ages = [now - _parse_aside_time(file) for file in list_aside_files(path)]
    if (
        any(0 <= age < ASIDE_INTERVAL_SECONDS for age in ages)
        or sum(0 <= age < _DAY_SECONDS for age in ages) >= MAX_ASIDE_PER_DAY
    ):
        message = f"{path} is damaged again, a short while after it was made anew"
        raise StoreDamagedError(f"{message}; look at its disk")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    aside_path = path.with_name(f"{path.name}{ASIDE_INFIX}{stamp}")
    # The database first: a WAL without one is none, and SQLite removes it.
    for suffix in _FILE_SUFFIXES:
        file = path.with_name(f"{path.name}{suffix}")
        if file.exists():
            file.rename(aside_path.with_name(f"{aside_path.name}{suffix}"))
    return aside_path


def list_aside_files(path: Path) -> list[Path]:
    """Return the damaged files that were set aside, oldest first, without what is beside them."""
    paths = path.parent.glob(f"{path.name}{ASIDE_INFIX}*")
    return sorted(
        aside_path for aside_path in paths if not aside_path.name.endswith(_FILE_SUFFIXES[1:])
    )


def _parse_aside_time(path: Path) -> float:
    """Return when a file was set aside, by its name; 0 where its name does not tell."""
    try:
        moment = time.strptime(path.name.rpartition("-")[2], "%Y%m%dT%H%M%SZ")
    except ValueError:
        return 0.0
    return float(timegm(moment))
