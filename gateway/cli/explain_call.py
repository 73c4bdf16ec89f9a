"""`tiergate explain ID`: says what was decided for a call of the ledger, and why."""

import re
import sys
from collections.abc import Sequence

import click

from gateway.cli.ledger_session import open_ledger
from gateway.cli.session import CommandSession
from gateway.cli.terminal import TableColumn, print_table
from gateway.core import jsonio
from gateway.core.decision import Decision, Plan
from gateway.core.errors import ProblemError
from gateway.core.loss import Loss
from gateway.dialects import OPENAI_CHAT
from gateway.ledger.store import StoredRow
from gateway.routing import explain, replay_decision
from gateway.routing.explain_signals import SignalLine
from gateway.routing.near_misses import NearMiss
from gateway.routing.quality_dial import describe_probability

CALL_ID_PATTERN = re.compile("tg-[0-9a-f]{23}")
"""The pattern of call ids."""
_MAX_CONDITION = 60
"""Maximum characters of a condition in a table. JSON has all of it."""


def explain_ledger_call(session: CommandSession, id: str, *, as_json: bool) -> None:
    """Decide a call again if this configuration decided it. Otherwise print what its row has."""
    location = session()
    with open_ledger(location) as store:
        row = None if store is None else store.find_call(location.journal_folder, id)
    if row is None:
        raise click.ClickException(
            f"the ledger has no row of {id}. A call gets its row when it ends."
        )
    router = session.built_config.router
    try:
        result = replay_decision.find_decision(router, row)
    except ProblemError as error:
        if as_json:
            click.echo(OPENAI_CHAT.write_problem(error.problem))
        else:
            click.secho(f"refused: {error.problem.operator_message}", fg="red", err=True)
        sys.exit(1)
    if as_json:
        click.echo(jsonio.dumps_printable(replay_decision.describe(router, row)))
    elif isinstance(result, str):
        _print_row_decision(row, result)
    else:
        decision, plan = result
        print_decision(decision, plan, [None] * len(plan.targets), row.dialect)


def _print_row_decision(row: StoredRow, reason: str) -> None:
    """Print what the row says about its decision."""
    decided_by = f"{row.source} {row.rule!r}" if row.rule else row.source or row.problem
    click.echo(click.style(_format_lab_tier(row.lab, row.tier), bold=True) + f" by {decided_by}\n")
    record = jsonio.loads(jsonio.dumps(row.basis)) or {}
    cells = [[name, _format_value(value)] for name, value in record.items()]
    if cells:
        print_table([TableColumn("kept"), TableColumn("value")], cells)
    click.secho(f"\n{reason} `tiergate replay` decides it with this one.", fg="yellow")


def _format_lab_tier(lab: str | None, tier: str | None) -> str:
    """Return a lab and a tier as people write them. Some models have no tier."""
    return f"{lab}" if tier is None else f"{lab}/{tier}"


def _format_value(value: object) -> str:
    return value if isinstance(value, str) else jsonio.dumps(value).decode()


def print_decision(
    decision: Decision,
    plan: Plan,
    losses: Sequence[tuple[Loss, ...] | None],
    dialect: str,
    signals: Sequence[SignalLine] = (),
    near_misses: Sequence[NearMiss] = (),
) -> None:
    """Print a decision for people; `dialect` is the client's."""
    confidence = ""
    if decision.confidence is not None:
        confidence = f", confidence {describe_probability(decision.confidence)}"
    decided_by = f"{decision.source} {decision.rule!r}" if decision.rule else decision.source
    lab_tier = _format_lab_tier(decision.lab, decision.tier)
    click.echo(click.style(lab_tier, bold=True) + f" by {decided_by}{confidence}\n")
    print_table(
        [TableColumn("step"), TableColumn("effect"), TableColumn("why")],
        [[step.step, step.effect or "-", step.reason] for step in decision.trace],
    )
    _print_signals(signals)
    _print_near_misses(near_misses)
    click.echo()
    labs = explain.list_labs(decision, plan)
    rows = zip(labs, plan.targets, plan.dialects, losses, strict=True)
    for position, (lab, target, target_dialect, target_losses) in enumerate(rows, 1):
        effort = f" at effort {target.effort}" if target.effort else ""
        dialect_note = f" through {target_dialect}" if target_dialect != dialect else ""
        lab_note = f" of the lab {lab}" if lab != decision.lab else ""
        click.echo(f"{position}. {target.name}{effort}{dialect_note}{lab_note}")
        for loss in target_losses or ():
            click.secho(f"   {loss.field} is {loss.action}: {loss.reason}", dim=True)
    for item in plan.skipped:
        detail = f" ({item.detail})" if item.detail else ""
        click.secho(f"-  {item.target} is skipped: {item.reason}{detail}", dim=True)


def _print_signals(signals: Sequence[SignalLine]) -> None:
    if signals:
        click.echo()
        cells = [[line.label, _format_signal(line.value)] for line in signals]
        print_table([TableColumn("what was seen in the text"), TableColumn("value")], cells)


def _format_signal(value: float | bool | str) -> str:  # noqa: FBT001 - one of several kinds
    return "yes" if value is True else f"{value}"


def _print_near_misses(near_misses: Sequence[NearMiss]) -> None:
    if near_misses:
        click.echo()
        cells = [
            [f"{miss.kind} {miss.rule}", _shorten(miss.condition), miss.value]
            for miss in near_misses
        ]
        columns = [TableColumn("nearly matched"), TableColumn("but for"), TableColumn("here")]
        print_table(columns, cells)


def _shorten(condition: str) -> str:
    return condition if len(condition) <= _MAX_CONDITION else f"{condition[:_MAX_CONDITION]}..."
