"""`tiergate doctor`: finds what would break a promise where the gateway runs."""

import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import click

from gateway.cli.app import parse_amount
from gateway.cli.doctor import targets
from gateway.cli.doctor.environment import DoctorFinding, check_environment
from gateway.cli.session import CommandSession, pass_session
from gateway.core import jsonio
from gateway.core.target import TIERS

_LEVEL_COLORS = {"ok": "green", "warning": "yellow", "error": "red"}


@click.command("doctor")
@click.option(
    "--ask",
    is_flag=True,
    help="Send one tiny request to each target that is on. This costs money.",
)
@click.option(
    "--most",
    default="0.05",
    show_default=True,
    metavar="USD",
    callback=parse_amount,
    help="The highest cost of --ask.",
)
@click.option(
    "--sample",
    type=click.Path(path_type=Path),
    metavar="LABELS",
    help="Check that each tier beats the one below on these labels.",
)
@click.option(
    "--live",
    is_flag=True,
    help="Try each lab with fixed probes, and record what providers answer. This costs money.",
)
@click.option(
    "--budget",
    default="0.10",
    show_default=True,
    metavar="USD",
    callback=parse_amount,
    help="The highest cost of --live.",
)
@click.option(
    "--lab", "labs", multiple=True, metavar="LAB", help="A lab for --live; all by default."
)
@click.option(
    "--tier",
    "tiers",
    multiple=True,
    type=click.Choice(TIERS),
    help="A tier for --live; all by default.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="A model for --live, also one that no lab lists; in place of those of labs.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The recording of --live; by default in `recordings` of the data folder.",
)
@click.option(
    "--unpriced", is_flag=True, help="Let --live probe models without a price, beside the budget."
)
@click.option("--yes", is_flag=True, help="Let --live begin without a question.")
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
@click.option("--json", "as_json", is_flag=True, help="Print findings as JSON.")
@pass_session
def command(  # noqa: PLR0913 - its options
    session: CommandSession,
    most: Decimal,
    sample: Path | None,
    budget: Decimal,
    labs: tuple[str, ...],
    tiers: tuple[str, ...],
    models: tuple[str, ...],
    record: Path | None,
    *,
    ask: bool,
    live: bool,
    unpriced: bool,
    yes: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Look at what the gateway finds where it runs, and say what would break a promise.

    Each finding says what is wrong, where, and, as far as there is one, the command that mends it.

    Redis, disks, the ledger's store, secrets, open files, keys, providers, and whether tiers are
    worth their price: it asks what the configuration names and nothing else, and changes nothing
    but a value in Redis for a second. Providers are asked nothing without --ask or --live, and
    --live also writes its recording.

    \b
    Examples:
      tiergate doctor
      tiergate doctor --ask --most 0.10
      tiergate doctor --live --budget 0.10
      tiergate doctor --live --model gpt-4o --model gpt-4o-mini
      tiergate doctor --live --lab openai --tier fast --record openai.jsonl
      tiergate doctor --sample labels.jsonl
      tiergate doctor --strict --json

    \b
    Exit status:
      0  all promises can be kept; there may be warnings
      1  there is an error or, with --strict, a warning; or the configuration is wrong
      2  the command itself was not understood
    """  # noqa: D301 - the mark keeps click from filling these lines
    results = [*check_environment(session), *targets.check_prices(session)]
    if any(item.cloud_auth for item in session.built_config.built_catalogue.providers.values()):
        from gateway.cli.doctor.credentials import check_credentials  # noqa: PLC0415 - slow to import

        results += check_credentials(session)
    if sample is not None:
        results += targets.check_sample(session, sample)
    if ask:
        from gateway.cli.doctor.ask import ask_targets  # noqa: PLC0415 - slow to import

        results += ask_targets(session, most)
    if live:
        from gateway.cli.doctor.live.start import LiveOptions, check_live  # noqa: PLC0415 - likewise

        results += check_live(
            session,
            LiveOptions(
                budget=budget,
                labs=labs,
                tiers=tiers,
                models=models,
                record=record,
                sends_unpriced=unpriced,
                is_confirmed=yes,
                is_quiet=as_json,
            ),
        )
    counts: Counter[str] = Counter(finding.level for finding in results)
    has_failed = bool(counts["error"] or (strict and counts["warning"]))
    if as_json:
        summary = {"ok": not has_failed, "errors": counts["error"], "warnings": counts["warning"]}
        click.echo(jsonio.dumps_printable({**summary, "findings": results}))
        sys.exit(1 if has_failed else 0)
    width = max(len(finding.what) for finding in results)
    for finding in results:
        click.echo(_format_finding(finding, width))
    level_counts = [(counts[level], level) for level in ("error", "warning")]
    phrases = [
        f"{level_count} {level}{'s' if level_count > 1 else ''}"
        for level_count, level in level_counts
        if level_count
    ]
    verdict = (
        f"{'not ok' if has_failed else 'ok'}: {', '.join([*phrases, f'{len(results)} looked at'])}"
    )
    click.secho(verdict, fg="red" if has_failed else "green")
    sys.exit(1 if has_failed else 0)


def _format_finding(finding: DoctorFinding, width: int) -> str:
    level = click.style(
        f"{finding.level:<7}",
        fg=_LEVEL_COLORS[finding.level],
        bold=True if finding.level != "ok" else None,
    )
    hint = f" {finding.hint}" if finding.hint else ""
    text = f"{level}  {finding.what:<{width}}  {finding.message}{hint}"
    indent = " " * (11 + width)
    where_line = (
        f"\n{indent}{click.style('where', dim=True)} {finding.where}" if finding.where else ""
    )
    fix_line = f"\n{indent}{click.style('fix', fg='cyan')}   {finding.fix}" if finding.fix else ""
    return text + (where_line + fix_line if finding.level != "ok" else "")
