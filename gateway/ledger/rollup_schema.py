"""The tables of sums by 15 minutes and by day, and the SQL that fills them.

`rollups` has sums of calls. A row belongs to a kind, a start and a set. A **set** is a combination
of values of the kind's dimensions. `start` counts quarters of an hour, or days, since the epoch, in
UTC. `rollup_bins` has counts of latencies in the same way. `rollup_users` has the sums of end users
by day. They have no sets, which nothing deletes: users are many, and can be erased.

The store makes the sums of a quarter or day from its rows, once it is over. `rollup_pending` lists
the quarters and days whose rows have changed since then, so a question reads their rows instead. A
transaction that changes a row puts its quarter and day there. Nothing else keeps sums and rows
equal, so no sum can drift. A day later the store compares the sums with the rows all the same;
`rollup_check` has the next quarter for that.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from itertools import batched, combinations
from typing import Any, ClassVar, Final, NamedTuple

from gateway.ledger.query import TOKENS

QUARTER_SECONDS: Final = 900
QUARTERS_PER_DAY: Final = 96


def get_period_seconds(*, by_day: bool) -> int:
    """Return the seconds of a day, or of a quarter of an hour."""
    return QUARTER_SECONDS * (QUARTERS_PER_DAY if by_day else 1)


_CHART_DIMENSIONS = (
    *("lab", "tier", "model", "provider", "key", "team", "tags", "state", "arm", "dialect"),
)
"""The dimensions whose pairs are kept by quarter too, for a series with a filter."""
_RULE_PAIR = ("rule", "source")
"""One more pair by quarter: the page of rules asks for it."""
_DIMENSION_GROUPS = (
    ("lab", "tier", "model", "provider"),
    ("key", "team", "tenant", "dialect"),
    ("tags", "guards", "arm", "rule"),
    ("state", "cache", "problem", "source"),
    ("account", "served", "config"),
)
"""Dimensions that depend on each other stand together: so sums of two groups are few."""
DIMENSIONS: Final = tuple(name for group in _DIMENSION_GROUPS for name in group)
"""The columns that sums keep apart. A question about other columns reads rows."""
USER_DIMENSIONS: Final = ("end_user", "key")
"""The dimensions of the sums of end users."""
LATENCY_DIMENSIONS: Final = ("lab", "tier", "model", "provider", "key", "team")
"""The dimensions for which the store counts latencies."""


class RollupKind(NamedTuple):
    """The dimensions of a sum, and its length of time."""

    number: int
    dimensions: tuple[str, ...]
    by_day: bool

    @property
    def has_sets(self) -> bool:
        """True if the sums are in `rollups`; False if they are in `rollup_users`."""
        return self.dimensions != USER_DIMENSIONS


class KindGroup(NamedTuple):
    """Kinds whose sums are made from the same sums of more dimensions."""

    dimensions: tuple[str, ...]
    kinds: tuple[RollupKind, ...]


def _list_subsets(dimensions: Sequence[str], most: int) -> list[tuple[str, ...]]:
    return [subset for size in range(most + 1) for subset in combinations(dimensions, size)]


def _group_kinds() -> dict[bool, tuple[KindGroup, ...]]:
    """Return the groups of kinds, by quarter and by day; each kind is in one of them."""
    other_dimensions = [name for name in DIMENSIONS if name not in _CHART_DIMENSIONS]
    subsets_by_source: dict[bool, dict[tuple[str, ...], list[tuple[str, ...]]]] = {
        False: {
            _CHART_DIMENSIONS: _list_subsets(_CHART_DIMENSIONS, 2),
            tuple(other_dimensions): [*((name,) for name in other_dimensions), _RULE_PAIR],
        },
        True: {
            DIMENSIONS: [DIMENSIONS],
            **{
                (*left, *right): _list_subsets((*left, *right), 2)
                for left, right in combinations(_DIMENSION_GROUPS, 2)
            },
            USER_DIMENSIONS: [USER_DIMENSIONS],
        },
    }
    number, groups = 0, dict[bool, tuple[KindGroup, ...]]()
    for by_day, subsets in subsets_by_source.items():
        seen, groups_so_far = set[tuple[str, ...]](), list[KindGroup]()
        for source, dimension_sets in subsets.items():
            kinds = []
            for dimensions in dimension_sets:
                if dimensions not in seen:
                    kinds.append(RollupKind(number, dimensions, by_day))
                    seen.add(dimensions)
                    number += 1
            groups_so_far.append(KindGroup(source, tuple(kinds)))
        groups[by_day] = tuple(groups_so_far)
    return groups


KIND_GROUPS: Final = _group_kinds()
"""The kinds by quarter (False) and by day (True). A change needs a migration that makes all of them
pending."""
LATENCY_KINDS: Final = {
    by_day: tuple(
        kind
        for group in groups
        for kind in group.kinds
        if len(kind.dimensions) <= (2 if by_day else 1)
        and set(kind.dimensions) <= set(LATENCY_DIMENSIONS)
    )
    for by_day, groups in KIND_GROUPS.items()
}
"""The kinds with counts of latencies: those of a single dimension, and by day of two."""


def find_kind(names: frozenset[str], *, by_day: bool, latency: bool = False) -> RollupKind | None:
    """Return the smallest kind with all of some dimensions; None if there is none."""
    all_kinds = [kind for group in KIND_GROUPS[by_day] for kind in group.kinds]
    kinds = [
        kind
        for kind in (LATENCY_KINDS[by_day] if latency else all_kinds)
        if names <= set(kind.dimensions)
    ]
    return min(kinds, key=lambda kind: len(kind.dimensions), default=None)


COUNTS: Final = {
    "calls": "true",
    "cached": "c.state = 'cache_hit'",
    "failed": "c.state IN ('failed', 'refused', 'unknown_crash')",
    "unknown": "c.unknown",
    "retried": "c.attempts > 1 AND c.state IN ('settled', 'estimated', 'aborted')",
}
"""The columns of a sum that count calls, each with the condition for a call."""
AMOUNTS: Final = {
    "cost": "c.cost",
    "compared": "CASE WHEN c.baseline IS NOT NULL THEN c.cost END",
    "wasted": "c.wasted",
    "estimate": "c.estimate",
    "baseline": "CASE WHEN c.cost IS NOT NULL THEN c.baseline END",
    "reserved": "c.reserved",
}
"""Amounts that are added up. `compared` is the cost of calls with a baseline: what is saved is
`baseline` minus it."""
EXACT_CONTEXT: Final = Context(prec=100)
"""Sums are exact: the default of 28 digits would round a large sum of very small costs."""
_MAX_INTEGER_DIGITS = 4
_UNIT_DIGITS, _REST_DIGITS = 9, 12
_UNIT = 10**_REST_DIGITS
_DIGITS = "_digits"
"""The end of the name of a column with a number of decimals: the highest of all calls."""
_LIST_DIMENSIONS = frozenset({"tags", "guards"})
SCRATCH_TABLES: Final = ("rollup_scratch", "rollup_part")


class RollupSql(ABC):
    """The SQL of sums in one database."""

    placeholder: ClassVar[str]
    text_mark: ClassVar[str]
    """The placeholder of a text."""
    lock_pending: ClassVar[str]
    """A query for the version of a pending quarter or day, which nobody else may change then."""
    quarter: ClassVar[str]
    """The quarter of a call in the table or view c."""
    types: ClassVar[Mapping[str, str]]
    """The types of columns: `id`, `count`, `amount`, `list`; and how a table is `clustered`."""
    overwrite_deleted: ClassVar[tuple[str, ...]] = ()
    """Statements that let a connection overwrite what it deletes: users may be erased later."""
    amount_columns: ClassVar[tuple[str, ...]]
    """The columns that hold AMOUNTS."""

    @property
    def sum_columns(self) -> tuple[str, ...]:
        """The columns of sums."""
        return (*COUNTS, *TOKENS, *self.amount_columns)

    def add_up(self, column: str, table: str = "") -> str:
        """Return an expression for one of `sum_columns` of several sums."""
        return f"{'max' if column.endswith(_DIGITS) else 'sum'}({table}{column})"

    @abstractmethod
    def build_key(self, columns: Sequence[str]) -> str:
        """Return an expression: a text for the values of some columns."""

    @abstractmethod
    def measure_amounts(self) -> dict[str, str]:
        """Return an expression of a call for each of `amount_columns`."""

    @abstractmethod
    def find_misfit(self) -> str:
        """Return a condition: the columns cannot hold an amount of a call."""

    @abstractmethod
    def combine_amounts(self) -> dict[str, str]:
        """Return an expression for each of `amount_columns`, from sums of them in d."""

    @abstractmethod
    def read_amounts(self, values: Sequence[Any]) -> list[Decimal | None]:
        """Return AMOUNTS from the values of `amount_columns`."""

    def build_tables(self) -> tuple[str, ...]:
        """Return the statements that create the tables. All rows are pending."""
        types = self.types
        key_columns = f"""
            kind INTEGER NOT NULL, start {types["count"]} NOT NULL,
            set_id {types["count"]} NOT NULL"""
        pending = "INSERT INTO rollup_pending SELECT DISTINCT {}, {}, 0 FROM entries AS c"
        return (
            f"""
            CREATE TABLE rollup_sets (
                set_id {types["id"]}, kind INTEGER NOT NULL, name TEXT NOT NULL,
                {self._declare_dimensions()}, UNIQUE (kind, name)
            )
            """,
            f"""
            CREATE TABLE rollups (
                {key_columns}, {self._declare_sums()}, PRIMARY KEY (kind, start, set_id)
            ) {types["clustered"]}
            """,
            f"""
            CREATE TABLE rollup_bins (
                {key_columns}, duration TEXT NOT NULL, first_content TEXT NOT NULL,
                PRIMARY KEY (kind, start, set_id)
            ) {types["clustered"]}
            """,
            f"""
            CREATE TABLE rollup_pending (
                by_day INTEGER NOT NULL, start {types["count"]} NOT NULL,
                version {types["count"]} NOT NULL, PRIMARY KEY (by_day, start)
            ) {types["clustered"]}
            """,
            f"CREATE TABLE rollup_check (next_start {types['count']} NOT NULL)",
            "INSERT INTO rollup_check VALUES (0)",
            pending.format(0, self.quarter),
            pending.format(1, f"{self.quarter} / {QUARTERS_PER_DAY}"),
        )

    def build_user_table(self) -> tuple[str, ...]:
        """Return the statements that create the table of end users. All days are pending."""
        types = self.types
        day_kinds = [kind for group in KIND_GROUPS[True] for kind in group.kinds]
        totals = next(kind for kind in day_kinds if not kind.dimensions)  # each day has one
        return (
            f"""
            CREATE TABLE rollup_users (
                start {types["count"]} NOT NULL, number INTEGER NOT NULL, end_user TEXT, key TEXT,
                {self._declare_sums()}, PRIMARY KEY (start, number)
            ) {types["clustered"]}
            """,
            "UPDATE rollup_pending SET version = version + 1 WHERE by_day = 1",
            f"""
            INSERT INTO rollup_pending SELECT 1, start, 0 FROM rollups
            WHERE kind = {totals.number} ON CONFLICT (by_day, start) DO NOTHING
            """,  # noqa: S608 - of this module
        )

    def build_scratch_tables(self) -> tuple[str, ...]:
        """Return the statements that create the temporary tables for sums in the making."""
        return (
            *self.overwrite_deleted,
            *(
                f"CREATE TEMP TABLE IF NOT EXISTS {table}"
                f" (end_user TEXT, {self._declare_dimensions()}, {self._declare_sums()},"
                " misfits INTEGER)"
                for table in SCRATCH_TABLES
            ),
        )

    def read_calls(self, table: str, dimensions: Sequence[str]) -> str:
        """Return a statement that fills a scratch table with the calls of some time.

        Its values are the first second, and the first after it.
        """
        names = ", ".join(dimensions)
        columns = {
            **{name: f"c.{name}" for name in dimensions},
            **{name: f"CASE WHEN {test} THEN 1 ELSE 0 END" for name, test in COUNTS.items()},
            **{name: f"c.{name}" for name in TOKENS},
            **self.measure_amounts(),
            "misfits": f"CASE WHEN {self.find_misfit()} THEN 1 ELSE 0 END",
        }
        sums = (*self.sum_columns, "misfits")
        expressions = ", ".join(f"{value} AS {name}" for name, value in columns.items())
        return (
            f"INSERT INTO {table} ({names}, {', '.join(sums)})"  # noqa: S608 - of this module
            f" SELECT {names}, {', '.join(map(self.add_up, sums))}"
            f" FROM (SELECT {expressions} FROM costs AS c"
            f" WHERE c.at >= {self.placeholder} AND c.at < {self.placeholder}) AS calls"
            f" GROUP BY {names}"
        )

    def fill_part(self, dimensions: Sequence[str]) -> str:
        """Return a statement that fills `rollup_part` with the sums of some dimensions."""
        names = ", ".join(dimensions)
        return (
            f"INSERT INTO rollup_part ({names}, {', '.join(self.sum_columns)})"
            f" SELECT {names}, {self._sum_up('rollup_scratch', names)}"
        )

    def store_sets(self, kind: RollupKind) -> str:
        """Return a statement that stores the sets of a kind that `rollup_part` has."""
        columns = "".join(f", {name}" for name in kind.dimensions)
        return (
            f"INSERT INTO rollup_sets (kind, name{columns})"  # noqa: S608 - of this module
            f" SELECT DISTINCT {kind.number}, name{columns}"
            f" FROM (SELECT {self.build_key(kind.dimensions)} AS name{columns} FROM rollup_part)"
            " AS d WHERE NOT EXISTS (SELECT 1 FROM rollup_sets AS s"
            f" WHERE s.kind = {kind.number} AND s.name = d.name)"
        )

    def store_sums(self, kind: RollupKind) -> str:
        """Return a statement that stores the sums of a kind from `rollup_part`.

        Its value is the start.
        """
        names = ", ".join(self.sum_columns)
        sums = self._combine_sums()
        if not kind.has_sets:
            dimensions = ", ".join(kind.dimensions)
            return (
                f"INSERT INTO rollup_users (start, number, {dimensions}, {names})"  # noqa: S608 - of this module
                f" SELECT CAST({self.placeholder} AS BIGINT), row_number() OVER (), {dimensions},"
                f" {sums} FROM rollup_part AS d"
            )
        return (
            f"INSERT INTO rollups (kind, start, set_id, {names})"  # noqa: S608 - of this module
            f" SELECT {kind.number}, CAST({self.placeholder} AS BIGINT), s.set_id,"
            f" {sums} FROM ("
            f"SELECT {self.build_key(kind.dimensions)} AS name, {self._sum_up('rollup_part', '1')}"
            f") AS d JOIN rollup_sets AS s ON s.kind = {kind.number} AND s.name = d.name"
        )

    def store_bins(self, kind: RollupKind) -> str:
        """Return a statement that stores counts of latencies of a set.

        Its values are the start, the counts of each column, and the set's dimensions.
        """
        marks = [self.text_mark] * len(kind.dimensions)
        return (
            f"INSERT INTO rollup_bins SELECT {kind.number}, CAST({self.placeholder} AS BIGINT),"  # noqa: S608 - of this module
            f" set_id, {self.text_mark}, {self.text_mark} FROM rollup_sets"
            f" WHERE kind = {kind.number} AND name = {self.build_key(marks)}"
        )

    def count_differences(self, kind: RollupKind) -> str:
        """Return a query for the number of sums that `rollup_part` has otherwise than `rollups`.

        Its values are the start, twice.
        """
        names = ", ".join(self.sum_columns)
        if kind.has_sets:
            made = (
                f"SELECT name, {self._combine_sums()} FROM ("  # noqa: S608 - of this module
                f"SELECT {self.build_key(kind.dimensions)} AS name,"
                f" {self._sum_up('rollup_part', '1')}) AS d"
            )
            stored = (
                f"SELECT name, {names} FROM rollups JOIN rollup_sets USING (set_id)"  # noqa: S608 - as above
                f" WHERE rollups.kind = {kind.number} AND start = {self.placeholder}"
            )
        else:
            dimensions = ", ".join(kind.dimensions)
            made = f"SELECT {dimensions}, {self._combine_sums()} FROM rollup_part AS d"  # noqa: S608 - as above
            stored = (
                f"SELECT {dimensions}, {names} FROM rollup_users WHERE start = {self.placeholder}"  # noqa: S608 - as above
            )
        return (
            f"SELECT (SELECT count(*) FROM ({made} EXCEPT {stored}) AS lacking)"  # noqa: S608 - as above
            f" + (SELECT count(*) FROM ({stored} EXCEPT {made}) AS wrong)"
        )

    def read_sums(self, kind: RollupKind, table: str, columns: Sequence[str]) -> str:
        """Return a query for the sums of a kind, with their time and their dimensions.

        Its values are the first start and the end. `table` is `rollup_bins` for latencies.
        """
        length = get_period_seconds(by_day=kind.by_day)
        source, dimensions, condition = "rollup_users AS r", "r", ""
        if kind.has_sets:
            source = f"{table} AS r JOIN rollup_sets AS s ON s.set_id = r.set_id"
            dimensions, condition = "s", f"r.kind = {kind.number} AND "
        names = [
            *(f"{dimensions}.{name}" for name in kind.dimensions),
            *(f"r.{name}" for name in columns),
        ]
        return (
            f"SELECT CAST(r.start * {length} AS DOUBLE PRECISION) AS at, {', '.join(names)}"  # noqa: S608 - of this module
            f" FROM {source} WHERE {condition}"
            f"r.start >= {self.placeholder} AND r.start < {self.placeholder}"
        )

    def _combine_sums(self) -> str:
        """Return an expression for each of `sum_columns`, from sums of them in d."""
        values = {name: f"d.{name}" for name in self.sum_columns} | self.combine_amounts()
        return ", ".join(values.values())

    def _sum_up(self, table: str, group: str) -> str:
        sums = ", ".join(f"{self.add_up(name)} AS {name}" for name in self.sum_columns)
        return f"{sums} FROM {table} GROUP BY {group}"

    def _declare_dimensions(self) -> str:
        return ", ".join(
            f"{name} {self.types['list'] if name in _LIST_DIMENSIONS else 'TEXT'}"
            for name in DIMENSIONS
        )

    def _declare_sums(self) -> str:
        return ", ".join(
            f"{name} {self.types['amount' if name in self.amount_columns else 'count']}"
            for name in self.sum_columns
        )


class SqliteRollupSql(RollupSql):
    """Sums in SQLite. An amount is two integers: units of 1e-9 USD, and a rest in 1e-21 USD.

    A third is the number of decimals that the sum is written with. They cannot hold an amount with
    more digits, or of 10,000 USD or more.
    """

    placeholder: ClassVar = "?"
    text_mark: ClassVar = "?"
    lock_pending: ClassVar = "SELECT version FROM rollup_pending WHERE by_day = ? AND start = ?"
    quarter: ClassVar = "CAST(c.at / 900 AS INTEGER)"
    overwrite_deleted: ClassVar = ("PRAGMA main.secure_delete = ON",)
    types: ClassVar = {
        "id": "INTEGER PRIMARY KEY",
        "count": "INTEGER",
        "amount": "INTEGER",
        "list": "TEXT",
        "clustered": "WITHOUT ROWID",
    }
    amount_columns: ClassVar = tuple(
        f"{name}{suffix}" for suffix in ("", "_rest", _DIGITS) for name in AMOUNTS
    )

    def build_key(self, columns: Sequence[str]) -> str:
        """Return a JSON list."""
        return f"json_array({', '.join(columns)})"

    def measure_amounts(self) -> dict[str, str]:
        """Return the whole units and the rest of each amount."""
        units, rests, digits = {}, {}, {}
        for name, value in AMOUNTS.items():
            point = f"instr({value} || '.', '.')"
            part = f"CAST(substr(substr({value}, {point} + {{}}) || '{{}}', 1, {{}}) AS INTEGER)"
            units[name] = (
                f"CASE WHEN {value} IS NULL THEN NULL WHEN {value} = '0' THEN 0"
                f" ELSE CAST({value} AS INTEGER) * 1000000000"
                f" + {part.format(1, '0' * 9, 9)} END"
            )
            rests[f"{name}_rest"] = (
                f"CASE WHEN length({value}) > {point} + 9"
                f" THEN {part.format(10, '0' * 12, 12)} ELSE 0 END"
            )
            digits[f"{name}{_DIGITS}"] = f"max(length({value}) - {point}, 0)"
        return units | rests | digits

    def find_misfit(self) -> str:
        """Return a condition: an amount has too many digits, or is none."""
        return " OR ".join(
            f"({value} <> '0' AND ({value} GLOB '*[^0-9.]*'"
            f" OR instr({value} || '.', '.') > {_MAX_INTEGER_DIGITS + 1}"
            f" OR length({value}) > instr({value} || '.', '.') + 21))"
            for name, value in AMOUNTS.items()
            if name != "compared"  # which is `cost`
        )

    def combine_amounts(self) -> dict[str, str]:
        """Return the two sums of each amount; the rest is less than a unit."""
        return {name: f"d.{name} + d.{name}_rest / {_UNIT}" for name in AMOUNTS} | {
            f"{name}_rest": f"d.{name}_rest % {_UNIT}" for name in AMOUNTS
        }

    def read_amounts(self, values: Sequence[Any]) -> list[Decimal | None]:
        """Return AMOUNTS from the sums of their units and rests, and their decimals."""
        amounts = batched(values, len(AMOUNTS))
        return [
            None if units is None else _join_amount(units, rest, digits)
            for units, rest, digits in zip(*amounts, strict=True)
        ]


def _join_amount(units: int, rest: int, digits: int) -> Decimal:
    """Return an amount with as many decimals as the sum of the calls' amounts has."""
    if digits <= _UNIT_DIGITS:
        number = units // 10 ** (_UNIT_DIGITS - digits)
    else:
        number = (units * _UNIT + rest) // 10 ** (_UNIT_DIGITS + _REST_DIGITS - digits)
    return Decimal(number).scaleb(-digits, EXACT_CONTEXT)


class PostgresRollupSql(RollupSql):
    """Sums in PostgreSQL, whose numeric holds all amounts."""

    placeholder: ClassVar = "%s"
    text_mark: ClassVar = "%s::text"
    lock_pending: ClassVar = (
        "SELECT version FROM rollup_pending WHERE by_day = %s AND start = %s FOR UPDATE"
    )
    quarter: ClassVar = "floor(c.at / 900)::bigint"
    types: ClassVar = {
        "id": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "count": "BIGINT",
        "amount": "NUMERIC",
        "list": "TEXT[]",
        "clustered": "",
    }
    amount_columns: ClassVar = (*AMOUNTS,)

    def build_key(self, columns: Sequence[str]) -> str:
        """Return a JSON list."""
        return f"jsonb_build_array({', '.join(columns)})::text"

    def measure_amounts(self) -> dict[str, str]:
        """Return each amount."""
        return AMOUNTS

    def find_misfit(self) -> str:
        """Return a condition that no call meets."""
        return "false"

    def combine_amounts(self) -> dict[str, str]:
        """Return each sum as it is."""
        return {}

    def read_amounts(self, values: Sequence[Any]) -> list[Decimal | None]:
        """Return the amounts as they are."""
        return list(values)
