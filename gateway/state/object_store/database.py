"""The table of owned objects, in a SQLite file or in PostgreSQL.

    owned_objects        a row for each object: where it is, and the key that made it
    owned_object_store   one row: the version of the tables

An id is unique at one account of one provider only. Several processes use the table at once, so
nothing of it is kept in memory.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import batched
from typing import Any, ClassVar

from gateway.core import jsonio
from gateway.core.call import Key
from gateway.core.owned_object import OwnedObject
from gateway.state.database.base import SqlDatabase
from gateway.state.errors import ObjectStoreError, describe_newer

_MAX_ID_CHARS = 512
"""The most characters of an id; the gateway remembers no longer one."""
_IDS_PER_QUERY = 500
_USE_SECONDS = 86_400.0
"""The precision of the last use of an object: most uses write nothing."""
_MIGRATIONS = (
    (
        """CREATE TABLE owned_objects (
        provider TEXT NOT NULL, account TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL,
        tenant TEXT NOT NULL, key_name TEXT NOT NULL, created_at DOUBLE PRECISION NOT NULL,
        used_at DOUBLE PRECISION NOT NULL, expires_at DOUBLE PRECISION, facts TEXT NOT NULL,
        PRIMARY KEY (provider, account, id))""",
        "CREATE INDEX owned_objects_by_id ON owned_objects (id)",
        "CREATE INDEX owned_objects_by_owner ON owned_objects (tenant, key_name, kind, created_at)",
        """CREATE INDEX owned_objects_by_expiry ON owned_objects (expires_at)
        WHERE expires_at IS NOT NULL""",
    ),
)
"""The statements that lead from each version of the tables to the next."""
_COLUMNS = "provider, account, id, kind, tenant, key_name, created_at, expires_at, facts, used_at"
_INSERT = f"""
    INSERT INTO owned_objects ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (provider, account, id) DO
"""  # noqa: S608 - own columns
_REPLACE = """
    UPDATE SET kind = excluded.kind, tenant = excluded.tenant, key_name = excluded.key_name,
    created_at = excluded.created_at, expires_at = excluded.expires_at, facts = excluded.facts,
    used_at = excluded.used_at
"""
_KEEP = "NOTHING"
_FIND = f"""
    SELECT {_COLUMNS} FROM owned_objects WHERE id IN ({{}}) AND tenant = ? AND key_name = ?
    AND (expires_at IS NULL OR expires_at > ?)
"""  # noqa: S608 - own columns
_FIND_OTHERS = """
    SELECT id FROM owned_objects WHERE id IN ({}) AND NOT (tenant = ? AND key_name = ?)
    AND (expires_at IS NULL OR expires_at > ?)
"""
_OPEN_JOB_PATTERN = '%"state":"open"%'
_LIST_OPEN_JOBS = f"""
    SELECT {_COLUMNS} FROM owned_objects WHERE kind IN ('batch', 'fine_tuning_job')
    AND facts LIKE ? ORDER BY created_at, id LIMIT ?
"""  # noqa: S608 - own columns
_PLACE = "provider = ? AND account = ? AND id = ? AND tenant = ? AND key_name = ?"
_TOUCH = f"UPDATE owned_objects SET used_at = ? WHERE {_PLACE}"  # noqa: S608 - own columns
_REMOVE = f"DELETE FROM owned_objects WHERE {_PLACE}"  # noqa: S608 - own columns
_CHANGE_FACTS = f"""
    UPDATE owned_objects SET facts = ? WHERE {_PLACE} AND facts = ?
"""  # noqa: S608 - own columns
_DELETE_EXPIRED = "DELETE FROM owned_objects WHERE expires_at <= ?"
_COUNT = "SELECT count(*) FROM owned_objects WHERE tenant = ? AND key_name = ? AND kind = ?"
_DELETE_LEAST_USED = """
    DELETE FROM owned_objects WHERE (provider, account, id) IN (
    SELECT provider, account, id FROM owned_objects
    WHERE tenant = ? AND key_name = ? AND kind = ? ORDER BY used_at, created_at LIMIT ?)
