"""Conversations: the calls that share one, added up, with the state of the last one."""

from datetime import UTC, tzinfo
from typing import Any, Final, NamedTuple

import msgspec

from gateway.ledger.query import (
    SUM_COLUMNS,
    Filters,
    QueryGroup,
    build_condition,
    build_group,
    check_names,
)
from gateway.ledger.sql_reader import SqlReader

_LAST_CALL_COLUMNS: Final = ("id", "state", "status", "problem", "lab", "tier", "model")


class ConversationCursor(NamedTuple):
    """The place of a conversation in their list, newest first."""

    last: float
    """When its last call was received, in seconds since the epoch."""
    conversation: str


class ConversationSums(msgspec.Struct, frozen=True, kw_only=True):
    """The calls of one conversation that a query selects."""

    conversation: str
    first: float
    """When its first call was received, in seconds since the epoch."""
    last: float
    """When its last call was received."""
    keys: tuple[str, ...]
    """The names of the keys of its calls, sorted."""
    last_call: dict[str, Any]
    """The id, state, status, problem, lab, tier and model of its last call."""
    sums: QueryGroup

    @property
    def cursor(self) -> ConversationCursor:
        """The place at which the next page begins after this conversation."""
        return ConversationCursor(self.last, self.conversation)


def read_conversations(
    store: SqlReader,
    *,
    since: float | None = None,
    until: float | None = None,
    zone: tzinfo = UTC,
    only: Filters | None = None,
    before: ConversationCursor | None = None,
    limit: int = 50,
    max_seconds: float | None = None,
) -> list[ConversationSums]:
    """Return conversations, those whose last call is the newest first; at most `limit`.

    Only the calls that the filters select count. `before` is the cursor of the last one that the
    caller has seen. Raises QueryTooLongError after `max_seconds`, and StoreError.
    """
    check_names((), only)
    dialect = store.sql_dialect
    condition, values = build_condition(dialect, since=since, until=until, only=only, zone=zone)
    mark = dialect.placeholder
    having = f"HAVING (max(c.at), c.conversation) < ({mark}, {mark})" if before else ""
    page_query = (
        "SELECT c.conversation, min(c.at), max(c.at) FROM entries AS c"  # noqa: S608 - of build_condition
        f" WHERE {condition} AND c.conversation IS NOT NULL GROUP BY c.conversation {having}"
        f" ORDER BY max(c.at) DESC, c.conversation DESC LIMIT {mark}"
    )
    with store.open_reader() as connection, store.limit_time(connection, max_seconds):
        page = connection.execute(page_query, [*values, *(before or ()), limit]).fetchall()
        if not page:
            return []
        condition, values = build_condition(
            dialect, since=min(row[1] for row in page), until=until, only=only, zone=zone
        )
        condition += f" AND {dialect.membership_test.format('c.conversation')}"
        values.append(dialect.bind_texts([row[0] for row in page]))
        sums, keys, last_calls = [
            connection.execute(query, values).fetchall()
            for query in (
                _build_sums_query(condition, store.money_columns),
                f"SELECT DISTINCT c.conversation, c.key FROM entries AS c WHERE {condition}",  # noqa: S608 - as above
                _build_last_calls_query(condition),
            )
        ]
    groups = [build_group(("conversation",), store.decode_sums(row), None) for row in sums]
    sums_by_name = {group.names[0]: group for group in groups}
    last_calls_by_name = {
        name: dict(zip(_LAST_CALL_COLUMNS, values, strict=True)) for name, *values in last_calls
    }
    return [
        ConversationSums(
            conversation=name,
            first=first,
            last=last,
            keys=tuple(sorted(key for owner, key in keys if owner == name)),
            last_call=last_calls_by_name[name],
            sums=sums_by_name[name],
        )
        for name, first, last in page
    ]


def _build_sums_query(condition: str, money_columns: str) -> str:
    columns = ", ".join(["c.conversation", *SUM_COLUMNS, money_columns])
    return f"SELECT {columns} FROM costs AS c WHERE {condition} GROUP BY c.conversation"  # noqa: S608 - as above


def _build_last_calls_query(condition: str) -> str:
    columns = ", ".join(_LAST_CALL_COLUMNS)
    return (
        f"SELECT conversation, {columns} FROM (SELECT c.*, row_number() OVER"  # noqa: S608 - as above
        " (PARTITION BY c.conversation ORDER BY c.at DESC, c.id DESC) AS place"
        f" FROM entries AS c WHERE {condition}) AS calls WHERE place = 1"
    )
