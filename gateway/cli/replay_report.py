"""The report of a replay as tables: `tiergate replay` and `tiergate shadow` print it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import click

from gateway.cli.terminal import TableColumn, draw, number, usd
from gateway.evaluation.replay.totals import REFUSED, UNTIERED
from gateway.ledger.query_params import place

type Json = Mapping[str, Any]


def show(told: Json, zone: str) -> None:
    """Print what `report.view` gives; times are of a zone."""
    names = [*told["tiers"]]
    draw(
        [TableColumn("calls"), *(TableColumn(name, right=True) for name in (*names, "USD"))],
        [
            [
                side,
                *(number(told["tiers"][name][side]) for name in names),
                usd(Decimal(told["usd"][side])),
            ]
            for side in ("before", "after")
        ],
        notes=_notes(told),
    )
    decided = told["calls"] - told["undecided"]
    click.echo(f"\n{number(told['changed'])} of {number(decided)} calls would go elsewhere.")
    lost, gained = (Decimal(told["cache"][name]) for name in ("lost", "gained"))
    if lost or gained:
        click.echo(f"Of the money, prompt caches: {usd(lost)} lost, {usd(gained)} gained.")
    for word in ("key", "tag"):
        groups = told[f"{word}s"]
        if len(groups) > 1 or (word == "tag" and groups):
            click.echo()
            _groups(word, groups, names)
    if told["list"]:
        click.echo()
        _changed(told["list"], zone)


def _groups(word: str, groups: Mapping[str, Json], names: list[str]) -> None:
    heads = ["calls", "changed", *names, "USD before", "USD after"]
    nothing = {"before": 0, "after": 0}
    draw(
        [TableColumn(word), *(TableColumn(head, right=True) for head in heads)],
        [
            [
                name,
                number(group["calls"]),
                number(group["changed"]),
                *("{before:,} > {after:,}".format(**group["tiers"].get(t, nothing)) for t in names),
                *(usd(Decimal(group["usd"][side])) for side in ("before", "after")),
            ]
            for name, group in sorted(groups.items(), key=lambda one: (-one[1]["calls"], one[0]))
        ],
    )


def _changed(changed: Sequence[Json], zone: str) -> None:
    draw(
        [
            TableColumn("call"), TableColumn("received", rank=2), TableColumn("key", rank=1),
            TableColumn("USD", right=True), TableColumn("before"), TableColumn("after"),
        ],
        [
            [
                one["id"],
                f"{datetime.fromtimestamp(one['at'], place(zone)):%Y-%m-%d %H:%M}",
                one["key"],
                "unknown" if one["usd"] is None else f"{Decimal(one['usd']):+,.6f}",
                _outcome(one["before"]),
                _outcome(one["after"]),
            ]
            for one in changed
        ],
    )  # fmt: skip


def _outcome(one: Json) -> str:
    target = one["target"]
    where = REFUSED if target is None else f"{one['tier'] or UNTIERED} {target}"
    return f"{where} by {one['by']}"


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{number(count)} calls"


def _notes(told: Json) -> list[str]:
    notes = [
        f"{_calls(count)} cannot be decided again: the ledger does not have {what}."
        for what, count in told["unread"].items()
    ]
    if told["apart"]:
        notes.append(f"{_calls(told['apart'])} refused before anything was decided.")
    if told["assumed"]:
        notes.append(
            f"{_calls(told['assumed'])} taken to be sayable in another dialect, as plain ones are: "
            "nobody tried."
        )
    if unknown := told["usd"]["unknown"]:
        notes.append(f"{_calls(unknown)} at a cost that is not known: in no sum.")
    return notes
