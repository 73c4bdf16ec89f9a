"""`tiergate explain ID`: what was decided for a call of the ledger, and why."""

import re
import sys
from collections.abc import Sequence

import click

from gateway.cli.ledger_session import opened
from gateway.cli.session import CommandSession
from gateway.cli.terminal import TableColumn, draw
from gateway.core import jsonio
from gateway.core.decision import Decision, Plan
from gateway.core.errors import ProblemError
from gateway.core.loss import Loss
from gateway.dialects import OPENAI_CHAT
from gateway.ledger.store import StoredRow
from gateway.routing import explain, replay_decision

ID = re.compile("tg-[0-9a-f]{23}")
"""What ids of calls look like."""


def command(session: CommandSession, id: str, *, as_json: bool) -> None:
    """Decide the call again where this configuration did it; else tell what its row keeps."""
    books = session()
    with opened(books) as store:
        row = None if store is None else store.call(books.journal_folder, id)
    if row is None:
        raise click.ClickException(f"the ledger has no row of {id}; a call that runs has none.")
    router = session.site.router
    try:
        found = replay_decision.recall(router, row)
    except ProblemError as error:
        if as_json:
            click.echo(OPENAI_CHAT.problem(error.problem))
        else:
            click.secho(f"refused: {error.problem.for_operator}", fg="red", err=True)
        sys.exit(1)
    if as_json:
        click.echo(jsonio.shown(replay_decision.view(router, row)))
    elif isinstance(found, str):
        _kept(row, found)
    else:
        decision, plan = found
        show(decision, plan, [None] * len(plan.targets), row.dialect)


def _kept(row: StoredRow, why: str) -> None:
    """What the row says of its decision."""
    by = f"{row.source} {row.rule!r}" if row.rule else row.source or row.problem
    click.echo(click.style(_place(row.lab, row.tier), bold=True) + f" by {by}\n")
    basis = jsonio.loads(jsonio.dumps(row.basis)) or {}
    cells = [[name, _text(value)] for name, value in basis.items()]
    if cells:
        draw([TableColumn("kept"), TableColumn("value")], cells)
    click.secho(f"\n{why} `tiergate replay` decides it by this one.", fg="yellow")


def _place(lab: str | None, tier: str | None) -> str:
    """Return a lab and a tier as people write them; some models are of no tier."""
    return f"{lab}" if tier is None else f"{lab}/{tier}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else jsonio.dumps(value).decode()


def show(
    decision: Decision, plan: Plan, lost: Sequence[tuple[Loss, ...] | None], dialect: str
) -> None:
    """Print a decision for people; `dialect` is the client's."""
    sure = f", {decision.confidence:.0%} sure" if decision.confidence is not None else ""
    by = f"{decision.source} {decision.rule!r}" if decision.rule else decision.source
    place = _place(decision.lab, decision.tier)
    click.echo(click.style(place, bold=True) + f" by {by}{sure}\n")
    draw(
        [TableColumn("step"), TableColumn("effect"), TableColumn("why")],
        [[step.step, step.effect or "-", step.why] for step in decision.trace],
    )
    click.echo()
    labs = explain.labs(decision, plan)
    rows = zip(labs, plan.targets, plan.doors, lost, strict=True)
    for at, (lab, target, door, few) in enumerate(rows, 1):
        effort = f" at effort {target.effort}" if target.effort else ""
        abroad = f" through {door}" if door != dialect else ""
        lent = f" of the lab {lab}" if lab != decision.lab else ""
        click.echo(f"{at}. {target.name}{effort}{abroad}{lent}")
        for loss in few or ():
            click.secho(f"   {loss.field} is {loss.action}: {loss.why}", dim=True)
    for item in plan.skipped:
        more = f" ({item.detail})" if item.detail else ""
        click.secho(f"-  {item.target} is skipped: {item.reason}{more}", dim=True)
