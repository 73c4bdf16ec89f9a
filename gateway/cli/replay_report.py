"""The report of a replay as tables, for `tiergate replay` and `tiergate shadow`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import click

from gateway.cli.terminal import TableColumn, format_count, format_figure, format_usd, print_table
from gateway.evaluation.replay.totals import REFUSED_COLUMN, UNTIERED_COLUMN
from gateway.ledger.query_params import load_time_zone

type JsonObject = Mapping[str, Any]


def print_report(report: JsonObject, zone: str) -> None:
    """Print a report that `report.describe_totals` made, with times of the zone `zone`."""
    names = [*report["tiers"]]
    print_table(
        [TableColumn("calls"), *(TableColumn(name, numeric=True) for name in (*names, "USD"))],
        [
            [
                side,
                *(format_count(report["tiers"][name][side]) for name in names),
                format_usd(Decimal(report["usd"][side])),
            ]
            for side in ("before", "after")
        ],
        notes=_build_notes(report),
    )
    decided_count = report["calls"] - report["undecided"]
    click.echo(
        f"\n{format_count(report['changed'])} of {format_count(decided_count)} calls "
        "would go elsewhere."
    )
    _print_figures(report["money"], report["quality"])
    lost_usd, gained_usd = (Decimal(report["cache"][name]) for name in ("lost", "gained"))
    if lost_usd or gained_usd:
        click.echo(
            f"Of the money, prompt caches: {format_usd(lost_usd)} lost, "
            f"{format_usd(gained_usd)} gained."
        )
    if (escalation := report.get("escalation")) is not None:  # earlier versions have none
        click.echo(_describe_escalation(escalation))
    for kind in ("key", "tag"):
        groups = report[f"{kind}s"]
        if len(groups) > 1 or (kind == "tag" and groups):
            click.echo()
            _print_groups(kind, groups, names)
    if report["list"]:
        click.echo()
        _print_changes(report["list"], zone)


def _describe_escalation(escalation: JsonObject) -> str:
    """Return what the check of answers would do, and what that would cost."""
    known_count = escalation["answers"] - escalation["unknown"]
    text = (
        f"Of {_format_answers(known_count)} that were checked, "
        f"{format_count(escalation['escalated'])} would be asked of the tier above too"
    )
    if already := escalation["already"]:
        text += f" ({format_count(already)} already; the sums have that cost)"
    text += f": {format_usd(Decimal(escalation['usd']))} more."
    if unpriced := escalation["unpriced"]:
        text += f" {_format_answers(unpriced)} at a cost that is not known."
    if unknown := escalation["unknown"]:
        text += f" Unknown: {_format_answers(unknown)} that nobody checked."
    return text


def _format_answers(count: int) -> str:
    return "1 answer" if count == 1 else f"{format_count(count)} answers"


def _print_figures(money: JsonObject, quality: JsonObject) -> None:
    """Print money and expected quality, each with its 95% interval if it has one."""
    if money["change"] is not None and Decimal(money["change"]["value"]):
        after, change = (format_figure(money[side], _format_money) for side in ("after", "change"))
        click.echo(f"USD after: {after}. Change: {change}.")
    if quality["after"] is None:
        click.echo("Expected quality: not known, as no call has a score.")
        return
    before, after, change = (
        format_figure(quality[side], "{:.3f}".format) for side in ("before", "after", "change")
    )
    click.echo(
        f"Expected quality, as a share of what reasoning would give: {before} before, "
        f"{after} after. Change: {change}."
    )


def _format_money(usd: str) -> str:
    return format_usd(Decimal(usd))


def _print_groups(kind: str, groups: Mapping[str, JsonObject], names: list[str]) -> None:
    headings = ["calls", "changed", *names, "USD before", "USD after"]
    zero_counts = {"before": 0, "after": 0}
    print_table(
        [TableColumn(kind), *(TableColumn(heading, numeric=True) for heading in headings)],
        [
            [
                name,
                format_count(group["calls"]),
                format_count(group["changed"]),
                *(
                    "{before:,} > {after:,}".format(**group["tiers"].get(tier, zero_counts))
                    for tier in names
                ),
                *(format_usd(Decimal(group["usd"][side])) for side in ("before", "after")),
            ]
            for name, group in sorted(groups.items(), key=lambda item: (-item[1]["calls"], item[0]))
        ],
    )


def _print_changes(changes: Sequence[JsonObject], zone: str) -> None:
    print_table(
        [
            TableColumn("call"), TableColumn("received", rank=2), TableColumn("key", rank=1),
            TableColumn("USD", numeric=True), TableColumn("before"), TableColumn("after"),
        ],
        [
            [
                change["id"],
                f"{datetime.fromtimestamp(change['at'], load_time_zone(zone)):%Y-%m-%d %H:%M}",
                change["key"],
                "unknown" if change["usd"] is None else f"{Decimal(change['usd']):+,.6f}",
                _format_outcome(change["before"]),
                _format_outcome(change["after"]),
            ]
            for change in changes
        ],
    )  # fmt: skip


def _format_outcome(outcome: JsonObject) -> str:
    target = outcome["target"]
    destination = (
        REFUSED_COLUMN if target is None else f"{outcome['tier'] or UNTIERED_COLUMN} {target}"
    )
    return f"{destination} by {outcome['by']}"


def _format_calls(count: int) -> str:
    return "1 call" if count == 1 else f"{format_count(count)} calls"


def _build_notes(report: JsonObject) -> list[str]:
    notes = [
        f"{_format_calls(count)} cannot be decided again: the ledger does not have {subject}."
        for subject, count in report["unread"].items()
    ]
    if report["apart"]:
        notes.append(f"{_format_calls(report['apart'])} refused before anything was decided.")
    if report["assumed"]:
        notes.append(
            f"{_format_calls(report['assumed'])} counted as translatable, as plain calls are; "
            "the ledger has no check of them."
        )
    if usual_lengths := report["money"]["usual_lengths"]:
        notes.append(
            f"{_format_calls(usual_lengths)} moved to or from a tier with fewer than 50 "
            "answers here: no interval covers the error of their expected length."
        )
    if (unscored := report["quality"]["unscored"]) and report["quality"]["calls"]:
        notes.append(f"{_format_calls(unscored)} without a score: in no figure of quality.")
    if unknown := report["usd"]["unknown"]:
        notes.append(f"{_format_calls(unknown)} at a cost that is not known: in no sum.")
    return notes
