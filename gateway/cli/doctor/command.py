"""`tiergate doctor`: what of the place where the gateway runs would break a promise."""

import sys
from collections import Counter
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from gateway.cli.doctor import targets
from gateway.cli.doctor.environment import DoctorFinding, findings
from gateway.cli.session import CommandSession, pass_session
from gateway.core import jsonio

_COLORS = {"ok": "green", "warning": "yellow", "error": "red"}


def _amount(_ctx: click.Context, option: click.Parameter, value: str) -> Decimal:
    try:
        found = Decimal(value)
    except InvalidOperation:
        found = Decimal(-1)
    if not found.is_finite() or found < 0:
        raise click.BadParameter(f"{value!r} is no amount of USD.", param=option)
    return found


@click.command("doctor")
@click.option(
    "--ask", is_flag=True, help="Send one tiny request to each target that is on; it costs money."
)
@click.option(
    "--most",
    default="0.05",
    show_default=True,
    metavar="USD",
    callback=_amount,
    help="What --ask may cost at most.",
)
@click.option(
    "--sample",
    type=click.Path(path_type=Path),
    metavar="LABELS",
    help="Say whether each tier beats the one below on these labels.",
)
@click.option("--strict", is_flag=True, help="Let warnings fail too.")
@click.option("--json", "as_json", is_flag=True, help="Print findings as JSON.")
@pass_session
def command(
    session: CommandSession,
    most: Decimal,
    sample: Path | None,
    *,
    ask: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Look at what the gateway finds where it runs, and say what would break a promise.

    Each finding says what is wrong, where, and, as far as there is one, the command that mends it.

    Redis, disks, the ledger's store, secrets, open files, keys, providers, and whether tiers are
    worth their price: it asks what the configuration names and nothing else, and changes nothing
    but a value in Redis for a second. Providers are asked nothing without --ask.

    \b
    Examples:
      tiergate doctor
      tiergate doctor --ask --most 0.10
      tiergate doctor --sample labels.jsonl
      tiergate doctor --strict --json

    \b
    Exit status:
      0  all promises can be kept; there may be warnings
      1  there is an error or, with --strict, a warning; or the configuration is wrong
      2  the command itself was not understood
    """  # noqa: D301 - the mark keeps click from filling these lines
    found = [*findings(session), *targets.prices(session)]
    if sample is not None:
        found += targets.sample(session, sample)
    if ask:
        found += targets.targets(session, most)
    count: Counter[str] = Counter(one.level for one in found)
    wrong = bool(count["error"] or (strict and count["warning"]))
    if as_json:
        told = {"ok": not wrong, "errors": count["error"], "warnings": count["warning"]}
        click.echo(jsonio.shown({**told, "findings": found}))
        sys.exit(1 if wrong else 0)
    wide = max(len(one.what) for one in found)
    for one in found:
        click.echo(_line(one, wide))
    kinds = [(count[level], level) for level in ("error", "warning")]
    said = [f"{number} {level}{'s' if number > 1 else ''}" for number, level in kinds if number]
    verdict = f"{'not ok' if wrong else 'ok'}: {', '.join([*said, f'{len(found)} looked at'])}"
    click.secho(verdict, fg="red" if wrong else "green")
    sys.exit(1 if wrong else 0)


def _line(one: DoctorFinding, wide: int) -> str:
    level = click.style(
        f"{one.level:<7}", fg=_COLORS[one.level], bold=True if one.level != "ok" else None
    )
    text = f"{level}  {one.what:<{wide}}  {one.message}{f' {one.hint}' if one.hint else ''}"
    space = " " * (11 + wide)
    where = f"\n{space}{click.style('where', dim=True)} {one.where}" if one.where else ""
    fix = f"\n{space}{click.style('fix', fg='cyan')}   {one.fix}" if one.fix else ""
    return text + (where + fix if one.level != "ok" else "")
