"""Figures over time for admins: what calls cost and how long they took, by minute, hour or day."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from gateway.core import jsonio
from gateway.core.errors import invalid
from gateway.ledger import export
from gateway.ledger.query import QueryGroup, Slots
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.time_series import EVERY, Every, LatencyTimes, added, fitting, series
from gateway.runtime.composition import Gateway
from gateway.server.admin.query_params import asked, known
from gateway.server.admin.worker_thread import WorkerThread

_NAMES = ("by", "since", "until", "only", "zone", "every")
_DAY = "24h"
_JSON = "application/json"

type Texts = Annotated[list[str], Query()]


class SeriesQuery(msgspec.Struct, frozen=True):
    """What is asked for, and the slots it is of."""

    question: LedgerQuery
    every: Every
    slots: Slots

    @property
    def chosen(self) -> dict[str, Any]:
        """Which calls, as the store is asked for them: from the beginning of the first slot on."""
        return {
            **self.question.chosen, "since": self.slots.starts[0], "zone": self.question.place,
        }  # fmt: skip


def routes(router: APIRouter, gateway: Gateway, apart: WorkerThread) -> None:
    """Add them to a router of admins; `apart` works on the store off the loop."""

    async def span(
        request: Request,
        by: Texts = ["tier"],  # noqa: B006 - FastAPI's way to declare
        since: str = "",
        until: str = "",
        only: Texts = [],  # noqa: B006 - FastAPI's way to declare
        zone: str = "",
        every: str = "",
    ) -> SeriesQuery:
        known(request, *_NAMES)
        zone = zone or gateway.site.source.config.ledger.time_zone
        now = time.time()
        question = asked(by, since=since or _DAY, until=until, only=only, zone=zone, now=now)
        return _span(question, every, now)

    @router.get("/series", summary="What calls cost, over time")
    async def costs(found: Annotated[SeriesQuery, Depends(span)]) -> Response:
        await apart.feed()
        return _json(await apart(partial(_costs, gateway, found)))

    @router.get("/latency", summary="How long answered calls took, over time")
    async def times(found: Annotated[SeriesQuery, Depends(span)]) -> Response:
        await apart.feed()
        return _json(await apart(partial(_times, gateway, found)))


def _span(question: LedgerQuery, every: str, now: float) -> SeriesQuery:
    if "day" in question.by:
        raise invalid("A series is not by day: ask with every=day.", "by")
    if every and every not in EVERY:
        raise invalid(f"It is every {', '.join(EVERY[:-1])} or {EVERY[-1]}.", "every")
    since = question.since or 0.0
    until = now if question.until is None else question.until
    if not 0 <= since < until:
        raise invalid("The time ends before it begins.", "until")
    kind: Every = every or fitting(since, until)  # type: ignore[assignment]  # one of them
    try:
        return SeriesQuery(question, kind, series(kind, since, until, question.place))
    except (ValueError, OverflowError) as error:
        raise invalid(f"{str(error)[:1].upper()}{str(error)[1:]}.", "every") from None


def _costs(gateway: Gateway, span: SeriesQuery) -> dict[str, object]:
    by, chosen = span.question.by, span.chosen
    found = gateway.store.costs(by, slots=span.slots, **chosen)
    whole = added(found, 0)
    if "tag" in by or not whole:  # a call counts once for each of its tags
        whole = gateway.store.costs((), **chosen)
    totals, place = added(found, len(by)), _place(span)
    return {
        **_about(span),
        "groups": [_group(one, by, place) for one in found],
        "totals": [export.group(one, by) for one in totals] if by else [],
        "total": export.group(whole[0], ()),
    }


def _group(
    one: QueryGroup, by: Sequence[str], place: Mapping[str | None, int]
) -> dict[str, object]:
    *names, slot = one.names
    plain = msgspec.structs.replace(one, names=tuple(names))
    return {"slot": place[slot]} | export.group(plain, by)


def _times(gateway: Gateway, span: SeriesQuery) -> dict[str, object]:
    by, chosen = span.question.by, span.chosen
    found = gateway.store.times(by, slots=span.slots, **chosen)
    whole = gateway.store.times((), **chosen)
    place = _place(span)
    return {
        **_about(span),
        "groups": [{"slot": place[one.names[-1]]} | _spread(one, by) for one in found],
        "whole": [
            {"slot": place[one.names[-1]]} | _spread(one, ())
            for one in gateway.store.times((), slots=span.slots, **chosen)
        ],
        "totals": [_spread(one, by) for one in gateway.store.times(by, **chosen)] if by else [],
        "total": _spread(whole[0], ()) if whole else {"duration": None, "first_content": None},
    }


def _place(span: SeriesQuery) -> Mapping[str | None, int]:
    return {name: at for at, name in enumerate(span.slots.names)}


def _spread(one: LatencyTimes, by: Sequence[str]) -> dict[str, object]:
    return dict(zip(by, one.names, strict=False)) | {
        name: msgspec.to_builtins(getattr(one, name)) for name in ("duration", "first_content")
    }


def _about(span: SeriesQuery) -> dict[str, object]:
    return {
        "since": span.slots.starts[0],
        "until": span.question.until,
        "zone": span.question.zone,
        "by": span.question.by,
        "every": span.every,
        "slots": span.slots.names,
        "starts": span.slots.starts,
    }


def _json(value: object) -> Response:
    return Response(jsonio.dumps(value), media_type=_JSON)
