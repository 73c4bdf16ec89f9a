"""The tables and views of the ledger in ClickHouse, as migrations between versions.

The views `costs`, `attempts`, `feedback`, `damages` and `days` have the columns that the SQL stores
have (gateway/ledger/schema.py). Rows lie in tables that keep one row for each key: a row that is
delivered twice counts once, whatever the order. The views read them with FINAL, so they also see no
duplicates that the server has not merged yet.

Of two rows of a call the one with the higher `rank` counts: the call's own row has 1, the row that
recovery wrote in its place 0. Both lie in the partition of the month in the call's id, where
ClickHouse merges them. Their times can differ.
"""

from typing import Final

from gateway.ledger.personal_part import PERSONAL_COLUMNS
from gateway.ledger.schema import (
    ATTEMPT_COLUMNS,
    DAMAGE_COLUMNS,
    ENTRY_COLUMNS,
    FEEDBACK_COLUMNS,
    NOT_FROM_CACHE,
    REPRICE_COLUMNS,
    UNKNOWN_COST,
)

MONEY_DIGITS: Final = 38
"""The most digits of USD on each side of the point."""
TABLE_ENTRY_COLUMNS: Final = tuple(name for name in ENTRY_COLUMNS if name != "basis")
"""Columns of `entries`, without what decisions rest on: a third of a row that no sum reads."""
LIST_COLUMNS: Final = frozenset({"tags", "dropped", "guards"})
COUNT_MAP_COLUMNS: Final = frozenset({"cache_write_by", "tools", "media"})
UNITS_COLUMN: Final = "units"
"""The column of quantities by unit; a Map of numbers that are exact."""
MONEY_COLUMNS: Final = (
    *("cost", "wasted", "estimate", "billed", "reserved", "baseline", "switch_cost"),
    "computed_cost",
)

_EXACT = f"Decimal({2 * MONEY_DIGITS}, {MONEY_DIGITS})"
_MONEY = f"Nullable({_EXACT})"
_NAME, _OPTIONAL_NAME = "LowCardinality(String)", "LowCardinality(Nullable(String))"
_TYPES: Final = {
    **dict.fromkeys(MONEY_COLUMNS, _MONEY),
    **dict.fromkeys(LIST_COLUMNS, "Array(LowCardinality(String))"),
    **dict.fromkeys(COUNT_MAP_COLUMNS, "Map(LowCardinality(String), Int64)"),
    UNITS_COLUMN: f"Map(LowCardinality(String), {_EXACT})",
    **dict.fromkeys(PERSONAL_COLUMNS, "Nullable(String)"),
    **dict.fromkeys(("v", "attempt", "attempts", "first", "last"), "Int64"),
    **dict.fromkeys(("key", "tenant", "dialect", "state", "cache", "config"), _NAME),
    **dict.fromkeys(
        ("input", "cache_read", "cache_write", "output", "reasoning"), "Nullable(Int64)"
    ),
    **dict.fromkeys(("confidence", "near", "first_content", "duration"), "Nullable(Float64)"),
    **dict.fromkeys(("score", "since"), "Nullable(Float64)"),
    **dict.fromkeys(("at", "until"), "Float64"),
    **dict.fromkeys(("id", "segment"), "String"),
    "status": "Nullable(Int64)",
    "stream": "Bool",
}
"""The types of columns; all others are names, and may be unknown."""


def _define(column: str) -> str:
    return f"`{column}` {_TYPES.get(column, _OPTIONAL_NAME)} CODEC(ZSTD(1))"


def _build_table(name: str, columns: tuple[str, ...], engine: str, *more_definitions: str) -> str:
    definitions = [*map(_define, columns), *more_definitions]
    return f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(definitions)}) ENGINE = {engine}"


