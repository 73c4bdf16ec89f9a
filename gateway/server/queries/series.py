"""Series of sums and of latencies over time, as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.core import jsonio
from gateway.ledger import export
from gateway.ledger.query import LIST_COLUMNS_BY_NAME, QueryGroup, Slots
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.question_limit import QuestionLimit
from gateway.ledger.store import LedgerStore, count_damaged_rows
from gateway.ledger.time_series import LatencyTimes, SlotLength, fold_names, sum_over_slots
from gateway.server.queries import MAX_SECONDS

_MAX_USERS = 100
"""The most end users in a series, the dearest. Sums of all others are added up."""


class SeriesQuery(msgspec.Struct, frozen=True):
    """A query for a series, and the slots of the series."""

    query: LedgerQuery
    interval: SlotLength
    slots: Slots

    @property
    def selection(self) -> dict[str, Any]:
        """The filters of the store's query methods, from the beginning of the first slot on."""
        return {
            **self.query.selection, "since": self.slots.starts[0], "zone": self.query.time_zone,
        }  # fmt: skip


def render_costs(store: LedgerStore, series_query: SeriesQuery) -> bytes:
    """Return a series of sums as JSON. Raises QueryTooLongError."""
    limit = QuestionLimit(MAX_SECONDS)
    by, selection = series_query.query.by, {**series_query.selection, "question_limit": limit}
    groups = store.sum_costs(by, slots=series_query.slots, **selection)
    if "user" in by:
        groups = fold_names(groups, by.index("user"), _MAX_USERS)
    overall_groups = sum_over_slots(groups, 0)
    if not LIST_COLUMNS_BY_NAME.keys().isdisjoint(by) or not overall_groups:
        # A call counts once for each of its tags, and once for each of its guards.
        overall_groups = store.sum_costs((), **selection)
    totals, slot_indexes = sum_over_slots(groups, len(by)), _index_slots(series_query)
    damages = store.read_damages(since=selection["since"], until=selection["until"])
    series: dict[str, object] = {
        **_describe_series(series_query),
        "groups": [_render_group(group, by, slot_indexes) for group in groups],
        "totals": [export.build_group(group, by) for group in totals] if by else [],
        "total": export.build_group(overall_groups[0], ()),
        "damaged_rows": count_damaged_rows(damages),
        "from_rows": limit.reads_rows,
    }
    return jsonio.dumps(series)


def _render_group(
    group: QueryGroup, by: Sequence[str], slot_indexes: Mapping[str | None, int]
) -> dict[str, object]:
    *names, slot = group.names
    group_without_slot = msgspec.structs.replace(group, names=tuple(names))
    return {"slot": slot_indexes[slot]} | export.build_group(group_without_slot, by)


def render_latency(store: LedgerStore, series_query: SeriesQuery) -> bytes:
    """Return a series of latencies as JSON. Raises QueryTooLongError."""
    limit = QuestionLimit(MAX_SECONDS)
    by, selection = series_query.query.by, {**series_query.selection, "question_limit": limit}
    group_selection = _select_dearest_users(store, selection) if "user" in by else selection
    latencies = store.measure_latency(by, slots=series_query.slots, **group_selection)
    overall_latencies = store.measure_latency((), **selection)
    whole_latencies = store.measure_latency((), slots=series_query.slots, **selection)
    total_latencies = store.measure_latency(by, **group_selection) if by else []
    slot_indexes = _index_slots(series_query)
    series: dict[str, object] = {
        **_describe_series(series_query),
        "groups": [
            {"slot": slot_indexes[latency.names[-1]]} | _render_latency(latency, by)
            for latency in latencies
        ],
        "whole": [
            {"slot": slot_indexes[latency.names[-1]]} | _render_latency(latency, ())
            for latency in whole_latencies
        ],
        "totals": [_render_latency(latency, by) for latency in total_latencies],
        "relative_error": max(
            latency.relative_error or 0.0
            for latency in (*latencies, *whole_latencies, *total_latencies, *overall_latencies)
        )
        if overall_latencies
        else 0.0,
        "total": _render_latency(overall_latencies[0], ())
        if overall_latencies
        else {"duration": None, "first_content": None},
        "damaged_rows": count_damaged_rows(
            store.read_damages(since=selection["since"], until=selection["until"])
        ),
        "from_rows": limit.reads_rows,
    }
    return jsonio.dumps(series)


def _select_dearest_users(store: LedgerStore, selection: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filters of a series, for the `_MAX_USERS` dearest end users alone."""
    groups = store.sum_costs(("user",), **selection)
    names = [group.names[0] for group in groups if group.names[0] is not None]
    return {**selection, "only": {**selection["only"], "user": names[:_MAX_USERS]}}


def _index_slots(series_query: SeriesQuery) -> Mapping[str | None, int]:
    return {name: index for index, name in enumerate(series_query.slots.names)}


def _render_latency(latency: LatencyTimes, by: Sequence[str]) -> dict[str, object]:
    return dict(zip(by, latency.names, strict=False)) | {
        name: msgspec.to_builtins(getattr(latency, name)) for name in ("duration", "first_content")
    }


def _describe_series(series_query: SeriesQuery) -> dict[str, object]:
    return {
        "since": series_query.slots.starts[0],
        "until": series_query.query.until,
        "zone": series_query.query.zone,
        "by": series_query.query.by,
        "every": series_query.interval,
        "slots": series_query.slots.names,
        "starts": series_query.slots.starts,
    }
