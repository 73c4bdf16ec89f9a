"""Measure questions to a ledger of 100 million calls: CPU of each, from sums in a SQLite store.

    python -m bench.ledger_scale [ROWS] [DAYS]

The store gets the rows of one day (20,000 by default), made at random from 50 keys, 8 teams, 8
models, 5 rules, 5,000 end users and more, and makes their sums. The other days (30 by default) get copies of these
sums, multiplied: rows of 100 million calls would take 40 GB. The questions are those of the
dashboard's pages, and `tiergate costs` by two names. Exit status: 0 the bound holds, 1 it was
missed.
"""

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC
from decimal import Decimal
from functools import partial
from itertools import batched
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from gateway.core.ledger_rows import FinalRow
from gateway.ledger.ingest import RowBatch
from gateway.ledger.rollup_schema import KIND_GROUPS, QUARTERS_PER_DAY, USER_DIMENSIONS
from gateway.ledger.sql_store import SqlStore
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.time_series import build_slots

BOUND = 300.0
"""Milliseconds of CPU that a question may take."""
USERS_BOUND = 600.0
"""The same for all end users: 5,000 of each day."""
CALLS = 100_000_000
_DAY_SECONDS = 86_400
_LAST_DAY = 20_752  # since the epoch
_BATCH_ROWS = 512
_END_USERS = 5_000
_OF_ALL_USERS = ("all by user", "all by key, user")
_TIERS = {
    "openai": ("fast", "smart", "reasoning"),
    "anthropic": ("fast", "smart"),
    "google": ("fast", "smart"),
    "local": ("fast",),
}


class Answer(NamedTuple):
    """A question, and what it took."""

    question: str
    groups: int
    milliseconds: float
    """CPU of this process."""
    bound: float


def measure(
    rows: int, days: int, clock: Callable[[], float] = time.process_time
) -> Iterator[Answer]:
    """Make a store, and yield what each question takes. `clock` counts seconds of CPU."""
    with tempfile.TemporaryDirectory(prefix="tiergate-bench-") as folder:
        store = SqliteStore(f"sqlite:///{Path(folder) / 'ledger.db'}")
        with closing(store):
            _fill(store, rows, days)
            for text, ask in _list_questions(store, days):
                started_at = clock()
                groups = len(ask())
                bound = USERS_BOUND if text in _OF_ALL_USERS else BOUND
                yield Answer(text, groups, (clock() - started_at) * 1000, bound)


def main(arguments: list[str] | None = None, clock: Callable[[], float] = time.process_time) -> int:
    """Measure and print; return the exit status."""
    numbers = [int(text) for text in (sys.argv[1:] if arguments is None else arguments)]
    rows, days = [*numbers, *(20_000, 30)[len(numbers) :]][:2]
    is_slow, slowest = False, 0.0
    for answer in measure(rows, days, clock):
        print(f"{answer.milliseconds:6.0f} ms  {answer.groups:6,} groups  {answer.question}")
        slowest = max(slowest, answer.milliseconds)
        is_slow |= answer.milliseconds > answer.bound
    bounds = f"the bound is {BOUND:.0f} ms, and {USERS_BOUND:.0f} ms for all end users"
    print(f"{slowest:6.0f} ms  the slowest; {bounds}")
    return int(is_slow)


def _list_questions(store: SqlStore, days: int) -> Iterator[tuple[str, Callable[[], list[Any]]]]:
    end = float((_LAST_DAY + 1) * _DAY_SECONDS)
    for span, length in ((1, "hour"), (min(days, 8), "hour"), (days, "day")):
        since = end - span * _DAY_SECONDS
        time_span: dict[str, Any] = {
            "since": since,
            "until": end,
            "slots": build_slots(length, since, end, UTC),  # type: ignore[arg-type]  # one of them
        }
        for name in ("tier", "model", "key", "tag"):
            for only in ({}, {"lab": ["openai"]}, {"key": ["key-1"]}):
                text = f"{span} days by {length}, by {name} {only or ''}"
                yield text, partial(store.sum_costs, [name], only=only, **time_span)
        text = f"{span} days by {length}, latency by model"
        yield text, partial(store.measure_latency, ["model"], **time_span)
    for by in (
        *(["key", "model"], ["rule", "source"], ["tag", "account"], ["key", "day"]),
        *(["user"], ["key", "user"]),
    ):
        yield f"all by {', '.join(by)}", partial(store.sum_costs, by)
    for only in ({"user": [_hash_user(0)]}, {"key": ["key-1"]}):
        yield f"all by user {only}", partial(store.sum_costs, ["user"], only=only)


