"""`tiergate dial`: what each position of the quality dial gives on golden prompts."""

import time
from collections.abc import Sequence

import click

from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import progress
from gateway.cli.test import find_golden_file, read_golden_prompts
from gateway.core import jsonio
from gateway.core.quality import DIAL_SHARES
from gateway.core.target import TIERS
from gateway.evaluation.dial_curve import DialPoint, compute_curve


@click.command("dial")
@click.argument("file", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the points as JSON.")
@pass_session
def command(session: CommandSession, file: str | None, *, as_json: bool) -> None:
    """Show what each position of the quality dial gives on the golden prompts of FILE.

    FILE is golden.yaml beside the configuration where none is named. Rules decide first, as for a
    call; the dial decides where a classifier would. Nothing is sent to anybody.

    \b
    Examples:
      tiergate dial
      tiergate dial golden.yaml --json
    """  # noqa: D301 - \b is click's sign that lines stay apart
    prompts = read_golden_prompts(find_golden_file(session, file))
    keys = session.load_keys_by_name() if any(prompt.key is not None for prompt in prompts) else {}
    ticks = len(prompts) * (len(DIAL_SHARES) + 1)
    with progress("deciding", ticks) as step:
        points = compute_curve(session.built_config.router, prompts, keys, time.time(), step)
    if as_json:
        click.echo(jsonio.dumps_printable(points))
    else:
        _print_table(points)


def _print_table(points: Sequence[DialPoint]) -> None:
    headings = ("quality", *TIERS, "keeps", "USD/1000", "agree")
    click.secho(_format_row(headings), bold=True)
    for point in points:
        click.secho(_format_row(_list_cells(point)), bold=point.position is None)
    click.echo(
        "Tiers are shares of the prompts. What is kept is of the quality that reasoning would give,"
        " as the classifier expects it."
    )


def _list_cells(point: DialPoint) -> tuple[str, ...]:
    return (
        "as set" if point.position is None else str(point.position),
        *(f"{point.tiers[tier] / point.prompts:.0%}" for tier in TIERS),
        "" if point.quality is None else f"{point.quality:.3f}",
        "unknown" if point.cost is None else f"{point.cost:.2f}",
        f"{point.agreed} of {point.prompts}",
    )


def _format_row(cells: Sequence[str]) -> str:
    name, *others = cells
    return f"{name:<8}" + "".join(f"{cell:>11}" for cell in others)
