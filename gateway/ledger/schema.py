"""The tables and views of a store, in SQLite and PostgreSQL, as steps from version to version.

Four views are public, with the same columns in both:

`costs` is a row a call: the fields of `Entry` after its latest price, but for `basis`. Tokens are
what providers used, so those of an answer from the cache are null. cost, wasted, estimate, billed,
reserved and baseline are exact USD (text in SQLite, numeric in PostgreSQL); cost_usd, baseline_usd
and saved are for charts (floating point in SQLite, numeric in PostgreSQL). `unknown`: something
was, or may have been, billed, and nobody knows how much; `reserved` is what that may be at most.
`attempts` is a row a request that gave no answer, with the fields of `Attempt`.
`feedback` is a row a call of which somebody has said what became of its answer, with the fields of
`Feedback` and what had been decided.
`days` adds `costs` up by UTC day, lab, tier and model; its USD are as cost_usd, its `baseline` is
that of calls whose cost is known.
"""

from typing import Final

ENTRY: Final = (
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
    *("media", "response_id"),
)
"""Columns of `entries`: the fields of an Entry."""
ATTEMPT: Final = (
    *("v", "id", "attempt", "at", "provider", "account", "model", "status", "problem"),
    *("duration", "input", "output", "cost", "estimate", "reserved"),
)
"""Columns of `failures`: the fields of an Attempt."""
REPRICE: Final = ("v", "id", "at", "cost", "estimate", "baseline", "price")
"""Columns of `reprices`: the fields of a Reprice."""

FEEDBACK: Final = ("v", "id", "at", "key", "tenant", "verdict", "tier", "score")
"""Columns of `verdicts`: the fields of a Feedback."""


def inserts(mark: str) -> tuple[str, str, str, str]:
    """The statements that store an entry, its `seq` at the end, an attempt, a reprice and feedback.

    `mark` is the place of a value. A call's own row takes the place of recovery's, a later price or
    feedback that of an earlier one; else what is there stays.
    """
    return (
        _insert("entries", (*ENTRY, "seq"), mark) + KEPT,
        _insert("failures", ATTEMPT, mark) + "(id, attempt) DO NOTHING",
        _insert("reprices", REPRICE, mark)
        + f"(id) DO UPDATE SET {_taken(REPRICE)} WHERE excluded.at > reprices.at",
        _insert("verdicts", FEEDBACK, mark)
        + f"(id) DO UPDATE SET {_taken(FEEDBACK)} WHERE excluded.at > verdicts.at",
    )


