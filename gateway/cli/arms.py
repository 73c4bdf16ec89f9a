"""`tiergate arms`: compares the calls in and out of a rule's part of the traffic."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import click

from gateway.cli.ledger_session import LedgerPlace, open_ledger, parse_query_options, period_options
from gateway.cli.terminal import TableColumn, format_count, format_figure, format_usd, print_table
from gateway.core import jsonio
from gateway.core.ledger_rows import DamagedRow
from gateway.core.printable_text import make_printable
from gateway.evaluation.arm_results import (
    ARM_NAMES,
    RuleSample,
    describe_results,
    sample_arms,
)
from gateway.ledger.arm_rows import read_arm_rows
from gateway.ledger.errors import QueryTooLargeError
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.store import LedgerStore, count_damaged_rows
from gateway.routing.rules.traffic import parse_arms
from gateway.settings.errors import suggest_name

type JsonObject = Mapping[str, Any]

_TOO_FEW = "too few conversations"
_FINDINGS = {"higher": "in is higher", "lower": "in is lower"}


def _format_number(number: str | float) -> str:
    """Format a number with three significant digits, and at least two after the point."""
    value = Decimal(str(number))
    digits = max(2, 2 - value.adjusted()) if value else 2
    return f"{value:,.{digits}f}"


def _format_share(share: float) -> str:
    return f"{100 * share:.1f}%"


def _format_points(difference: float) -> str:
    """Format the difference of two shares, in percentage points."""
    return f"{100 * difference:.1f} pp"


_FIGURES: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "calls_per_conversation": ("calls a conversation", _format_number),
    "cost_per_call": ("USD a call", _format_number),
    "cost_per_conversation": ("USD a conversation", _format_number),
    "first_content_p50": ("first content p50, s", _format_number),
    "first_content_p95": ("first content p95, s", _format_number),
    "duration_p50": ("whole answer p50, s", _format_number),
    "duration_p95": ("whole answer p95, s", _format_number),
    "failed": ("failed", _format_share),
    "good": ("good, of rated", _format_share),
}
"""The heading of each figure, and how its values are written."""


@click.command("arms")
@click.argument("rule", required=False, default="")
@period_options()
@click.option("--only", multiple=True, help="Only calls with NAME=VALUE, as in costs.")
@click.option("--zone", help="Time zone of dates, as Europe/Berlin.")
@click.option("--json", "as_json", is_flag=True, help="JSON; USD as text, unknown as null.")
@click.pass_context
def command(
    ctx: click.Context,
    rule: str,
    since: str | None,
    until: str | None,
    only: tuple[str, ...],
    zone: str | None,
    *,
    as_json: bool,
) -> None:
    """Compare the calls in and out of the part of the traffic that a rule takes.

    RULE is the name of a rule with `traffic`; by default all of them. Each figure has its 95%
    interval, and so has the difference of both arms. Where that interval contains 0, no difference
    can be claimed. A rule draws whole conversations, so the intervals count conversations, not
    calls.

    \b
    Examples:
      tiergate arms
      tiergate arms canary --since 7d
      tiergate arms canary --only tag=batch --json
    """  # noqa: D301 - \b is click's sign that lines stay apart
    location: LedgerPlace = ctx.obj()
    query = parse_query_options(
        since=since, until=until, only=only, zone=zone or location.time_zone
    )
    with open_ledger(location) as store:
        results = _compare(store, query, rule)
    if as_json:
        click.echo(jsonio.dumps_printable(results))
        return
    if not results["rules"]:
        click.echo("No call has an arm here: none was tested by a rule with `traffic`.")
    for index, result in enumerate(results["rules"]):
        if index:
            click.echo()
        _print_result(result)
    if damaged_rows := results["damaged_rows"]:
        subject = "1 row" if damaged_rows == 1 else f"{format_count(damaged_rows)} rows"
        click.echo(f"{subject} of the journal cannot be read: calls may be missing.", err=True)


def _compare(store: LedgerStore | None, query: LedgerQuery, rule: str) -> JsonObject:
    """Return the results of a rule, or of all. Raises click.ClickException for an unknown rule."""
    samples: Mapping[str, RuleSample] = {}
    damages: Sequence[DamagedRow] = ()
    if store is not None:
        try:
            rows = read_arm_rows(store, rule, **query.selection, zone=query.time_zone)
            samples = sample_arms(rows, rule)
        except QueryTooLargeError as error:
            raise click.ClickException(
                f"{error}: name a rule, choose a shorter time with --since and --until, or fewer"
                " calls with --only."
            ) from None
        damages = store.read_damages(since=query.since, until=query.until)
    if rule and not samples:
        groups = [] if store is None else store.sum_costs(("arm",))
        names = {name for group in groups for name in parse_arms(group.names[0] or "")}
        hint = suggest_name(rule, names)
        raise click.ClickException(f"no call has an arm of {rule!r} here. {hint}".rstrip())
    return describe_results(
        samples,
        since=query.since,
        until=query.until,
        zone=query.zone,
        damaged_rows=count_damaged_rows(damages),
    )


def _print_result(result: JsonObject) -> None:
    arms = [result[name] for name in ARM_NAMES]
    for name, arm in zip(ARM_NAMES, arms, strict=True):
        click.echo(f"{make_printable(result['rule'])} {name}: {_describe_counts(arm)}")
    figures = [
        [
            heading,
            *(_format_cell(arm["figures"][name], format_value) for arm in arms),
            _format_cell(
                result["differences"][name],
                _format_points if format_value is _format_share else format_value,
            ),
            _describe_finding(result, name),
        ]
        for name, (heading, format_value) in _FIGURES.items()
    ]
    print_table(
        [
            TableColumn("figure"),
            TableColumn("in", numeric=True, rank=1),
            TableColumn("out", numeric=True, rank=1),
            TableColumn("in - out", numeric=True),
            TableColumn("finding"),
        ],
        figures,
        notes=_build_notes(result),
    )


def _describe_counts(arm: JsonObject) -> str:
    usd = "unknown" if arm["cost"] is None else format_usd(Decimal(arm["cost"]))
    conversations, calls, rated = (
        format_count(arm[name]) for name in ("conversations", "calls", "rated")
    )
    return f"conversations {conversations}, calls {calls}, rated {rated}, USD {usd}"


def _describe_finding(result: JsonObject, name: str) -> str:
    if result["differences"][name] is None:
        return "no calls to compare"
    finding: str | None = result["findings"][name]
    return _TOO_FEW if finding is None else _FINDINGS.get(finding, finding)


def _build_notes(result: JsonObject) -> list[str]:
    notes = []
    if unknown := sum(result[name]["unknown"] for name in ARM_NAMES):
        calls, conversations = (
            ("1 call has", "its conversation")
            if unknown == 1
            else (f"{format_count(unknown)} calls have", "their conversations")
        )
        notes.append(f"{calls} an unknown cost: the means of costs leave out {conversations}.")
    if in_both := result["in_both"]:
        subject = (
            "1 conversation has" if in_both == 1 else f"{format_count(in_both)} conversations have"
        )
        notes.append(
            f"{subject} calls in both arms, as `traffic` was changed: choose a time after that."
        )
    return notes


def _format_cell(figure: JsonObject | None, format_value: Callable[[Any], str]) -> str:
    return "-" if figure is None else format_figure(figure, format_value)
