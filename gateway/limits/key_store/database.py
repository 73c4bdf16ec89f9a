"""The common part of both key databases: their tables, and the queries.

    client_keys        a row for each key: its settings as JSON, when it changed, and who did it
    client_key_store   one row: the id of the database, and the number of its changes
    client_key_audit   a row for each change: the row of the audit as JSON

Every change takes the next number and writes it into the row of its key. So a gateway that asks
for that one number knows whether anything changed, and then reads only the keys that did. No row
is ever deleted: a revoked key keeps its name.
"""

import secrets
import time
from collections.abc import Iterator
from typing import Any, ClassVar

from gateway.core import jsonio
from gateway.limits.errors import KeyStoreError, NewerKeyStoreError
from gateway.limits.key_store.store import (
    ChangeKey,
    DatabaseCursor,
    DescribeChange,
    KeyChanges,
    KeyRecord,
)
from gateway.state.audit import AuditQuery, AuditRow, parse_row
from gateway.state.database.base import SqlDatabase
from gateway.state.errors import describe_newer

_SCHEMA_VERSION = 1
_TABLES = (
    """CREATE TABLE IF NOT EXISTS client_key_store
    (id TEXT NOT NULL, version INTEGER NOT NULL, revision BIGINT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS client_keys (
    name TEXT PRIMARY KEY, settings TEXT NOT NULL, created DOUBLE PRECISION NOT NULL,
    changed DOUBLE PRECISION NOT NULL, changed_by TEXT NOT NULL, revision BIGINT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS client_key_audit
    (revision BIGINT PRIMARY KEY, at DOUBLE PRECISION NOT NULL, who TEXT NOT NULL,
    act TEXT NOT NULL, subject TEXT NOT NULL, entry TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS client_keys_by_revision ON client_keys (revision)",
)
_ADD_AUDIT_ROW = "INSERT INTO client_key_audit VALUES (?, ?, ?, ?, ?, ?)"
_READ_AUDIT = """
    SELECT entry FROM client_key_audit
    WHERE at >= ? AND at < ? AND (? = '' OR who = ?) AND (? = '' OR subject = ?)
    AND (? = '' OR act = ? OR substr(act, 1, ?) = ?)
    ORDER BY at DESC, revision DESC LIMIT ?
"""
_READ_ALL = "SELECT name, settings, created, changed, changed_by FROM client_keys ORDER BY name"
_READ_CHANGED = """
    SELECT name, settings, created, changed, changed_by FROM client_keys WHERE revision > ?
"""
_READ_ONE = """
    SELECT name, settings, created, changed, changed_by FROM client_keys WHERE name = ?
"""
_INSERT = """
    INSERT INTO client_keys (name, settings, created, changed, changed_by, revision)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET settings = excluded.settings, changed = excluded.changed,
    changed_by = excluded.changed_by, revision = excluded.revision
"""


class SqlKeyDatabase(SqlDatabase):
    """A key database, except for its engine. Without its tables there are no keys."""

    place: ClassVar = "the key database"
    error_class: ClassVar = KeyStoreError
    main_table: ClassVar = "client_keys"
    application_name: ClassVar = "tiergate-keys"
    tables_lock_id: ClassVar = 0x7469_6572_6B65_7973  # "tierkeys"
    lock_query: ClassVar[str]
    """A query that locks the row of client_key_store until the transaction ends."""

    def read(self) -> dict[str, KeyRecord]:
        """Return all keys by name."""
        if not self._creates and not self.exists():
            return {}
        with self.open() as connection:
            rows = connection.execute(_READ_ALL)
            return {row[0]: _make_record(row) for row in rows.fetchall()}

    def read_changes(self, cursor: DatabaseCursor | None) -> KeyChanges | None:
        """Return the keys that changed since a cursor; None if none did."""
        if not self._creates and not self.exists():
            return KeyChanges([], DatabaseCursor("", 0), is_whole=True)
        with self.open() as connection:
            current = _read_cursor(connection)
            if current == cursor:
                return None
            # A database that was restored from a backup has a lower number.
            is_whole = (
                cursor is None
                or cursor.database_id != current.database_id
                or cursor.revision > current.revision
            )
            rows = connection.execute(
                self.adapt(_READ_CHANGED),
                [-1 if is_whole or cursor is None else cursor.revision],
            )
            return KeyChanges([_make_record(row) for row in rows.fetchall()], current, is_whole)

    def edit(self, name: str, change: ChangeKey, describe: DescribeChange) -> KeyRecord:
        """Change one key while nobody else changes a key; see KeyStore.

        The row of the audit is part of the same transaction.
        """
        with self.open() as connection, self.transaction(connection):
            # First: it locks the row, so changes have the order of their numbers.
            connection.execute(self.lock_query)
            row = connection.execute(self.adapt(_READ_ONE), [name]).fetchone()
            before = None if row is None else _make_record(row)
            settings = dict(change(before))
            if before is not None and settings == before.settings:
                return before
            now, row = time.time(), describe(before, settings)
            record = KeyRecord(
                name=name,
                settings=settings,
                created=now if before is None else before.created,
                changed=now,
                changed_by=row.who,
            )
            values = [name, jsonio.dumps(settings).decode(), record.created, now, row.who]
            connection.execute("UPDATE client_key_store SET revision = revision + 1")
            revision = _read_cursor(connection).revision
            connection.execute(self.adapt(_INSERT), [*values, revision])
            entry = jsonio.dumps(row).decode()
            connection.execute(
                self.adapt(_ADD_AUDIT_ROW), [revision, row.at, row.who, row.act, name, entry]
            )
            return record

    def iter_rows(self, query: AuditQuery, limit: int) -> Iterator[AuditRow]:
        """Yield the newest rows of the audit."""
        if not self.exists():
            return
        who, act, subject = query.who, query.act, query.subject
        values = [query.since, query.until, who, who, subject, subject]
        values += [act, act, len(act) + 1, f"{act}.", limit]
        with self.connect() as connection:
            entries = connection.execute(self.adapt(_READ_AUDIT), values).fetchall()
        yield from filter(None, (parse_row(entry.encode()) for (entry,) in entries))

    def prepare(self, connection: Any) -> None:
        """Make the tables unless they exist. Raises NewerKeyStoreError for newer ones."""
        if not self.has_tables(connection):
            with self.transaction(connection):
                for sql in _TABLES:
                    connection.execute(sql)
                if connection.execute("SELECT 1 FROM client_key_store").fetchone() is None:
                    sql = self.adapt("INSERT INTO client_key_store VALUES (?, ?, 0)")
                    connection.execute(sql, [secrets.token_hex(16), _SCHEMA_VERSION])
        (version,) = connection.execute("SELECT version FROM client_key_store").fetchone()
        if version > _SCHEMA_VERSION:
            raise NewerKeyStoreError(describe_newer(self.place))


def _read_cursor(connection: Any) -> DatabaseCursor:
    row = connection.execute("SELECT id, revision FROM client_key_store").fetchone()
    if row is None:
        raise KeyStoreError("the key database has lost the row of client_key_store: restore it")
    return DatabaseCursor(*row)


def _make_record(row: Any) -> KeyRecord:
    name, settings, created, changed, changed_by = row
    try:
        value = jsonio.loads(settings)
    except jsonio.JsonError:
        value = None
    return KeyRecord(
        name=name,
        settings=value if isinstance(value, dict) else {},
        created=created,
        changed=changed,
        changed_by=changed_by,
    )
