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
from gateway.ledger.file_lock import MODE, alone
from gateway.ledger.schema import SQLITE

type Identity = tuple[int, int]
"""Device and inode of a file."""

MARK: Final = ".damaged-"
"""Stands between the store's name and the time in the name of a file that was set aside."""
AGAIN: Final = 600.0
"""Seconds after which a file may be set aside that took the place of a damaged one."""
MOST: Final = 3
"""Files that are set aside in a day: each takes room on a disk that may be the reason."""
_DAY = 86_400.0
_PRIMARY = 0xFF
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNREADABLE = frozenset(
    {
        sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
    }
)  # fmt: skip
_NO_ACCESS = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
)
_LACKS = ("no such table", "no such column", "no such view")
_GARBLED = ("Could not decode to UTF-8", "user-defined aggregate")
"""Beginnings of sqlite3's errors about values that nobody can have written."""
_BESIDE = ("", "-wal", "-shm")


class GarbledValueError(LedgerError, sqlite3.DatabaseError):
    """A value that nobody can have written."""


def is_damage(error: sqlite3.Error, path: Path) -> bool:
    """True if an error says that the file itself is broken."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    if isinstance(error, GarbledValueError) or code in _UNREADABLE or code & _PRIMARY in _DAMAGED:
        return True
    if lacks_something(error):
        with alone(lock(path)):  # another process may be in the middle of making it
            return bool(lacking(path))
    return str(error).startswith(_GARBLED)


def lacks_something(error: sqlite3.Error) -> bool:
    """True if an error says that a file has no such table, or the like."""
    return str(error).startswith(_LACKS)


def is_blank(path: Path) -> bool:
    """True if nothing is in a store's file, not even a version, and nobody is about to fill it."""
    with alone(lock(path)), closing(connect(path)) as base:
        (version,) = base.execute("PRAGMA user_version").fetchone()
        return version == 0 and not _names(base)


def is_barred(error: sqlite3.Error) -> bool:
    """True if an error says that this process may not open or write the file."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & _PRIMARY in _NO_ACCESS


def examine(path: Path) -> str:
    """Return why a store's file is damaged; empty where nothing of it is known to be. Reads all.

    Raises sqlite3.Error where it cannot be opened, for another reason.
    """
    try:
        with closing(connect(path)) as base:
            base.execute("PRAGMA query_only = ON")
            found: str = base.execute("PRAGMA quick_check(1)").fetchone()[0]
            (version,) = base.execute("PRAGMA user_version").fetchone()
            # What an earlier version made has not all; whoever opens it brings it up to date.
            missing = lacks(base) if version == len(SQLITE) else []
    except sqlite3.Error as error:
        if is_damage(error, path):
            return str(error)
        raise
    if found != "ok":
        return " ".join(found.split())
    return f"it lacks {', '.join(missing)}" if missing else ""


def lacking(path: Path) -> list[str]:
    """Return the tables, indexes and views of the schema that a store's file does not have."""
    with closing(connect(path)) as base:
        return lacks(base)


def lacks(base: sqlite3.Connection) -> list[str]:
    """Return what a connection's database does not have of the schema."""
    return sorted(_expected() - _names(base))


def is_foreign(base: sqlite3.Connection) -> bool:
    """True if a connection's database has tables, none of which is of the schema."""
    names = _names(base)
    return bool(names) and not names & _expected()


def _names(base: sqlite3.Connection) -> set[str]:
    sql = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
    return {row[0] for row in base.execute(sql)}


@lru_cache(1)
def _expected() -> frozenset[str]:
    """Return the names of all that the schema makes."""
    with closing(sqlite3.connect(":memory:")) as base:
        for statements in SQLITE:
            for statement in statements:
                base.execute(statement)
        return frozenset(_names(base))


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


def make(path: Path) -> bool:
    """Make an empty file where there is none, and return True; for who has `lock`.

    SQLite gives its mode to the files beside it. It is never opened where it exists: to close it
    would drop the locks that SQLite has on it.
    """
    if path.exists():
        return False
    # Connections to a file that was deleted may still have them: the new file must not share them.
    for end in _BESIDE[1:]:
        path.with_name(f"{path.name}{end}").unlink(missing_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE))
    except FileExistsError:  # somebody has put one there
        return False
    return True


def identity(path: Path) -> Identity | None:
    """Return which file a path is of; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def lock(path: Path) -> Path:
    """Return the lock file of a store, for whoever makes, changes or renames its file."""
    return path.with_name(f"{path.name}.lock")


def set_aside(path: Path, damaged: Identity | None, now: float) -> Path | None:
    """Rename a damaged file, and what SQLite has beside it; return its new name.

    The caller holds the lock, and makes the new file before it lets go of it.

    None where the path is of another file by now: another process was first. Connections to the
    damaged file keep it, and SQLite sees that it has moved. Raises StoreDamagedError where others
    were set aside a short while ago: then the disk is broken, and each file takes room.
    """
    if damaged is None or identity(path) != damaged:
        return None
    ages = [now - _when(one) for one in set_aside_before(path)]
    if any(0 <= age < AGAIN for age in ages) or sum(0 <= age < _DAY for age in ages) >= MOST:
        message = f"{path} is damaged again, a short while after it was made anew"
        raise StoreDamagedError(f"{message}; look at its disk")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    aside = path.with_name(f"{path.name}{MARK}{stamp}")
    # The database first: a WAL without one is none, and SQLite removes it.
    for end in _BESIDE:
        one = path.with_name(f"{path.name}{end}")
        if one.exists():
            one.rename(aside.with_name(f"{aside.name}{end}"))
    return aside


def set_aside_before(path: Path) -> list[Path]:
    """Return the damaged files that were set aside, oldest first, without what is beside them."""
    found = path.parent.glob(f"{path.name}{MARK}*")
    return sorted(one for one in found if not one.name.endswith(_BESIDE[1:]))


def _when(path: Path) -> float:
    """Return when a file was set aside, by its name; 0 where its name does not tell."""
    try:
        moment = time.strptime(path.name.rpartition("-")[2], "%Y%m%dT%H%M%SZ")
    except ValueError:
        return 0.0
    return float(timegm(moment))
