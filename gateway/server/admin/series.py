"""Costs and latency over time, for admins: by minute, hour or day."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from gateway.core import jsonio
from gateway.core.errors import invalid_request
from gateway.ledger import export
from gateway.ledger.query import LIST_COLUMNS_BY_NAME, QueryGroup, Slots
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.store import count_damaged_rows
from gateway.ledger.time_series import (
    SLOT_LENGTHS,
    LatencyTimes,
    SlotLength,
    build_slots,
    choose_slot_length,
    fold_names,
    sum_over_slots,
)
from gateway.runtime.composition import Gateway
from gateway.server.admin.auth import get_team
from gateway.server.admin.query_params import check_parameters, read_ledger_query
from gateway.server.admin.worker_thread import WorkerThread

_PARAMETERS = ("by", "since", "until", "only", "zone", "every")
_DEFAULT_SINCE = "24h"
_MAX_USERS = 100
"""The most end users in a series, the dearest. Sums of all others are added up."""
_JSON = "application/json"

type Texts = Annotated[list[str], Query()]


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


def add_routes(router: APIRouter, gateway: Gateway, worker_thread: WorkerThread) -> None:
    """Add the routes to an admin router. `worker_thread` works on the store off the event loop."""

    async def read_series_query(
        request: Request,
        by: Texts = ["tier"],  # noqa: B006 - FastAPI's way to declare
        since: str = "",
        until: str = "",
        only: Texts = [],  # noqa: B006 - FastAPI's way to declare
        zone: str = "",
        every: str = "",
    ) -> SeriesQuery:
        check_parameters(request, *_PARAMETERS)
        zone = zone or gateway.built_config.source.config.ledger.time_zone
        now = time.time()
        query = read_ledger_query(
            by,
            since=since or _DEFAULT_SINCE,
            until=until,
            only=only,
            zone=zone,
            now=now,
            team=get_team(request),
        )
        return _build_series_query(query, every, now)

    @router.get("/series", summary="Sum the cost of calls over time")
    async def costs(series_query: Annotated[SeriesQuery, Depends(read_series_query)]) -> Response:
        await worker_thread.ingest_journals()
        return _render_json(await worker_thread(partial(_read_costs, gateway, series_query)))

    @router.get("/latency", summary="Get the latency of answered calls over time")
    async def times(series_query: Annotated[SeriesQuery, Depends(read_series_query)]) -> Response:
        await worker_thread.ingest_journals()
        return _render_json(await worker_thread(partial(_read_latency, gateway, series_query)))


def _build_series_query(query: LedgerQuery, every: str, now: float) -> SeriesQuery:
    if "day" in query.by:
        raise invalid_request("The gateway cannot group a series by day: ask with every=day.", "by")
    if every and every not in SLOT_LENGTHS:
        raise invalid_request(
            f"`every` must be {', '.join(SLOT_LENGTHS[:-1])} or {SLOT_LENGTHS[-1]}.", "every"
        )
    since = query.since or 0.0
    until = now if query.until is None else query.until
    if not 0 <= since < until:
        raise invalid_request("`until` is not after `since`.", "until")
    interval: SlotLength = every or choose_slot_length(since, until)  # type: ignore[assignment]  # one of them
    try:
        return SeriesQuery(query, interval, build_slots(interval, since, until, query.time_zone))
    except (ValueError, OverflowError) as error:
        raise invalid_request(f"{str(error)[:1].upper()}{str(error)[1:]}.", "every") from None


def _read_costs(gateway: Gateway, series_query: SeriesQuery) -> dict[str, object]:
    by, selection = series_query.query.by, series_query.selection
    groups = gateway.store.sum_costs(by, slots=series_query.slots, **selection)
    if "user" in by:
        groups = fold_names(groups, by.index("user"), _MAX_USERS)
    overall_groups = sum_over_slots(groups, 0)
    if not LIST_COLUMNS_BY_NAME.keys().isdisjoint(by) or not overall_groups:
        # A call counts once for each of its tags, and once for each of its guards.
        overall_groups = gateway.store.sum_costs((), **selection)
    totals, slot_indexes = sum_over_slots(groups, len(by)), _index_slots(series_query)
    damages = gateway.store.read_damages(since=selection["since"], until=selection["until"])
    return {
        **_describe_series(series_query),
        "groups": [_render_group(group, by, slot_indexes) for group in groups],
        "totals": [export.build_group(group, by) for group in totals] if by else [],
        "total": export.build_group(overall_groups[0], ()),
        "damaged_rows": count_damaged_rows(damages),
    }


def _render_group(
    group: QueryGroup, by: Sequence[str], slot_indexes: Mapping[str | None, int]
) -> dict[str, object]:
    *names, slot = group.names
    group_without_slot = msgspec.structs.replace(group, names=tuple(names))
    return {"slot": slot_indexes[slot]} | export.build_group(group_without_slot, by)


def _read_latency(gateway: Gateway, series_query: SeriesQuery) -> dict[str, object]:
    by, selection = series_query.query.by, series_query.selection
    group_selection = _select_dearest_users(gateway, series_query) if "user" in by else selection
    latencies = gateway.store.measure_latency(by, slots=series_query.slots, **group_selection)
    overall_latencies = gateway.store.measure_latency((), **selection)
    slot_indexes = _index_slots(series_query)
    return {
        **_describe_series(series_query),
        "groups": [
            {"slot": slot_indexes[latency.names[-1]]} | _render_latency(latency, by)
            for latency in latencies
        ],
        "whole": [
            {"slot": slot_indexes[latency.names[-1]]} | _render_latency(latency, ())
            for latency in gateway.store.measure_latency((), slots=series_query.slots, **selection)
        ],
        "totals": [
            _render_latency(latency, by)
            for latency in gateway.store.measure_latency(by, **group_selection)
        ]
        if by
        else [],
        "total": _render_latency(overall_latencies[0], ())
        if overall_latencies
        else {"duration": None, "first_content": None},
    }


def _select_dearest_users(gateway: Gateway, series_query: SeriesQuery) -> dict[str, Any]:
    """Return the filters of a series, for the `_MAX_USERS` dearest end users alone."""
    selection = series_query.selection
    groups = gateway.store.sum_costs(("user",), **selection)
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


def _render_json(value: object) -> Response:
    return Response(jsonio.dumps(value), media_type=_JSON)
