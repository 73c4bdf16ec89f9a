"""The tables and views of a store, in SQLite and PostgreSQL, as migrations between versions.

Five views are public, with the same columns in both:

`costs` has a row for each call: the fields of `FinalRow` at its latest price, without `basis`.
Tokens are usage at providers, so an answer from the cache has null. `units` are the quantities that
providers bill beside tokens, as JSON with exact decimals as text. cost, wasted, estimate, billed,
computed_cost, reserved and baseline are exact USD (text in SQLite, numeric in PostgreSQL).
cost_usd, baseline_usd and saved are for charts (floating point in SQLite, numeric in PostgreSQL).
`unknown`: something was or may have been billed, and nobody knows how much. `reserved` is the
most that the call may have cost beyond `cost`, which may also be an estimate.
`attempts` has a row for each request that gave no answer, with the fields of `AttemptRow`.
`feedback` has a row for each call that a client has judged, with the fields of `FeedbackRow` and
the decision for the call.
`damages` has a row for each gap in the journals, with the fields of `DamagedRow`.
`days` adds up `costs` by UTC day, lab, tier and model. Its USD are as in cost_usd. Its `baseline`
covers the calls with a known cost.
"""

from typing import Final

from gateway.ledger import partitions
from gateway.ledger.rollup_schema import PostgresRollupSql, SqliteRollupSql

ENTRY_COLUMNS: Final = (
    *("v", "id", "at", "key", "tenant", "tags", "dialect", "asked", "stream", "state", "status"),
    *("problem", "aborted_by", "lab", "tier", "source", "rule", "confidence", "conversation"),
    *(
        "switch_cost",
        "provider",
        "account",
        "model",
        "effort",
        "service",
        "served",
        "attempts",
        "cache",
        "near",
    ),
    *("dropped", "usage"),
    *("input", "cache_read", "cache_write", "cache_write_by", "output", "reasoning", "tools"),
    *("cost", "wasted", "estimate", "billed", "reserved", "baseline", "price", "first_content"),
    *("duration", "upstream_id", "config", "basis"),
    *("media", "response_id", "arm", "guards", "team", "end_user", "computed_cost"),
    *("finish", "operation", "units", "checked", "escalated"),
)
"""Columns of `entries`: the fields of a FinalRow."""
ATTEMPT_COLUMNS: Final = (
    *("v", "id", "attempt", "at", "provider", "account", "model", "status", "problem"),
    *("duration", "input", "output", "cost", "estimate", "reserved"),
)
"""Columns of `failures`: the fields of an AttemptRow."""
REPRICE_COLUMNS: Final = (
    *("v", "id", "at", "cost", "estimate", "baseline", "price", "computed_cost"),
)
"""Columns of `reprices`: the fields of a RepriceRow."""

FEEDBACK_COLUMNS: Final = ("v", "id", "at", "key", "tenant", "verdict", "tier", "score")
"""Columns of `verdicts`: the fields of a FeedbackRow."""

DAMAGE_COLUMNS: Final = ("v", "id", "segment", "problem", "first", "last", "since", "until")
"""Columns of `gaps`: the fields of a DamagedRow."""


def build_inserts(placeholder: str) -> tuple[str, str, str, str]:
    """Return statements that store an attempt, a reprice, feedback and a damage.

    `placeholder` stands for a value. A later price or feedback replaces an earlier one. Every other
    existing row stays.
    """
    return (
        build_insert("failures", ATTEMPT_COLUMNS, placeholder) + "(id, attempt) DO NOTHING",
        build_insert("reprices", REPRICE_COLUMNS, placeholder)
        + f"(id) DO UPDATE SET {_build_assignments(REPRICE_COLUMNS)}"
        + " WHERE excluded.at > reprices.at",
        build_insert("verdicts", FEEDBACK_COLUMNS, placeholder)
        + f"(id) DO UPDATE SET {_build_assignments(FEEDBACK_COLUMNS)}"
        + " WHERE excluded.at > verdicts.at",
        build_insert("gaps", DAMAGE_COLUMNS, placeholder) + "(id) DO NOTHING",
    )