_REPRICED_COLUMNS = ("cost", "estimate", "baseline", "price")
_TOKEN_COLUMNS = ("input", "cache_read", "cache_write", "output", "reasoning")
_MAPS = (*sorted(COUNT_MAP_COLUMNS), UNITS_COLUMN)
_MASKED_COLUMNS = (*_TOKEN_COLUMNS, *_MAPS, "cost", "reserved")
_TIME = "toDateTime64({}, 6, 'UTC') AS time, toDate(toDateTime({}, 'UTC')) AS day"
_TIMES = _TIME.format("at", "at")


_IS_UNKNOWN = "if(p.cost IS NULL, p.unknown_without_cost, p.unknown_with_cost)"


def _build_priced_view() -> str:
    """Return the view `priced`: each call as in the journal, at its latest price."""
    kept_columns = [
        f"e.{name} AS {name}"
        for name in TABLE_ENTRY_COLUMNS
        if name not in (*_REPRICED_COLUMNS, "computed_cost")
    ]
    priced_columns = [
        f"if(r.priced_at > 0, r.{name}, e.{name}) AS {name}" for name in _REPRICED_COLUMNS
    ]
    return f"""
    CREATE OR REPLACE VIEW priced AS SELECT
        {", ".join(kept_columns)}, {", ".join(priced_columns)},
        coalesce(r.computed_cost, e.computed_cost) AS computed_cost,
        if(r.priced_at > 0, r.priced_at, NULL) AS repriced,
        e.unknown_without_cost AS unknown_without_cost, e.unknown_with_cost AS unknown_with_cost
    FROM entries AS e FINAL
    LEFT ANY JOIN (SELECT *, at AS priced_at FROM reprices FINAL) AS r ON r.id = e.id
    """  # noqa: S608 - columns of this module


def _build_costs_view() -> str:
    """Return the view `costs`: tokens and cost as the provider billed them."""
    plain_columns = [name for name in TABLE_ENTRY_COLUMNS if name not in _MASKED_COLUMNS]
    masked_columns = [
        *(f"if({NOT_FROM_CACHE}, p.{name}, NULL) AS {name}" for name in _TOKEN_COLUMNS),
        *(f"mapFilter((k, n) -> {NOT_FROM_CACHE}, p.{name}) AS {name}" for name in _MAPS),
        "if(state = 'cache_hit', coalesce(p.cost, 0), p.cost) AS cost",
        f"if({_IS_UNKNOWN} OR p.repriced IS NULL, p.reserved, NULL) AS reserved",
    ]
    return f"""
    CREATE OR REPLACE VIEW costs AS SELECT *, toFloat64(cost) AS cost_usd,
        toFloat64(baseline) AS baseline_usd, toFloat64(baseline) - toFloat64(cost) AS saved
    FROM (SELECT
        {", ".join([*plain_columns, "repriced", _TIMES, *masked_columns])},
        {_IS_UNKNOWN} AS unknown
    FROM priced AS p) AS calls
    """  # noqa: S608 - columns of this module


_FEEDBACK_VIEW = f"""
    CREATE OR REPLACE VIEW feedback AS SELECT
        {", ".join(f"f.{name} AS {name}" for name in FEEDBACK_COLUMNS)},
        e.lab AS lab, e.tier AS given, e.model AS model, e.source AS source, e.rule AS rule,
        e.confidence AS confidence, {_TIME.format("f.at", "f.at")}
    FROM verdicts AS f FINAL JOIN entries AS e FINAL ON e.id = f.id AND e.tenant = f.tenant
"""  # noqa: S608 - columns of this module
_ATTEMPTS_VIEW = f"""
    CREATE OR REPLACE VIEW attempts AS SELECT
        {", ".join(ATTEMPT_COLUMNS)}, {_TIMES}, toFloat64(cost) AS cost_usd
    FROM failures FINAL
"""  # noqa: S608 - columns of this module
_DAMAGES_VIEW = f"""
    CREATE OR REPLACE VIEW damages AS SELECT {", ".join(DAMAGE_COLUMNS)} FROM gaps FINAL
"""  # noqa: S608 - columns of this module
_DAY_SUMS = ("cost", "wasted", "estimate")
_DAYS_VIEW = f"""
    CREATE OR REPLACE VIEW days AS SELECT
        day, lab, tier, model, count(*) AS calls,
        countIf(state = 'cache_hit') AS cached,
        countIf(state IN ('failed', 'refused', 'unknown_crash')) AS failed,
        countIf(c.unknown) AS unknown,
        {", ".join(f"sum(c.{name}) AS {name}" for name in _TOKEN_COLUMNS)},
        {", ".join(f"sum(toFloat64(c.{name})) AS {name}" for name in _DAY_SUMS)},
        sumIf(c.baseline_usd, c.cost IS NOT NULL) AS baseline, sum(c.saved) AS saved
    FROM costs AS c GROUP BY day, lab, tier, model
"""  # noqa: S608 - columns of this module