"""


type OwnerGroup = tuple[str, str, str]
"""A tenant, the name of a key, and a kind of objects."""


class ObjectDatabase(SqlDatabase):
    """The table of owned objects, except for its engine. All methods block."""

    place: ClassVar = "the database of owned objects"
    error_class: ClassVar = ObjectStoreError
    main_table: ClassVar = "owned_object_store"
    application_name: ClassVar = "tiergate-objects"
    tables_lock_id: ClassVar = 0x7469_6572_6F62_6A73  # "tierobjs"

    def add(self, objects: Sequence[OwnedObject], used_at: float, *, replaces: bool = True) -> None:
        """Add objects, all or none.

        With `replaces`, a new object takes the place of one with its id: the provider has given
        that id anew, so the former object no longer exists. Otherwise that one stays.
        """
        sql = self.adapt(_INSERT + (_REPLACE if replaces else _KEEP))
        with self.open() as connection, self.transaction(connection):
            for item in objects:
                if _is_storable(item.id):
                    connection.execute(sql, [*_encode(item), used_at])

    def find(self, owner: Key, ids: Iterable[str], now: float) -> list[OwnedObject]:
        """Return the objects of a key that have these ids. They count as used."""
        found: list[OwnedObject] = []
        aged: list[OwnedObject] = []
        known_ids = dict.fromkeys(filter(_is_storable, ids))
        if not known_ids:
            return []
        with self.open() as connection:
            for batch in batched(known_ids, _IDS_PER_QUERY):
                sql = _FIND.format(", ".join("?" * len(batch)))
                values = [*batch, owner.tenant, owner.name, now]
                for row in connection.execute(self.adapt(sql), values).fetchall():
                    found.append(_decode(row))
                    aged += found[-1:] if now - row[-1] > _USE_SECONDS else []
            if aged:
                with self.transaction(connection):
                    for item in aged:
                        connection.execute(self.adapt(_TOUCH), [now, *_locate(item)])
        return found

    def find_others(self, owner: Key, ids: Iterable[str], now: float) -> set[str]:
        """Return those of the ids that are objects of other keys."""
        others: set[str] = set()
        known_ids = dict.fromkeys(filter(_is_storable, ids))
        with self.open() as connection:
            for batch in batched(known_ids, _IDS_PER_QUERY):
                sql = _FIND_OTHERS.format(", ".join("?" * len(batch)))
                values = [*batch, owner.tenant, owner.name, now]
                others.update(row[0] for row in connection.execute(self.adapt(sql), values))
        return others

    def list_with_open_jobs(self, limit: int) -> list[OwnedObject]:
        """Return jobs of all keys that have not ended, the oldest first."""
        with self.open() as connection:
            rows = connection.execute(
                self.adapt(_LIST_OPEN_JOBS), [_OPEN_JOB_PATTERN, limit]
            ).fetchall()
        return [_decode(row) for row in rows]

    def change_facts(self, item: OwnedObject, facts: dict[str, jsonio.Json]) -> bool:
        """Replace the facts of an object; return False if they are no longer those of `item`.

        So of several processes that want to do something once, one succeeds.
        """
        values = [_encode_facts(facts), *_locate(item), _encode_facts(item.facts)]
        with self.open() as connection, self.transaction(connection):
            return bool(connection.execute(self.adapt(_CHANGE_FACTS), values).rowcount)

    def remove(self, objects: Iterable[OwnedObject]) -> None:
        """Remove objects that no longer exist."""
        with self.open() as connection, self.transaction(connection):
            for item in objects:
                connection.execute(self.adapt(_REMOVE), _locate(item))

    def prune(self, groups: Collection[OwnerGroup], max_objects: int, now: float) -> int:
        """Remove expired objects, and those of each group beyond a number; return how many.

        Those objects of a group go first that were used longest ago. Expired ones do not count.
        """
        forgotten = 0
        with self.open() as connection, self.transaction(connection):
            connection.execute(self.adapt(_DELETE_EXPIRED), [now])
            for group in groups:
                (count,) = connection.execute(self.adapt(_COUNT), group).fetchone()
                if count > max_objects:
                    values = [*group, count - max_objects]
                    connection.execute(self.adapt(_DELETE_LEAST_USED), values)
                    forgotten += count - max_objects
        return forgotten

    def prepare(self, connection: Any) -> None:
        """Make the tables, or bring them to this version. Raises ObjectStoreError."""
        if self._read_version(connection) < len(_MIGRATIONS):
            with self.transaction(connection):
                version = self._read_version(connection)  # another process may have been first
                if version == 0:
                    connection.execute("CREATE TABLE owned_object_store (version INTEGER NOT NULL)")
                    connection.execute("INSERT INTO owned_object_store VALUES (0)")
                for statements in _MIGRATIONS[version:]:
                    for sql in statements:
                        connection.execute(sql)
                sql = self.adapt("UPDATE owned_object_store SET version = ?")
                connection.execute(sql, [len(_MIGRATIONS)])
        if self._read_version(connection) > len(_MIGRATIONS):
            raise ObjectStoreError(describe_newer(self.place))

    def _read_version(self, connection: Any) -> int:
        if not self.has_tables(connection):
            return 0
        row = connection.execute("SELECT version FROM owned_object_store").fetchone()
        return int(row[0])


def _is_storable(id: str) -> bool:
    return len(id) <= _MAX_ID_CHARS and "\0" not in id  # PostgreSQL has no text with a null


def _encode(item: OwnedObject) -> list[Any]:
    return [
        item.provider, item.account, item.id, item.kind, item.tenant, item.key,
        item.created_at, item.expires_at, _encode_facts(item.facts),
    ]  # fmt: skip


def _decode(row: Sequence[Any]) -> OwnedObject:
    provider, account, id, kind, tenant, key, created_at, expires_at, facts, _ = row
    return OwnedObject(
        id=id, kind=kind, tenant=tenant, key=key, provider=provider, account=account,
        created_at=created_at, expires_at=expires_at, facts=jsonio.loads(facts),
    )  # fmt: skip


def _encode_facts(facts: dict[str, jsonio.Json]) -> str:
    return jsonio.dumps_canonical(facts).decode()


def _locate(item: OwnedObject) -> list[Any]:
    """Return the values of `_PLACE`: only the object of this key, not a later one of another."""
    return [item.provider, item.account, item.id, item.tenant, item.key]
