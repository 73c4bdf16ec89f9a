"""The interface of all stores of keys, and how to open a database by its URL."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
from pydantic import ValidationError

from gateway.limits.errors import KeyStoreError
from gateway.limits.keys import KeyPart
from gateway.settings.data_folder import SQLITE_SCHEME, resolve_store_url
from gateway.settings.schema.root import DATABASE_SCHEMES
from gateway.state.audit import AuditRow, AuditRows

type KeySettings = Mapping[str, Any]
"""The settings of a key as they are written; `KeyPart` lists them."""


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One key as a store has it."""

    name: str
    settings: dict[str, Any]
    """May have settings of newer versions, which this version keeps and ignores."""
    created: float | None = None
    """Seconds since the epoch; a key file knows no times."""
    changed: float | None = None
    changed_by: str | None = None


type ChangeKey = Callable[[KeyRecord | None], KeySettings]
"""Returns the new settings of a key from its record, which is None for a new key."""
type DescribeChange = Callable[[KeyRecord | None, KeySettings], AuditRow]
"""Returns the row of the audit for a change, from the record before it and the new settings."""


class KeyStore(Protocol):
    """A key file or a key database; any thread may use it, and all methods block."""

    @property
    def place(self) -> str:
        """The name of the store in messages."""
        ...

    def read(self) -> dict[str, KeyRecord]:
        """Return all keys by name. Raises KeyStoreError, ConfigError, OSError."""
        ...

    def edit(self, name: str, change: ChangeKey, describe: DescribeChange) -> KeyRecord:
        """Change one key while nobody else changes a key; return its new record.

        The audit gets the row of `describe`, without which nothing changes. If `change` raises, or
        returns the settings that the key has, the store stays as it is. Raises KeyChangeError,
        KeyStoreError, ConfigError, OSError.
        """
        ...


class DatabaseCursor(NamedTuple):
    """A position in the changes of a key database."""

    database_id: str
    revision: int


class KeyChanges(NamedTuple):
    """Keys that changed since a cursor."""

    records: Sequence[KeyRecord]
    cursor: DatabaseCursor
    is_whole: bool
    """True if the records are all keys of the database."""


class KeyDatabase(KeyStore, AuditRows, Protocol):
    """A key database, with the audit of its changes. Its methods raise KeyStoreError."""

    def read_changes(self, cursor: DatabaseCursor | None) -> KeyChanges | None:
        """Return the keys that changed since a cursor, all keys for None; None if none did."""
        ...

    def close(self) -> None:
        """Close the kept connection, if there is one."""
        ...


def is_database(setting: str) -> bool:
    """Return True if `keys.store` is the URL of a database."""
    return setting.startswith(DATABASE_SCHEMES)


def find_database_file(url: str, data: Path) -> Path | None:
    """Return the file of a SQLite database; None for other databases."""
    if not url.startswith(SQLITE_SCHEME):
        return None
    return Path(resolve_store_url(url, data).removeprefix(SQLITE_SCHEME))


def open_database(
    url: str, data: Path, *, creates: bool = True, keeps_connection: bool = False
) -> KeyDatabase:
    """Return the database at a URL; a relative SQLite path is taken from the data folder.

    The first use connects and, with `creates`, makes the tables that are missing. With
    `keeps_connection` later uses share the connection: then only one thread may use it. Raises
    KeyStoreError.
    """
    # Imported here: these modules import this one, and PostgreSQL's driver is optional.
    if (file := find_database_file(url, data)) is not None:
        from gateway.limits.key_store.sqlite import SqliteKeyDatabase  # noqa: PLC0415

        return SqliteKeyDatabase(file, creates=creates)
    from gateway.limits.key_store.postgres import PostgresKeyDatabase  # noqa: PLC0415

    return PostgresKeyDatabase(url, creates=creates, keeps_connection=keeps_connection)


def parse_settings(settings: KeySettings) -> tuple[KeyPart, list[str]]:
    """Return the settings of a key, and the names of settings that this version does not know.

    Raises KeyStoreError for a value that this version cannot read.
    """
    plain_settings = msgspec.to_builtins(dict(settings))
    ignored: list[str] = []
    while True:
        try:
            return KeyPart.model_validate(plain_settings), ignored
        except ValidationError as error:
            details = error.errors()
            extra_paths = [item["loc"] for item in details if item["type"] == "extra_forbidden"]
            if len(extra_paths) < len(details) or not extra_paths:
                item = next(item for item in details if item["type"] != "extra_forbidden")
                path = ".".join(map(str, item["loc"]))
                reason = item["msg"].removeprefix("Value error, ")
                raise KeyStoreError(f"{path}: {reason[:1].lower()}{reason[1:]}") from None
            for path_steps in extra_paths:
                _remove_setting(plain_settings, path_steps)
                ignored.append(".".join(map(str, path_steps)))


def _remove_setting(settings: dict[str, Any], path: Sequence[str | int]) -> None:
    """Remove a setting at a path. A single limit or budget may stand in place of a list."""
    holder: Any = settings
    for step in path[:-1]:
        if not (isinstance(holder, dict) and isinstance(step, int)):
            holder = holder[step]
    del holder[path[-1]]