TABLES_BY_MONTH: Final = ("entries", "failures")
"""Tables whose partitions are months."""
_MONTH = "month UInt32 CODEC(ZSTD(1))"
_LONG_AMOUNTS = "long_amounts Map(String, String) CODEC(ZSTD(1))"
"""The column of amounts with more than MONEY_DIGITS digits, as text; they count as unknown."""
# Computed as rows come in: for each question it would take as long as all sums together.
_UNKNOWN_FLAGS = tuple(
    f"{name} UInt8 MATERIALIZED {UNKNOWN_COST.replace('cost IS NULL', has_no_cost)} CODEC(ZSTD(1))"
    for name, has_no_cost in (("unknown_without_cost", "true"), ("unknown_with_cost", "false"))
)
_CLICKHOUSE_1 = (
    _build_table(
        "entries",
        TABLE_ENTRY_COLUMNS,
        "ReplacingMergeTree(rank) PARTITION BY month ORDER BY id",
        _LONG_AMOUNTS,
        "rank UInt8 CODEC(ZSTD(1))",
        *_UNKNOWN_FLAGS,
        _MONTH,
        "INDEX entries_at at TYPE minmax GRANULARITY 1",
    ),
    _build_table(
        "failures",
        ATTEMPT_COLUMNS,
        "ReplacingMergeTree PARTITION BY month ORDER BY (id, attempt)",
        _LONG_AMOUNTS,
        _MONTH,
    ),
    _build_table("reprices", REPRICE_COLUMNS, "ReplacingMergeTree(at) ORDER BY id", _LONG_AMOUNTS),
    _build_table("verdicts", FEEDBACK_COLUMNS, "ReplacingMergeTree(at) ORDER BY id"),
    _build_table("gaps", DAMAGE_COLUMNS, "ReplacingMergeTree ORDER BY id"),
    _build_priced_view(),
    _build_costs_view(),
    _FEEDBACK_VIEW,
    _ATTEMPTS_VIEW,
    _DAMAGES_VIEW,
    _DAYS_VIEW,
)

# A new table has these columns already.
_CLICKHOUSE_2 = (
    *(
        f"ALTER TABLE entries ADD COLUMN IF NOT EXISTS {_define(column)}"
        for column in ("operation", UNITS_COLUMN)
    ),
    _build_priced_view(),
    _build_costs_view(),
)

_CLICKHOUSE_3 = (
    *(
        f"ALTER TABLE entries ADD COLUMN IF NOT EXISTS {_define(column)}"
        for column in ("checked", "escalated")
    ),
    _build_priced_view(),
    _build_costs_view(),
)

VERSIONS_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS ledger (version UInt32, at DateTime DEFAULT now())
    ENGINE = MergeTree ORDER BY version
"""
"""The table of the versions that the tables and views have had."""
CLICKHOUSE_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    *(_CLICKHOUSE_1, _CLICKHOUSE_2, _CLICKHOUSE_3),
)
"""Migrations from each version to the next; append only. Each statement may run again."""