def build_insert(table: str, columns: tuple[str, ...], placeholder: str) -> str:
    """Return a statement that stores a row, up to the key for which another row may be there."""
    placeholders = ", ".join([placeholder] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({placeholders}) ON CONFLICT "  # noqa: S608


def _build_assignments(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in columns)


ENTRY_CONFLICT_CLAUSE: Final = (
    f"(id) DO UPDATE SET {_build_assignments((*ENTRY_COLUMNS, 'seq'))}"
    " WHERE entries.state = 'unknown_crash' AND excluded.state <> 'unknown_crash'"
)
"""The action if the call already has an entry: only a call's own row replaces recovery's row."""


_SQLITE_1 = (
    """
    CREATE TABLE segments (
        name TEXT PRIMARY KEY,
        offset INTEGER NOT NULL,   -- bytes that have been read
        skipped INTEGER NOT NULL   -- lines of these that were no row
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE entries (
        id TEXT PRIMARY KEY,
        at REAL NOT NULL,          -- seconds since the epoch
        key TEXT NOT NULL,
        tenant TEXT NOT NULL,
        tags TEXT NOT NULL,        -- a JSON list
        dialect TEXT NOT NULL,
        asked TEXT,
        stream INTEGER NOT NULL,
        state TEXT NOT NULL,
        status INTEGER,
        problem TEXT,
        aborted_by TEXT,
        lab TEXT,
        tier TEXT,
        source TEXT,
        rule TEXT,
        confidence REAL,
        provider TEXT,
        account TEXT,
        model TEXT,
        effort TEXT,
        served TEXT,
        attempts INTEGER NOT NULL,
        cache TEXT NOT NULL,
        dropped TEXT NOT NULL,     -- a JSON list
        input INTEGER,
        cache_read INTEGER,
        cache_write INTEGER,
        output INTEGER,
        reasoning INTEGER,
        cost TEXT,                 -- USD, exact
        price TEXT,
        first_content REAL,
        duration REAL,
        upstream_id TEXT,
        config TEXT NOT NULL
    )
    """,
    "CREATE INDEX entries_at ON entries (at)",
    # Usage and cost at the provider: none for an answer from the cache, whatever the recorded call
    # used. `unknown`: something was or may have been billed, and nobody knows how much.
    """
    CREATE VIEW costs AS SELECT
        id, at, datetime(at, 'unixepoch') AS time, date(at, 'unixepoch') AS day, key, tenant, tags,
        dialect, asked, stream, state, status, problem, aborted_by, lab, tier, source, rule,
        provider, account, model, effort, served, attempts, cache, first_content, duration, price,
        config,
        CASE WHEN state <> 'cache_hit' THEN input END AS input,
        CASE WHEN state <> 'cache_hit' THEN cache_read END AS cache_read,
        CASE WHEN state <> 'cache_hit' THEN cache_write END AS cache_write,
        CASE WHEN state <> 'cache_hit' THEN output END AS output,
        CASE WHEN state <> 'cache_hit' THEN reasoning END AS reasoning,
        CASE WHEN state = 'cache_hit' THEN coalesce(cost, '0') ELSE cost END AS cost,
        CAST(CASE WHEN state = 'cache_hit' THEN coalesce(cost, '0') ELSE cost END AS REAL)
            AS cost_usd,
        cost IS NULL AND (
            state IN ('settled', 'estimated', 'aborted', 'unknown_crash')
            OR state <> 'cache_hit' AND coalesce(input, 0) + coalesce(cache_read, 0)
                + coalesce(cache_write, 0) + coalesce(output, 0) + coalesce(reasoning, 0) > 0
        ) AS unknown
    FROM entries
    """,
)

# Views as in both databases; a migration that changes a view has its own text.
_REPRICED_COLUMNS = ("cost", "estimate", "baseline", "price")
_BASIS_COLUMNS = ("basis",)  # came later, and is in no public view: no query filters by it
_CONVERSATION_COLUMNS = ("conversation", "switch_cost")  # came later
_NEAR_COLUMNS = ("near",)  # came later
_MEDIA_COLUMNS = ("media", "response_id")  # came later
_ARM_COLUMNS = ("arm",)  # came later
_COLUMNS_UP_TO_ARM = (*_CONVERSATION_COLUMNS, *_NEAR_COLUMNS, *_MEDIA_COLUMNS, *_ARM_COLUMNS)
_GUARD_COLUMNS = ("guards",)  # came later
_COLUMNS_UP_TO_GUARDS = (*_COLUMNS_UP_TO_ARM, *_GUARD_COLUMNS)
_TEAM_COLUMNS = ("team",)  # came later
_COLUMNS_UP_TO_TEAM = (*_COLUMNS_UP_TO_GUARDS, *_TEAM_COLUMNS)
_END_USER_COLUMNS = ("end_user",)  # came later
_COLUMNS_UP_TO_END_USER = (*_COLUMNS_UP_TO_TEAM, *_END_USER_COLUMNS)
_COMPUTED_COST_COLUMNS = ("computed_cost",)  # came later
_COLUMNS_UP_TO_COMPUTED_COST = (*_COLUMNS_UP_TO_END_USER, *_COMPUTED_COST_COLUMNS)
_FINISH_COLUMNS = ("finish",)  # came later
_COLUMNS_UP_TO_FINISH = (*_COLUMNS_UP_TO_COMPUTED_COST, *_FINISH_COLUMNS)
_UNIT_COLUMNS = ("operation", "units")  # came later
_COLUMNS_UP_TO_UNITS = (*_COLUMNS_UP_TO_FINISH, *_UNIT_COLUMNS)
_CHECK_COLUMNS = ("checked", "escalated")  # came later
_LATER_PUBLIC_COLUMNS = (*_COLUMNS_UP_TO_UNITS, *_CHECK_COLUMNS)
_ORIGINAL_COLUMNS = tuple(
    name for name in ENTRY_COLUMNS if name not in (*_BASIS_COLUMNS, *_LATER_PUBLIC_COLUMNS)
)


def _build_priced_view(*later_columns: str) -> str:
    """Return the view `priced`, with `later_columns` at its end."""
    kept_columns = [name for name in _ORIGINAL_COLUMNS if name not in _REPRICED_COLUMNS]
    repriced_columns = [
        f"CASE WHEN r.id IS NULL THEN e.{name} ELSE r.{name} END AS {name}"
        for name in _REPRICED_COLUMNS
    ]
    return f"""
    CREATE VIEW priced AS SELECT
        e.seq, {", ".join(f"e.{name}" for name in kept_columns)}, r.at AS repriced,
        {", ".join(repriced_columns)}
        {"".join(f", {_build_later_priced_column(name)}" for name in later_columns)}
    FROM entries AS e LEFT JOIN reprices AS r ON r.id = e.id
    """  # noqa: S608 - columns of this module


def _build_later_priced_column(name: str) -> str:
    """Return a later column of `priced`; older reprices have no `computed_cost`."""
    return (
        "coalesce(r.computed_cost, e.computed_cost) AS computed_cost"
        if name == "computed_cost"
        else f"e.{name}"
    )


_TOKEN_COLUMNS = ("input", "cache_read", "cache_write", "output", "reasoning")
_MASKED_COLUMNS = (*_TOKEN_COLUMNS, "cache_write_by", "tools", "cost", "reserved")
# `cache` also marks an aborted call whose answer came from the cache.
NOT_FROM_CACHE = "state <> 'cache_hit' AND cache <> 'hit'"
# Rows of version 1 do not have the cost of their failed attempts.
UNKNOWN_COST = f"""(
    cost IS NULL AND (
        state IN ('settled', 'estimated', 'aborted', 'unknown_crash')
        OR state = 'failed' AND {" + ".join(f"coalesce({name}, 0)" for name in _TOKEN_COLUMNS)} > 0
    )
    OR wasted IS NULL AND v > 1 AND state NOT IN ('cache_hit', 'refused') AND attempts
        > CASE WHEN state IN ('settled', 'estimated', 'aborted') THEN 1 ELSE 0 END
)"""


def _build_costs_view(*later_columns: str, time: str, day: str, usd: str) -> str:
    """Return the view `costs`, with `later_columns` at its end; `usd` is the type for charts."""
    plain_columns = [name for name in _ORIGINAL_COLUMNS if name not in _MASKED_COLUMNS]
    columns = [
        *plain_columns,
        "repriced",
        "time",
        "day",
        *_TOKEN_COLUMNS,
        "cache_write_by",
        "tools",
        "cost",
        "reserved",
    ]
    token_columns = [
        f"CASE WHEN {NOT_FROM_CACHE} THEN {name} END AS {name}" for name in _TOKEN_COLUMNS
    ]
    last_columns = "".join(f", {_build_later_column(name)}" for name in later_columns)
    return f"""
    CREATE VIEW costs AS SELECT
        {", ".join([*columns, "unknown"]) if later_columns else "*"},
        CAST(cost AS {usd}) AS cost_usd, CAST(baseline AS {usd}) AS baseline_usd,
        CAST(baseline AS {usd}) - CAST(cost AS {usd}) AS saved
        {"".join(f", {name}" for name in later_columns)}
    FROM (SELECT
        {", ".join(plain_columns)}, repriced,
        {time} AS time, {day} AS day,
        {", ".join(token_columns)},
        CASE WHEN {NOT_FROM_CACHE} THEN cache_write_by ELSE '{{}}' END AS cache_write_by,
        CASE WHEN {NOT_FROM_CACHE} THEN tools ELSE '{{}}' END AS tools,
        CASE WHEN state = 'cache_hit' THEN coalesce(cost, '0') ELSE cost END AS cost,
        CASE WHEN {UNKNOWN_COST} OR repriced IS NULL THEN reserved END AS reserved,
        {UNKNOWN_COST} AS unknown{last_columns}
    FROM priced) AS calls
    """  # noqa: S608 - columns of this module


def _build_later_column(name: str) -> str:
    """Return a later column of `costs`: media and units are empty for an answer from the cache."""
    return (
        f"CASE WHEN {NOT_FROM_CACHE} THEN {name} ELSE '{{}}' END AS {name}"
        if name in ("media", "units")
        else name
    )


def _build_attempts_view(*, time: str, day: str, usd: str) -> str:
    return f"""
    CREATE VIEW attempts AS SELECT
        {", ".join(ATTEMPT_COLUMNS)}, {time} AS time, {day} AS day, CAST(cost AS {usd}) AS cost_usd
    FROM failures
    """  # noqa: S608 - columns of this module


def _build_days_view(usd: str) -> str:
    money_columns = ("cost", "wasted", "estimate")
    return f"""
    CREATE VIEW days AS SELECT
        day, lab, tier, model, count(*) AS calls,
        count(*) FILTER (WHERE state = 'cache_hit') AS cached,
        count(*) FILTER (WHERE state IN ('failed', 'refused', 'unknown_crash')) AS failed,
        count(*) FILTER (WHERE unknown) AS unknown,
        {", ".join(f"sum({name}) AS {name}" for name in _TOKEN_COLUMNS)},
        {", ".join(f"sum(CAST({name} AS {usd})) AS {name}" for name in money_columns)},
        sum(baseline_usd) FILTER (WHERE cost IS NOT NULL) AS baseline, sum(saved) AS saved
    FROM costs GROUP BY day, lab, tier, model
    """  # noqa: S608 - columns of this module


_SQLITE_EXPRESSIONS = {
    "time": "datetime(at, 'unixepoch')",
    "day": "date(at, 'unixepoch')",
    "usd": "REAL",
}
_SQLITE_2 = (
    "DROP VIEW costs",
    # The store's own id, and the number of the last row that came in.
    "CREATE TABLE ledger (id TEXT NOT NULL, seq INTEGER NOT NULL)",
    "INSERT INTO ledger SELECT lower(hex(randomblob(8))), count(*) FROM entries",
    "ALTER TABLE entries ADD COLUMN v INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE entries ADD COLUMN service TEXT",
    "ALTER TABLE entries ADD COLUMN usage TEXT",
    "ALTER TABLE entries ADD COLUMN cache_write_by TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE entries ADD COLUMN tools TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE entries ADD COLUMN wasted TEXT",
    "ALTER TABLE entries ADD COLUMN estimate TEXT",
    "ALTER TABLE entries ADD COLUMN billed TEXT",
    "ALTER TABLE entries ADD COLUMN reserved TEXT",
    "ALTER TABLE entries ADD COLUMN baseline TEXT",
    "ALTER TABLE entries ADD COLUMN seq INTEGER NOT NULL DEFAULT 0",
    """
    UPDATE entries SET seq = place
    FROM (SELECT id AS one, row_number() OVER (ORDER BY at, id) AS place FROM entries)
    WHERE id = one
    """,
    "CREATE UNIQUE INDEX entries_seq ON entries (seq)",
    """
    CREATE TABLE failures (
        v INTEGER NOT NULL,
        id TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        at REAL NOT NULL,
        provider TEXT NOT NULL,
        account TEXT,
        model TEXT NOT NULL,
        status INTEGER,
        problem TEXT NOT NULL,
        duration REAL,
        input INTEGER,
        output INTEGER,
        cost TEXT,
        estimate TEXT,
        reserved TEXT,
        PRIMARY KEY (id, attempt)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE reprices (
        v INTEGER NOT NULL,
        id TEXT PRIMARY KEY,
        at REAL NOT NULL,
        cost TEXT,
        estimate TEXT,
        baseline TEXT,
        price TEXT
    ) WITHOUT ROWID
    """,
    "ALTER TABLE segments RENAME TO old",
    """
    CREATE TABLE segments (
        folder TEXT NOT NULL,      -- the name that the folder has given itself
        name TEXT NOT NULL,
        bytes INTEGER NOT NULL,    -- that have been read
        skipped INTEGER NOT NULL,  -- lines of these that were no row
        PRIMARY KEY (folder, name)
    ) WITHOUT ROWID
    """,
    "INSERT INTO segments SELECT '', name, offset, skipped FROM old",
    "DROP TABLE old",
    _build_priced_view(),
    _build_costs_view(**_SQLITE_EXPRESSIONS),
    _build_attempts_view(**_SQLITE_EXPRESSIONS),
    _build_days_view("REAL"),
)

_POSTGRES_EXPRESSIONS = {
    "time": "to_timestamp(at)",
    "day": "(to_timestamp(at) AT TIME ZONE 'UTC')::date",
    "usd": "NUMERIC",
}
_POSTGRES_1 = (
    "CREATE TABLE ledger (version INTEGER NOT NULL, id TEXT NOT NULL, seq BIGINT NOT NULL)",
    "INSERT INTO ledger VALUES (0, replace(gen_random_uuid()::text, '-', ''), 0)",
    """
    CREATE TABLE segments (
        folder TEXT NOT NULL,
        name TEXT NOT NULL,
        bytes BIGINT NOT NULL,
        skipped BIGINT NOT NULL,
        PRIMARY KEY (folder, name)
    )
    """,
    """
    CREATE TABLE entries (
        seq BIGINT NOT NULL UNIQUE,
        v INTEGER NOT NULL,
        id TEXT PRIMARY KEY,
        at DOUBLE PRECISION NOT NULL,
        key TEXT NOT NULL,
        tenant TEXT NOT NULL,
        tags TEXT[] NOT NULL,
        dialect TEXT NOT NULL,
        asked TEXT,
        stream BOOLEAN NOT NULL,
        state TEXT NOT NULL,
        status BIGINT,
        problem TEXT,
        aborted_by TEXT,
        lab TEXT,
        tier TEXT,
        source TEXT,
        rule TEXT,
        confidence DOUBLE PRECISION,
        provider TEXT,
        account TEXT,
        model TEXT,
        effort TEXT,
        service TEXT,
        served TEXT,
        attempts BIGINT NOT NULL,
        cache TEXT NOT NULL,
        dropped TEXT[] NOT NULL,
        usage TEXT,
        input BIGINT,
        cache_read BIGINT,
        cache_write BIGINT,
        cache_write_by JSONB NOT NULL,
        output BIGINT,
        reasoning BIGINT,
        tools JSONB NOT NULL,
        cost NUMERIC,
        wasted NUMERIC,
        estimate NUMERIC,
        billed NUMERIC,
        reserved NUMERIC,
        baseline NUMERIC,
        price TEXT,
        first_content DOUBLE PRECISION,
        duration DOUBLE PRECISION,
        upstream_id TEXT,
        config TEXT NOT NULL
    )
    """,
    "CREATE INDEX entries_at ON entries (at)",
    """
    CREATE TABLE failures (
        v INTEGER NOT NULL,
        id TEXT NOT NULL,
        attempt BIGINT NOT NULL,
        at DOUBLE PRECISION NOT NULL,
        provider TEXT NOT NULL,
        account TEXT,
        model TEXT NOT NULL,
        status BIGINT,
        problem TEXT NOT NULL,
        duration DOUBLE PRECISION,
        input BIGINT,
        output BIGINT,
        cost NUMERIC,
        estimate NUMERIC,
        reserved NUMERIC,
        PRIMARY KEY (id, attempt)
    )
    """,
    """
    CREATE TABLE reprices (
        v INTEGER NOT NULL,
        id TEXT PRIMARY KEY,
        at DOUBLE PRECISION NOT NULL,
        cost NUMERIC,
        estimate NUMERIC,
        baseline NUMERIC,
        price TEXT
    )
    """,
    _build_priced_view(),
    _build_costs_view(**_POSTGRES_EXPRESSIONS),
    _build_attempts_view(**_POSTGRES_EXPRESSIONS),
    _build_days_view("NUMERIC"),
)

# Savings are unknown if there is no baseline to compare with, also for failed calls.
_SQLITE_3 = ("DROP VIEW costs", _build_costs_view(**_SQLITE_EXPRESSIONS))
# Not dropped: other views, made by users, may depend on it.
_POSTGRES_2 = (
    _build_costs_view(**_POSTGRES_EXPRESSIONS).replace("CREATE VIEW", "CREATE OR REPLACE VIEW"),
)


def _build_verdicts_table(float_type: str) -> str:
    return f"""
    CREATE TABLE verdicts (
        v INTEGER NOT NULL,
        id TEXT PRIMARY KEY,
        at {float_type} NOT NULL,
        key TEXT NOT NULL,
        tenant TEXT NOT NULL,
        verdict TEXT,
        tier TEXT,
        score {float_type}
    )
    """


def _build_feedback_view(*, time: str, day: str, usd: str) -> str:  # noqa: ARG001 - the times of the others
    """Return the view `feedback`, which covers only calls of the tenant that gave the feedback."""
    columns = ", ".join(f"f.{name}" for name in FEEDBACK_COLUMNS)
    return f"""
    CREATE VIEW feedback AS SELECT *, {time} AS time, {day} AS day FROM (SELECT
        {columns}, e.lab, e.tier AS given, e.model, e.source,
        e.rule, e.confidence
    FROM verdicts AS f JOIN entries AS e ON e.id = f.id AND e.tenant = f.tenant) AS said
    """  # noqa: S608 - columns of this module


_SQLITE_4 = (_build_verdicts_table("REAL"), _build_feedback_view(**_SQLITE_EXPRESSIONS))
_POSTGRES_3 = (
    _build_verdicts_table("DOUBLE PRECISION"),
    _build_feedback_view(**_POSTGRES_EXPRESSIONS),
)
_SQLITE_5 = (
    "ALTER TABLE entries ADD COLUMN basis TEXT",
    "DROP VIEW priced",
    _build_priced_view(*_BASIS_COLUMNS),
)
_POSTGRES_4 = (
    "ALTER TABLE entries ADD COLUMN basis JSONB",
    _build_priced_view(*_BASIS_COLUMNS).replace("CREATE VIEW", "CREATE OR REPLACE VIEW"),
)


def _replace_sqlite_views(*later_columns: str) -> tuple[str, ...]:
    """Return the statements that give both views of calls later columns."""
    return (
        "DROP VIEW priced",
        _build_priced_view(*_BASIS_COLUMNS, *later_columns),
        "DROP VIEW costs",
        _build_costs_view(*later_columns, **_SQLITE_EXPRESSIONS),
    )


def _replace_postgres_views(*later_columns: str) -> tuple[str, ...]:
    """Return the statements that give both views of calls later columns."""
    return tuple(
        view.replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
        for view in (
            _build_priced_view(*_BASIS_COLUMNS, *later_columns),
            _build_costs_view(*later_columns, **_POSTGRES_EXPRESSIONS),
        )
    )


_SQLITE_6 = (
    "ALTER TABLE entries ADD COLUMN conversation TEXT",
    "ALTER TABLE entries ADD COLUMN switch_cost TEXT",
    *_replace_sqlite_views(*_CONVERSATION_COLUMNS),
)
_POSTGRES_5 = (
    "ALTER TABLE entries ADD COLUMN conversation TEXT",
    "ALTER TABLE entries ADD COLUMN switch_cost NUMERIC",
    *_replace_postgres_views(*_CONVERSATION_COLUMNS),
)

_SQLITE_7 = (
    "ALTER TABLE entries ADD COLUMN near REAL",
    *_replace_sqlite_views(*_CONVERSATION_COLUMNS, *_NEAR_COLUMNS),
)
_POSTGRES_6 = (
    "ALTER TABLE entries ADD COLUMN near DOUBLE PRECISION",
    *_replace_postgres_views(*_CONVERSATION_COLUMNS, *_NEAR_COLUMNS),
)

_SQLITE_8 = (
    "ALTER TABLE entries ADD COLUMN media TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE entries ADD COLUMN response_id TEXT",
    *_replace_sqlite_views(*_CONVERSATION_COLUMNS, *_NEAR_COLUMNS, *_MEDIA_COLUMNS),
)
_POSTGRES_7 = (
    "ALTER TABLE entries ADD COLUMN media JSONB NOT NULL DEFAULT '{}'",
    "ALTER TABLE entries ADD COLUMN response_id TEXT",
    *_replace_postgres_views(*_CONVERSATION_COLUMNS, *_NEAR_COLUMNS, *_MEDIA_COLUMNS),
)

_SQLITE_9 = (
    # Files that replaced a damaged or missing one.
    """
    CREATE TABLE rebuilds (
        at REAL NOT NULL,
        reason TEXT NOT NULL,
        aside TEXT,           -- the name that the damaged file has now
        done REAL,            -- when all that the journals have was in it
        missing_until REAL    -- rows of earlier calls may be missing: their segments are gone
    )
    """,
)

_SQLITE_10 = (
    "ALTER TABLE entries ADD COLUMN arm TEXT",
    *_replace_sqlite_views(*_COLUMNS_UP_TO_ARM),
)
_POSTGRES_8 = (
    "ALTER TABLE entries ADD COLUMN arm TEXT",
    *_replace_postgres_views(*_COLUMNS_UP_TO_ARM),
)

_SQLITE_11 = (
    "ALTER TABLE entries ADD COLUMN guards TEXT NOT NULL DEFAULT '[]'",
    *_replace_sqlite_views(*_COLUMNS_UP_TO_GUARDS),
)
_POSTGRES_9 = (
    "ALTER TABLE entries ADD COLUMN guards TEXT[] NOT NULL DEFAULT '{}'",
    *_replace_postgres_views(*_COLUMNS_UP_TO_GUARDS),
)

_SQLITE_12 = (
    "ALTER TABLE entries ADD COLUMN team TEXT",
    *_replace_sqlite_views(*_COLUMNS_UP_TO_TEAM),
)
_POSTGRES_10 = (
    "ALTER TABLE entries ADD COLUMN team TEXT",
    *_replace_postgres_views(*_COLUMNS_UP_TO_TEAM),
)

_SQLITE_13 = (
    "ALTER TABLE entries ADD COLUMN end_user TEXT",
    *_replace_sqlite_views(*_COLUMNS_UP_TO_END_USER),
)
_POSTGRES_11 = (
    "ALTER TABLE entries ADD COLUMN end_user TEXT",
    *_replace_postgres_views(*_COLUMNS_UP_TO_END_USER),
)

_SQLITE_14 = (
    "ALTER TABLE entries ADD COLUMN computed_cost TEXT",
    "ALTER TABLE reprices ADD COLUMN computed_cost TEXT",
    *_replace_sqlite_views(*_COLUMNS_UP_TO_COMPUTED_COST),
)
_POSTGRES_12 = (
    "ALTER TABLE entries ADD COLUMN computed_cost NUMERIC",
    "ALTER TABLE reprices ADD COLUMN computed_cost NUMERIC",
    *_replace_postgres_views(*_COLUMNS_UP_TO_COMPUTED_COST),
)

_SQLITE_15 = (
    # Rows of journals that cannot be read.
    """
    CREATE TABLE gaps (
        id TEXT PRIMARY KEY,
        v INTEGER NOT NULL,
        segment TEXT NOT NULL,     -- a file of a journal
        problem TEXT NOT NULL,
        first INTEGER NOT NULL,    -- numbers of rows in the segment
        last INTEGER NOT NULL,
        since REAL,                -- when their calls may have begun, at the earliest
        until REAL NOT NULL        -- when they were written, at the latest
    )
    """,
    "CREATE VIEW damages AS SELECT v, id, segment, problem, first, last, since, until FROM gaps",
)
_POSTGRES_13 = (
    """
    CREATE TABLE gaps (
        id TEXT PRIMARY KEY,
        v INTEGER NOT NULL,
        segment TEXT NOT NULL,
        problem TEXT NOT NULL,
        first BIGINT NOT NULL,
        last BIGINT NOT NULL,
        since DOUBLE PRECISION,
        until DOUBLE PRECISION NOT NULL
    )
    """,
    _SQLITE_15[1],
)

_SQLITE_16 = (
    "DROP VIEW costs",
    _build_costs_view(*_COLUMNS_UP_TO_COMPUTED_COST, **_SQLITE_EXPRESSIONS),
)
_POSTGRES_14 = (
    _build_costs_view(*_COLUMNS_UP_TO_COMPUTED_COST, **_POSTGRES_EXPRESSIONS).replace(
        "CREATE VIEW", "CREATE OR REPLACE VIEW"
    ),
)
_POSTGRES_15 = partitions.build_migration(
    *(
        view.replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
        for view in (
            _build_priced_view(*_BASIS_COLUMNS, *_COLUMNS_UP_TO_COMPUTED_COST),
            _build_attempts_view(**_POSTGRES_EXPRESSIONS),
            _build_feedback_view(**_POSTGRES_EXPRESSIONS),
        )
    )
)

_SQLITE_17 = (
    "ALTER TABLE entries ADD COLUMN finish TEXT",
    *_replace_sqlite_views(*_COLUMNS_UP_TO_FINISH),
)
_POSTGRES_16 = (
    "ALTER TABLE entries ADD COLUMN finish TEXT",
    *_replace_postgres_views(*_COLUMNS_UP_TO_FINISH),
)

# Calls that recovery closed: a call's own row may replace them.
_OPEN_INDEX = "CREATE INDEX entries_unknown ON entries (id) WHERE state = 'unknown_crash'"
_SQLITE_18 = (_OPEN_INDEX, *SqliteRollupSql().build_tables())
_POSTGRES_17 = PostgresRollupSql().build_tables()
_SQLITE_19 = SqliteRollupSql().build_user_table()
_POSTGRES_18 = PostgresRollupSql().build_user_table()

_SQLITE_20 = (
    "ALTER TABLE entries ADD COLUMN operation TEXT",
    "ALTER TABLE entries ADD COLUMN units TEXT NOT NULL DEFAULT '{}'",
    *_replace_sqlite_views(*_COLUMNS_UP_TO_UNITS),
)
_POSTGRES_19 = (
    "ALTER TABLE entries ADD COLUMN operation TEXT",
    "ALTER TABLE entries ADD COLUMN units JSONB NOT NULL DEFAULT '{}'",
    *_replace_postgres_views(*_COLUMNS_UP_TO_UNITS),
)

_SQLITE_21 = (
    "ALTER TABLE entries ADD COLUMN checked TEXT",
    "ALTER TABLE entries ADD COLUMN escalated TEXT",
    *_replace_sqlite_views(*_LATER_PUBLIC_COLUMNS),
)
_POSTGRES_20 = (
    "ALTER TABLE entries ADD COLUMN checked TEXT",
    "ALTER TABLE entries ADD COLUMN escalated TEXT",
    *_replace_postgres_views(*_LATER_PUBLIC_COLUMNS),
)

SQLITE_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    *(_SQLITE_1, _SQLITE_2, _SQLITE_3, _SQLITE_4, _SQLITE_5, _SQLITE_6, _SQLITE_7, _SQLITE_8),
    *(_SQLITE_9, _SQLITE_10, _SQLITE_11, _SQLITE_12, _SQLITE_13, _SQLITE_14, _SQLITE_15),
    *(_SQLITE_16, _SQLITE_17, _SQLITE_18, _SQLITE_19, _SQLITE_20),
    _SQLITE_21,
)
"""Migrations from each `PRAGMA user_version` to the next; append only."""
POSTGRES_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    *(_POSTGRES_1, _POSTGRES_2, _POSTGRES_3, _POSTGRES_4, _POSTGRES_5, _POSTGRES_6, _POSTGRES_7),
    *(_POSTGRES_8, _POSTGRES_9, _POSTGRES_10, _POSTGRES_11, _POSTGRES_12, _POSTGRES_13),
    *(_POSTGRES_14, _POSTGRES_15, _POSTGRES_16, _POSTGRES_17, _POSTGRES_18, _POSTGRES_19),
    _POSTGRES_20,
)
"""Migrations from each `version` of the table `ledger` to the next; append only."""
