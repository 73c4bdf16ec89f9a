"""Partitions by month (UTC) of the large tables of a PostgreSQL store.

`entries_2026_11` has the calls received in November 2026. A feed makes the partition of a row that
has none, and the one of the month after. `entries_before_2027_01` is the whole table of a store
from before partitions. There is no default partition: it would be locked for each new one, and no
partition could be made for a month of which it has a row.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

PARTITIONED_TABLES: Final = {"entries": "id, at", "failures": "id, attempt, at"}
"""The partitioned tables, each with its primary key, which must contain the partition's `at`."""
_OWN_INDEXES = {"entries": ("UNIQUE (seq)",), "failures": ()}
"""Constraints of each partition that the whole table cannot have: they lack `at`."""
_UNKNOWN_INDEX = "(id) WHERE state = 'unknown_crash'"
_DAYS_BEFORE_PARTITIONS = 31
"""The days after an upgrade for which rows still come into the table from before."""
_BY_TIME = "PARTITION BY RANGE (at)"
_LOCK_WAIT = "SET LOCAL lock_timeout = '3s'"
"""The time for which a change of tables waits for queries, and new queries for it."""
_STRAGGLER_SECONDS = 86_400.0
"""The longest time between a call's receipt and its last attempt."""


class Month(NamedTuple):
    """A month of UTC."""

    year: int
    number: int

    @property
    def following(self) -> "Month":
        """The month after it."""
        return Month(self.year + self.number // 12, self.number % 12 + 1)

    @property
    def starts_at(self) -> float:
        """The moment of its beginning, in seconds since the epoch."""
        return datetime(self.year, self.number, 1, tzinfo=UTC).timestamp()

    def __str__(self) -> str:
        return f"{self.year}_{self.number:02}"


class Partition(NamedTuple):
    """A partition of a table, for the rows before a moment and from the partition before on."""

    name: str
    until: Month
    """The first month after it."""
    month: Month | None
    """The month; None if the partition is the whole table of a store from before partitions."""


def find_month(timestamp: float) -> Month:
    """Return the month of a moment."""
    moment = datetime.fromtimestamp(timestamp, UTC)
    return Month(moment.year, moment.month)


def list_partitions(connection: Any, table: str) -> list[Partition]:
    """Return the partitions of a table, oldest first."""
    sql = (
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        " WHERE inhparent = %s::regclass"
    )
    names = [row[0] for row in connection.execute(sql, [table]).fetchall()]
    partitions = [partition for name in names if (partition := _parse_name(table, name))]
    return sorted(partitions, key=lambda partition: partition.until)


def _parse_name(table: str, name: str) -> Partition | None:
    match = re.fullmatch(rf"{table}_(before_)?(\d+)_(\d\d)", name)
    if match is None:
        return None  # an operator attached it
    month = Month(int(match[2]), int(match[3]))
    return Partition(name, month, None) if match[1] else Partition(name, month.following, month)


def make_partitions(connection: Any, table: str, months: Iterable[Month]) -> None:
    """Make the missing partitions of some months and of the months after them."""
    connection.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
    partitions = list_partitions(connection, table)
    taken = {partition.month for partition in partitions}
    earlier = max((part.until for part in partitions if part.month is None), default=Month(0, 1))
    wanted = {month for first in months for month in (first, first.following)}
    for month in sorted(wanted - taken):
        if month < earlier:
            continue
        starts_at, ends_at = month.starts_at, month.following.starts_at
        partition_name = f"{table}_{month}"
        connection.execute(f"CREATE TABLE {partition_name} (LIKE {table} INCLUDING DEFAULTS)")
        for constraint in _OWN_INDEXES[table]:
            connection.execute(f"ALTER TABLE {partition_name} ADD {constraint}")
        connection.execute(
            f"ALTER TABLE {table} ATTACH PARTITION {partition_name}"
            f" FOR VALUES FROM ({starts_at}) TO ({ends_at})"
        )


def drop_partitions(connection: Any, cutoff: float, forget_sums: Callable[[float], object]) -> int:
    """Drop the partitions with no row from a moment on, and what belongs to their calls.

    `forget_sums` deletes the sums of calls from before a moment, once they are gone. Return how
    many calls went. Raises psycopg.errors.LockNotAvailable while long queries run.
    """
    count = 0
    for table in PARTITIONED_TABLES:
        while True:
            with connection.transaction():
                connection.execute(_LOCK_WAIT)
                connection.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
                partition = next(iter(list_partitions(connection, table)), None)
                if partition is None or partition.until.starts_at > cutoff:
                    break
                if table == "entries":
                    count += _forget_related_rows(connection, partition)
                connection.execute(f"DROP TABLE {partition.name}")
                if table == "entries":
                    forget_sums(partition.until.starts_at)
    return count


def _forget_related_rows(connection: Any, partition: Partition) -> int:
    """Delete the rows of a partition's calls in other tables. Return the number of calls."""
    partition_name = partition.name
    of_calls = f"USING {partition_name} AS call WHERE other.id = call.id"
    connection.execute(f"DELETE FROM reprices AS other {of_calls}")  # noqa: S608 - of this module
    connection.execute(f"DELETE FROM verdicts AS other {of_calls}")  # noqa: S608 - as above
    until = partition.until.starts_at
    connection.execute(
        f"DELETE FROM failures AS other {of_calls} AND other.at >= %s AND other.at < %s",  # noqa: S608
        [until, until + _STRAGGLER_SECONDS],
    )
    row = connection.execute(f"SELECT count(*) FROM {partition_name}").fetchone()  # noqa: S608
    return int(row[0])


def prepare_migration(connection: Any, now: float) -> None:
    """Make, without a lock, what else the migration would make while nobody can read the store.

    Gateways of the former version go on feeding. A later call continues after an interruption.
    """
    for table, key in PARTITIONED_TABLES.items():
        _make_index(connection, "UNIQUE INDEX", f"{table}_before_key", f"{table} ({key})")
    _make_index(connection, "INDEX", "entries_before_unknown", f"entries {_UNKNOWN_INDEX}")
    until = find_month(now + _DAYS_BEFORE_PARTITIONS * 86_400).following
    for table in PARTITIONED_TABLES:
        _add_bound(connection, table, until)


def _make_index(connection: Any, index_kind: str, index_name: str, index_columns: str) -> None:
    sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
    row = connection.execute(sql, [index_name]).fetchone()
    if row is not None and not row[0]:  # an interruption left it
        connection.execute(f"DROP INDEX CONCURRENTLY {index_name}")
    if row is None or not row[0]:
        connection.execute(f"CREATE {index_kind} CONCURRENTLY {index_name} ON {index_columns}")


def _add_bound(connection: Any, table: str, until: Month) -> None:
    """Let the database know that all rows are from before a month, if they are."""
    bound_name = f"{table}_before_{until}"
    sql = """
        SELECT conname FROM pg_constraint
        WHERE conrelid = %s::regclass AND contype = 'c' AND starts_with(conname, %s)
    """
    with connection.transaction():
        connection.execute(_LOCK_WAIT)
        bound_names = [
            row[0] for row in connection.execute(sql, [table, f"{table}_before_"]).fetchall()
        ]
        for former_bound in bound_names:  # an interruption left it
            if former_bound != bound_name:
                connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {former_bound}")
        if bound_name not in bound_names:
            later = f"SELECT EXISTS (SELECT FROM {table} WHERE at >= %s)"  # noqa: S608 - as above
            if connection.execute(later, [until.starts_at]).fetchone()[0]:
                return  # a wrong clock made them: the migration moves them
            bound_check = f"CHECK (at < {until.starts_at}) NOT VALID"
            connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {bound_name} {bound_check}")
    connection.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {bound_name}")


def build_migration(*views: str) -> tuple[str, ...]:
    """Return the statements that make partitioned tables of whole ones, which views read.

    A table with rows becomes the first partition.
    """
    statements: list[str] = []
    for table, key_columns in PARTITIONED_TABLES.items():
        former = f"{table}_before"
        statements += [
            f"ALTER TABLE {table} RENAME TO {former}",
            f"ALTER TABLE {former} DROP CONSTRAINT {table}_pkey",
            f"CREATE UNIQUE INDEX IF NOT EXISTS {former}_key ON {former} ({key_columns})",
            f"ALTER TABLE {former} ADD PRIMARY KEY USING INDEX {former}_key",
            f"CREATE TABLE {table} (LIKE {former} INCLUDING DEFAULTS) {_BY_TIME}",
            f"ALTER TABLE {table} ADD PRIMARY KEY ({key_columns})",
        ]
    statements += [
        "ALTER INDEX entries_at RENAME TO entries_before_at",
        "CREATE INDEX entries_at ON entries (at)",
        f"CREATE INDEX IF NOT EXISTS entries_before_unknown ON entries_before {_UNKNOWN_INDEX}",
        f"CREATE INDEX entries_unknown ON entries {_UNKNOWN_INDEX}",
        *views,
        *map(_build_attach_block, PARTITIONED_TABLES),
    ]
    return tuple(statements)


def _build_attach_block(table: str) -> str:
    indexes = "\n".join(
        f"EXECUTE format('ALTER TABLE %I ADD {constraint}', name);"
        for constraint in _OWN_INDEXES[table]
    )
    return _ATTACH_BLOCK.replace("ADD_INDEXES", indexes).replace("TABLE_NAME", table)


_ATTACH_BLOCK = """
DO $$
DECLARE
    month timestamp := date_trunc('month', (now() + interval '31 days') AT TIME ZONE 'UTC')
        + interval '1 month';
    until double precision;
    bound text;
    name text;
BEGIN
    IF NOT EXISTS (SELECT FROM TABLE_NAME_before) THEN
        DROP TABLE TABLE_NAME_before;
        RETURN;
    END IF;
    -- A validated condition spares a scan of the table.
    SELECT conname INTO bound FROM pg_constraint
    WHERE conrelid = 'TABLE_NAME_before'::regclass AND contype = 'c' AND convalidated
        AND starts_with(conname, 'TABLE_NAME_before_');
    IF bound IS NOT NULL THEN
        month := to_date(right(bound, 7), 'YYYY_MM')::timestamp;
    END IF;
    until := extract(epoch FROM month AT TIME ZONE 'UTC');
    CREATE TEMPORARY TABLE misdated ON COMMIT DROP AS
        SELECT * FROM TABLE_NAME_before WHERE at >= until;
    DELETE FROM TABLE_NAME_before WHERE at >= until;
    EXECUTE format('ALTER TABLE TABLE_NAME ATTACH PARTITION TABLE_NAME_before'
        ' FOR VALUES FROM (MINVALUE) TO (%s)', until);
    IF bound IS NOT NULL THEN
        EXECUTE format('ALTER TABLE TABLE_NAME_before DROP CONSTRAINT %I', bound);
    END IF;
    EXECUTE format('ALTER TABLE TABLE_NAME_before RENAME TO TABLE_NAME_before_%s',
        to_char(month, 'YYYY_MM'));
    -- Of clocks that were wrong.
    FOR month IN
        SELECT DISTINCT date_trunc('month', to_timestamp(at) AT TIME ZONE 'UTC') FROM misdated
    LOOP
        name := 'TABLE_NAME_' || to_char(month, 'YYYY_MM');
        EXECUTE format('CREATE TABLE %I (LIKE TABLE_NAME INCLUDING DEFAULTS)', name);
        ADD_INDEXES
        EXECUTE format('ALTER TABLE TABLE_NAME ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
            name, extract(epoch FROM month AT TIME ZONE 'UTC'),
            extract(epoch FROM (month + interval '1 month') AT TIME ZONE 'UTC'));
    END LOOP;
    INSERT INTO TABLE_NAME SELECT * FROM misdated;
    DROP TABLE misdated;
END
$$
"""
