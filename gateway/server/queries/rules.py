"""Sums over the calls that each rule matched."""

from typing import Literal

import msgspec

from gateway.ledger.query import QueryGroup
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.question_limit import QuestionLimit
from gateway.ledger.store import LedgerStore, count_damaged_rows
from gateway.server.queries import MAX_SECONDS

type RuleKind = Literal["guard", "choice"]


class RuleMatches(msgspec.Struct, frozen=True):
    """Sums over the calls that each rule matched, from the ledger."""

    hits: dict[RuleKind, dict[str, QueryGroup]]
    """Calls that the choice decided, or to which the guard applied, by rule name."""
    others: list[QueryGroup]
    """Calls that no choice decided, by what decided them."""
    total: QueryGroup
    damaged_rows: int
    """The number of rows that the journals lack in this time."""


def read_matches(store: LedgerStore, query: LedgerQuery) -> RuleMatches:
    """Sum the calls of each rule, and of each other source of decisions.

    Raises QueryTooLongError.
    """
    selection = {**query.selection, "question_limit": QuestionLimit(MAX_SECONDS)}
    (total,) = store.sum_costs((), **selection)
    sources = store.sum_costs(("source", "rule"), **selection)
    guards = store.sum_costs(("guard",), **selection)
    return RuleMatches(
        hits={
            "guard": {group.names[0]: group for group in guards if group.names[0] is not None},
            "choice": {str(group.names[1]): group for group in sources if _is_choice(group)},
        },
        others=[group for group in sources if not _is_choice(group)],
        total=total,
        damaged_rows=count_damaged_rows(store.read_damages(since=query.since, until=query.until)),
    )


def _is_choice(group: QueryGroup) -> bool:
    return group.names[0] == "rule"