def _insert(table: str, columns: tuple[str, ...], mark: str) -> str:
    marks = ", ".join([mark] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT "  # noqa: S608


def _taken(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in columns)


KEPT: Final = (
    f"(id) DO UPDATE SET {_taken((*ENTRY, 'seq'))}"
    " WHERE entries.state = 'unknown_crash' AND excluded.state <> 'unknown_crash'"
)
"""What becomes of an entry whose call has one."""


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
    # What a provider used and billed: of an answer from the cache, nothing, whatever its recording
    # had used. `unknown`: something was, or may have been, billed, and nobody knows how much.
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

# Views stand here as they are in both; a step that changes one has its own text.
_LATEST = ("cost", "estimate", "baseline", "price")
_BASIS = ("basis",)  # came later, and is in no public view: queries are not asked of it
_TALK = ("conversation", "switch_cost")  # came later
_NEAR = ("near",)  # came later
_MEDIA = ("media", "response_id")  # came later
_SHOWN = tuple(name for name in ENTRY if name not in (*_BASIS, *_TALK, *_NEAR, *_MEDIA))


def _priced(*more: str) -> str:
    """The view `priced`, with `more` of the columns at its end."""
    return f"""
    CREATE VIEW priced AS SELECT
        e.seq, {", ".join(f"e.{name}" for name in _SHOWN if name not in _LATEST)}, r.at AS repriced,
        {", ".join(f"CASE WHEN r.id IS NULL THEN e.{n} ELSE r.{n} END AS {n}" for n in _LATEST)}
        {"".join(f", e.{name}" for name in more)}
    FROM entries AS e LEFT JOIN reprices AS r ON r.id = e.id
    """  # noqa: S608 - columns of this module


_USED = ("input", "cache_read", "cache_write", "output", "reasoning")
_MASKED = (*_USED, "cache_write_by", "tools", "cost", "reserved")
# A call that was cut had its answer from the cache too where `cache` says so.
_OWN = "state <> 'cache_hit' AND cache <> 'hit'"
# Rows of version 1 do not tell what their failed attempts cost.
_UNKNOWN = f"""(
    cost IS NULL AND (
        state IN ('settled', 'estimated', 'aborted', 'unknown_crash')
        OR state = 'failed' AND {" + ".join(f"coalesce({name}, 0)" for name in _USED)} > 0
    )
    OR wasted IS NULL AND v > 1 AND state NOT IN ('cache_hit', 'refused') AND attempts
        > CASE WHEN state IN ('settled', 'estimated', 'aborted') THEN 1 ELSE 0 END
)"""


def _costs(*more: str, time: str, day: str, usd: str) -> str:
    """The view `costs`, with `more` columns at its end; `usd` is the type of what is for charts."""
    plain = [name for name in _SHOWN if name not in _MASKED]
    own = [*plain, "repriced", "time", "day", *_USED, "cache_write_by", "tools", "cost", "reserved"]
    return f"""
    CREATE VIEW costs AS SELECT
        {", ".join([*own, "unknown"]) if more else "*"},
        CAST(cost AS {usd}) AS cost_usd, CAST(baseline AS {usd}) AS baseline_usd,
        CAST(baseline AS {usd}) - CAST(cost AS {usd}) AS saved
        {"".join(f", {name}" for name in more)}
    FROM (SELECT
        {", ".join(plain)}, repriced,
        {time} AS time, {day} AS day,
        {", ".join(f"CASE WHEN {_OWN} THEN {n} END AS {n}" for n in _USED)},
        CASE WHEN {_OWN} THEN cache_write_by ELSE '{{}}' END AS cache_write_by,
        CASE WHEN {_OWN} THEN tools ELSE '{{}}' END AS tools,
        CASE WHEN state = 'cache_hit' THEN coalesce(cost, '0') ELSE cost END AS cost,
        CASE WHEN {_UNKNOWN} THEN reserved END AS reserved,
        {_UNKNOWN} AS unknown{"".join(f", {_shown(name)}" for name in more)}
    FROM priced) AS calls
    """  # noqa: S608 - columns of this module


def _shown(name: str) -> str:
    """Return a later column as `costs` has it: what a provider used is that of its own calls."""
    return f"CASE WHEN {_OWN} THEN media ELSE '{{}}' END AS media" if name == "media" else name


def _attempts(*, time: str, day: str, usd: str) -> str:
    return f"""
    CREATE VIEW attempts AS SELECT
        {", ".join(ATTEMPT)}, {time} AS time, {day} AS day, CAST(cost AS {usd}) AS cost_usd
    FROM failures
    """  # noqa: S608 - columns of this module


def _days(usd: str) -> str:
    money = ("cost", "wasted", "estimate")
    return f"""
    CREATE VIEW days AS SELECT
        day, lab, tier, model, count(*) AS calls,
        count(*) FILTER (WHERE state = 'cache_hit') AS cached,
        count(*) FILTER (WHERE state IN ('failed', 'refused', 'unknown_crash')) AS failed,
        count(*) FILTER (WHERE unknown) AS unknown,
        {", ".join(f"sum({name}) AS {name}" for name in _USED)},
        {", ".join(f"sum(CAST({name} AS {usd})) AS {name}" for name in money)},
        sum(baseline_usd) FILTER (WHERE cost IS NOT NULL) AS baseline, sum(saved) AS saved
    FROM costs GROUP BY day, lab, tier, model
    """  # noqa: S608 - columns of this module


_SQLITE_TIME = {"time": "datetime(at, 'unixepoch')", "day": "date(at, 'unixepoch')", "usd": "REAL"}
_SQLITE_2 = (
    "DROP VIEW costs",
    # The store's own name, and the number of the last row that came in.
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
    _priced(),
    _costs(**_SQLITE_TIME),
    _attempts(**_SQLITE_TIME),
    _days("REAL"),
)

_POSTGRES_TIME = {
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
    _priced(),
    _costs(**_POSTGRES_TIME),
    _attempts(**_POSTGRES_TIME),
    _days("NUMERIC"),
)

# What is saved is unknown where nothing is compared, also of calls that failed.
_SQLITE_3 = ("DROP VIEW costs", _costs(**_SQLITE_TIME))
# Not dropped: other people's views may be made of it.
_POSTGRES_2 = (_costs(**_POSTGRES_TIME).replace("CREATE VIEW", "CREATE OR REPLACE VIEW"),)


def _verdicts(real: str) -> str:
    return f"""
    CREATE TABLE verdicts (
        v INTEGER NOT NULL,
        id TEXT PRIMARY KEY,
        at {real} NOT NULL,
        key TEXT NOT NULL,
        tenant TEXT NOT NULL,
        verdict TEXT,
        tier TEXT,
        score {real}
    )
    """


def _feedback(*, time: str, day: str, usd: str) -> str:  # noqa: ARG001 - the times of the others
    """The view `feedback`: of calls of the tenant that speaks, and of no other."""
    return f"""
    CREATE VIEW feedback AS SELECT *, {time} AS time, {day} AS day FROM (SELECT
        {", ".join(f"f.{name}" for name in FEEDBACK)}, e.lab, e.tier AS given, e.model, e.source,
        e.rule, e.confidence
    FROM verdicts AS f JOIN entries AS e ON e.id = f.id AND e.tenant = f.tenant) AS said
    """  # noqa: S608 - columns of this module


_SQLITE_4 = (_verdicts("REAL"), _feedback(**_SQLITE_TIME))
_POSTGRES_3 = (_verdicts("DOUBLE PRECISION"), _feedback(**_POSTGRES_TIME))
_SQLITE_5 = (
    "ALTER TABLE entries ADD COLUMN basis TEXT",
    "DROP VIEW priced",
    _priced(*_BASIS),
)
_POSTGRES_4 = (
    "ALTER TABLE entries ADD COLUMN basis JSONB",
    _priced(*_BASIS).replace("CREATE VIEW", "CREATE OR REPLACE VIEW"),
)

_SQLITE_6 = (
    "ALTER TABLE entries ADD COLUMN conversation TEXT",
    "ALTER TABLE entries ADD COLUMN switch_cost TEXT",
    "DROP VIEW priced",
    _priced(*_BASIS, *_TALK),
    "DROP VIEW costs",
    _costs(*_TALK, **_SQLITE_TIME),
)
_POSTGRES_5 = (
    "ALTER TABLE entries ADD COLUMN conversation TEXT",
    "ALTER TABLE entries ADD COLUMN switch_cost NUMERIC",
    _priced(*_BASIS, *_TALK).replace("CREATE VIEW", "CREATE OR REPLACE VIEW"),
    _costs(*_TALK, **_POSTGRES_TIME).replace("CREATE VIEW", "CREATE OR REPLACE VIEW"),
)

_SQLITE_7 = (
    "ALTER TABLE entries ADD COLUMN near REAL",
    "DROP VIEW priced",
    _priced(*_BASIS, *_TALK, *_NEAR),
    "DROP VIEW costs",
    _costs(*_TALK, *_NEAR, **_SQLITE_TIME),
)
_POSTGRES_6 = (
    "ALTER TABLE entries ADD COLUMN near DOUBLE PRECISION",
    _priced(*_BASIS, *_TALK, *_NEAR).replace("CREATE VIEW", "CREATE OR REPLACE VIEW"),
    _costs(*_TALK, *_NEAR, **_POSTGRES_TIME).replace("CREATE VIEW", "CREATE OR REPLACE VIEW"),
)

_SQLITE_8 = (
    "ALTER TABLE entries ADD COLUMN media TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE entries ADD COLUMN response_id TEXT",
    "DROP VIEW priced",
    _priced(*_BASIS, *_TALK, *_NEAR, *_MEDIA),
    "DROP VIEW costs",
    _costs(*_TALK, *_NEAR, *_MEDIA, **_SQLITE_TIME),
)
_POSTGRES_7 = (
    "ALTER TABLE entries ADD COLUMN media JSONB NOT NULL DEFAULT '{}'",
    "ALTER TABLE entries ADD COLUMN response_id TEXT",
    _priced(*_BASIS, *_TALK, *_NEAR, *_MEDIA).replace("CREATE VIEW", "CREATE OR REPLACE VIEW"),
    _costs(*_TALK, *_NEAR, *_MEDIA, **_POSTGRES_TIME).replace(
        "CREATE VIEW", "CREATE OR REPLACE VIEW"
    ),
)

_SQLITE_9 = (
    # Files that took the place of one that was damaged or gone.
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

SQLITE: tuple[tuple[str, ...], ...] = (
    *(_SQLITE_1, _SQLITE_2, _SQLITE_3, _SQLITE_4, _SQLITE_5, _SQLITE_6, _SQLITE_7, _SQLITE_8),
    _SQLITE_9,
)
"""What leads from each `PRAGMA user_version` to the next; only ever appended to."""
POSTGRES: tuple[tuple[str, ...], ...] = (
    *(_POSTGRES_1, _POSTGRES_2, _POSTGRES_3, _POSTGRES_4, _POSTGRES_5, _POSTGRES_6, _POSTGRES_7),
)
"""What leads from each `version` of the table `ledger` to the next; only ever appended to."""
