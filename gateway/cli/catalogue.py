"""`tiergate catalogue`: compares the prices in the configuration's files with the price list."""

import difflib
from datetime import UTC, date, datetime
from pathlib import Path

import click

import gateway
from gateway.cli.app import CommandGroup
from gateway.cli.session import CommandSession, pass_session
from gateway.core.target import TIERS
from gateway.settings import list_prices
from gateway.settings.loader import ConfigSource
from gateway.settings.price_update import FileUpdate, KeptPrice, PriceUpdate, plan_update

_PACKAGED_CONFIG = Path(gateway.__file__).parent / "_config"


@click.group("catalogue", cls=CommandGroup)
def command() -> None:
    """Compare the configuration's models and prices with the installed price list.

    \b
    Examples:
      tiergate catalogue update
      tiergate catalogue update --write
    """  # noqa: D301 - the mark keeps click from filling these lines


@command.command("update")
@click.option("--write", is_flag=True, help="Write the files; without it, print the differences.")
@click.option(
    "--date",
    "day_text",
    metavar="DAY",
    help="The day of the price list; by default that of its newest price.",
)
@pass_session
def update(session: CommandSession, day_text: str | None, *, write: bool) -> None:
    """Bring written prices up to the installed genai-prices, as a diff to review.

    A price changes only if its `as_of` is before the day of the list, and if no comment stands in
    its lines or right above them. All others stay, and are named with the reason: those with an
    `as_of` as new as the list, with a comment, with later prices (`from`), or without `as_of`.
    Models that the list calls deprecated are named, too. Nothing is fetched: install a newer list
    with `pip install -U genai-prices`.

    \b
    Examples:
      tiergate catalogue update
      tiergate catalogue update --date 2026-11-30
      tiergate catalogue update --write

    \b
    Exit status:
      0  the differences are printed or written, or there are none
      1  there is no price list, or a file cannot be written
      2  the command itself was not understood
    """  # noqa: D301 - the mark keeps click from filling these lines
    if not list_prices.is_installed():
        message = "There is no price list. Install it: pip install 'tiergate[prices]'."
        raise click.ClickException(message)
    now, source = datetime.now(UTC), session.source
    day = _read_day(day_text) or list_prices.find_list_date(now.date()) or now.date()
    planned = plan_update(
        source,
        lambda provider, model: list_prices.find_price(provider, model, now),
        now,
        day,
    )
    for file in planned.files:
        if write:
            _write(file)
        else:
            click.echo(_format_diff(file), nl=False)
    for kept in planned.kept:
        click.echo(_format_kept(kept), err=True)
    for name in _list_deprecated(source):
        click.echo(f"{name}: the list calls it deprecated.", err=True)
    has_diff = bool(planned.files) and not write
    click.echo(_format_summary(planned, day, is_written=write), err=has_diff)  # no part of a diff


def _read_day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is no day: write it as 2026-11-30."
        raise click.BadParameter(message, param_hint="--date") from None


def _write(file: FileUpdate) -> None:
    if file.file.resolve().is_relative_to(_PACKAGED_CONFIG):
        message = f"{file.file} belongs to the installed package. `tiergate init` makes your own."
        raise click.ClickException(message)
    file.file.write_bytes(file.new_text.encode())


def _format_diff(file: FileUpdate) -> str:
    lines = difflib.unified_diff(
        file.old_text.splitlines(keepends=True),
        file.new_text.splitlines(keepends=True),
        fromfile=f"a/{file.file}",
        tofile=f"b/{file.file}",
    )
    return "".join(lines)


def _format_kept(kept: KeptPrice) -> str:
    rates = ", ".join(
        f"{name} {ours:f} (list {theirs:f})" for name, ours, theirs in kept.differences
    )
    return f"{kept.place}: {kept.name} stays, as {kept.reason}: {rates}"


def _list_deprecated(source: ConfigSource) -> list[str]:
    """Return the targets of tiers that the list calls deprecated."""
    config = source.config
    targets = dict.fromkeys(
        (item.provider or lab, item.model)
        for lab, lab_part in config.labs.items()
        for tier in TIERS
        for item in getattr(lab_part, tier)
    )
    return [
        f"{provider}/{model}"
        for provider, model in targets
        if list_prices.is_deprecated(config.providers[provider].prices or provider, model)
    ]


def _format_summary(planned: PriceUpdate, day: date, *, is_written: bool) -> str:
    count, kept = len(planned.updated_names), len(planned.kept)
    verb = "written" if is_written else "to update"
    version = list_prices.find_version()
    return f"genai-prices {version}, of {day}: {count} prices {verb}, {kept} differ and stay."
