"""`tiergate dial`: shows what each position of the quality dial gives."""

import time
from collections.abc import Sequence

import click

from gateway.cli.ledger_session import adopt_ledger_traffic, open_ledger, parse_query_options
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import progress
from gateway.cli.test import find_golden_file
from gateway.core import jsonio
from gateway.core.quality import DIAL_SHARES
from gateway.core.target import TIERS
from gateway.evaluation.dial_curve import DialPoint, LedgerCurve, compute_curve
from gateway.evaluation.golden_file import read_golden_file
from gateway.routing.quality_dial import USUAL_TOKENS, OwnTraffic


@click.command("dial")
@click.argument("file", required=False)
@click.option(
    "--since", help="Use own calls from: 90m, 24h, 7d, 4w ago, a date or a date and time."
)
@click.option("--json", "as_json", is_flag=True, help="Print the points as JSON.")
@pass_session
def command(session: CommandSession, file: str | None, *, since: str | None, as_json: bool) -> None:
    """Show what each position of the quality dial gives on golden prompts, or on own calls.

    FILE has golden prompts; by default it is golden.yaml beside the configuration. Rules decide
    first, as for a call; the dial decides where a classifier would. With --since the command uses
    the calls of the ledger that a classifier decided. Nothing is sent to anybody.

    \b
    Examples:
      tiergate dial
      tiergate dial golden.yaml --json
      tiergate dial --since 7d
    """  # noqa: D301 - \b is click's sign that lines stay apart
    if since is not None and file is not None:
        raise click.BadParameter("name a file of golden prompts or --since, not both.")
    points = _read_calls(session, since) if since else _decide_prompts(session, file)
    own_traffic = session.built_config.router.own_traffic
    if as_json:
        click.echo(jsonio.dumps_printable(points))
    elif points:
        _print_table(points)
        _print_basis(own_traffic)
    else:
        click.echo("No calls in the ledger that a classifier decided at a lab with known prices.")


def _decide_prompts(session: CommandSession, file: str | None) -> list[DialPoint]:
    prompts = read_golden_file(find_golden_file(session, file))
    keys = session.load_keys_by_name() if any(prompt.key is not None for prompt in prompts) else {}
    with open_ledger(session()) as store:
        adopt_ledger_traffic(session.built_config, store)
    ticks = len(prompts) * (len(DIAL_SHARES) + 1)
    with progress("deciding", ticks) as step:
        return compute_curve(session.built_config.router, prompts, keys, time.time(), step)


def _read_calls(session: CommandSession, since: str) -> list[DialPoint]:
    location = session()
    query = parse_query_options(since=since, until=None, only=[], zone=location.time_zone)
    curve = LedgerCurve(session.built_config.router)
    with open_ledger(location) as store:
        adopt_ledger_traffic(session.built_config, store)
        if store is not None:
            for row in store.read_replay_rows(**query.selection, zone=query.time_zone):
                curve.add(row)
    return curve.compute()


def _print_table(points: Sequence[DialPoint]) -> None:
    headings = ("quality", *TIERS, "keeps", "USD/1000", "agree")
    click.secho(_format_row(headings), bold=True)
    for point in points:
        click.secho(_format_row(_list_cells(point)), bold=point.position is None)
    click.echo(
        "Tiers are shares of the prompts. Kept is a share of the quality of the reasoning "
        "tier, as the classifier expects it."
    )


def _print_basis(own_traffic: OwnTraffic) -> None:
    """Print where token counts, and so costs and shares, come from."""
    for lab, (counts, own_tiers) in own_traffic.tokens.items():
        tiers = ", ".join(own_tiers)
        click.echo(
            f"Answers of {lab} have {_list_counts(counts)} tokens; your own calls give the "
            f"figures of {tiers}."
        )
    if not own_traffic.tokens:
        usual = _list_counts(USUAL_TOKENS)
        click.echo(
            f"Answers have {usual} tokens by tier: the ledger has too few answers for "
            "figures of its own."
        )
    reference = "the one that ships" if own_traffic.reference is None else "your own calls"
    click.echo(f"The reference set is {reference}.")


def _list_counts(counts: Sequence[int]) -> str:
    return ", ".join(f"{count:,}" for count in counts)


def _list_cells(point: DialPoint) -> tuple[str, ...]:
    return (
        _name_row(point),
        *(f"{point.tiers[tier] / point.prompts:.0%}" for tier in TIERS),
        "" if point.quality is None else f"{point.quality:.3f}",
        "unknown" if point.cost is None else f"{point.cost:.2f}",
        f"{point.prompts} calls" if point.agreed is None else f"{point.agreed} of {point.prompts}",
    )


def _name_row(point: DialPoint) -> str:
    if point.position is not None:
        return str(point.position)
    return "as set" if point.is_set or point.agreed is not None else "decided"


def _format_row(cells: Sequence[str]) -> str:
    name, *others = cells
    return f"{name:<8}" + "".join(f"{cell:>11}" for cell in others)