def _fill(store: SqlStore, rows: int, days: int) -> None:
    start = float(_LAST_DAY * _DAY_SECONDS)
    with store.open_writer() as connection:
        _put(store, connection, _make_rows(rows, start, Random(1)))
    store.make_sums()
    with store.open_writer() as connection:
        # A row of each other day, for the time that the ledger covers.
        for day in range(1, days):
            _put(store, connection, _make_rows(1, start - day * _DAY_SECONDS, Random(day)))
        with store.transaction(connection):
            for by_day, groups in KIND_GROUPS.items():
                kinds = [str(kind.number) for group in groups for kind in group.kinds]
                _copy_sums(store, connection, kinds, 1 if by_day else QUARTERS_PER_DAY, days)
            factor = CALLS // (rows * days)
            changes = ", ".join(
                f"{name} = {name} * {factor}"
                for name in store.rollup_sql.sum_columns
                if not name.endswith("_digits")
            )
            for table in ("rollups", "rollup_users"):
                connection.execute(f"UPDATE {table} SET {changes}")  # noqa: S608 - of the schema
            connection.execute("DELETE FROM rollup_pending")


def _copy_sums(
    store: SqlStore, connection: Any, kinds: list[str], day_length: int, days: int
) -> None:
    """Copy the sums of the last day to all others."""
    sums, of_kinds = store.rollup_sql.sum_columns, f"kind IN ({', '.join(kinds)})"
    tables = [
        ("rollups", ("kind", "set_id", *sums), of_kinds),
        ("rollup_bins", ("kind", "set_id", "duration", "first_content"), of_kinds),
    ]
    if day_length == 1:
        tables.append(("rollup_users", ("number", *USER_DIMENSIONS, *sums), "true"))
    for table, columns, condition in tables:
        names = ", ".join(columns)
        for day in range(1, days):
            connection.execute(
                f"INSERT INTO {table} (start, {names})"  # noqa: S608 - of the schema
                f" SELECT start - {day * day_length}, {names} FROM {table}"
                f" WHERE {condition} AND start >= {_LAST_DAY * day_length}"
            )


def _hash_user(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()[:16]


def _put(store: SqlStore, connection: Any, rows: Iterator[FinalRow]) -> None:
    for batch in batched(rows, _BATCH_ROWS):
        with store.transaction(connection):
            store.put(connection, RowBatch(entries=list(batch), end=0))


def _make_rows(count: int, start: float, random: Random) -> Iterator[FinalRow]:
    keys = [min(int(random.expovariate(0.1)), 49) for _ in range(_END_USERS)]
    for number in range(count):
        user = random.randrange(_END_USERS) if number else 0
        lab = random.choices([*_TIERS], [5, 3, 2, 1])[0]
        tier = random.choice(_TIERS[lab])
        key = keys[user]
        prompt, answer = random.randrange(100, 9_000), random.randrange(10, 900)
        cost = (prompt * Decimal("0.15") + answer * Decimal("0.6")) / 1_000_000
        state: Any = random.choices(["settled", "failed", "refused"], [95, 3, 2])[0]
        is_answered = state == "settled"
        yield FinalRow(
            id=f"tg-{start:.0f}-{number}",
            at=start + _DAY_SECONDS * number / count,
            key=f"key-{key}",
            team=f"team-{key % 8}",
            end_user=_hash_user(user),
            dialect=("openai-chat", "anthropic-messages")[key % 2],
            state=state,
            status=200 if is_answered else 503,
            problem=None if is_answered else "upstream_overloaded",
            lab=lab,
            tier=tier,
            source=random.choice(["rule", "classifier", "seat"]),
            rule=random.choice(["short", "code", "default", "long", None]),
            tags=(("web",), ("batch", "night"), ())[key % 3],
            provider=lab,
            account=random.choice(["main", "second"]),
            model=f"{lab}-{tier}",
            served=f"{lab}-{tier}-2026",
            attempts=1,
            input=prompt if is_answered else None,
            output=answer if is_answered else None,
            cost=cost if is_answered else None,
            wasted=Decimal(0) if is_answered else None,
            estimate=Decimal(0) if is_answered else None,
            baseline=cost * 4 if is_answered else None,
            first_content=random.lognormvariate(-0.5, 0.6) if is_answered else None,
            duration=random.lognormvariate(1, 0.7) if is_answered else None,
            config="c0ffee1",
        )


if __name__ == "__main__":
    sys.exit(main())
