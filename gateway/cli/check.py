"""`tiergate check`: every mistake of a configuration, with file, line and the nearest name."""

import sys

import click

from gateway.cli.session import Session, pass_session
from gateway.core import jsonio
from gateway.core.target import TIERS
from gateway.limits import keys
from gateway.settings.mistake import ConfigError, Mistake


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print findings as JSON.")
@pass_session
def command(session: Session, *, as_json: bool) -> None:
    """Find every mistake in the configuration. Exit status 1 when there is an error."""
    mistakes: list[Mistake] = []
    try:
        mistakes += session.site.warnings
        mistakes += _refusals(session)
    except ConfigError as error:
        mistakes += error.mistakes
    wrong = any(mistake.level == "error" for mistake in mistakes)
    if as_json:
        click.echo(jsonio.dumps({"ok": not wrong, "findings": mistakes}))
    else:
        for mistake in mistakes:
            color = "red" if mistake.level == "error" else "yellow"
            click.secho(str(mistake), fg=color)
        _verdict(session, len(mistakes), wrong=wrong)
    sys.exit(1 if wrong else 0)


def _refusals(session: Session) -> list[Mistake]:
    """What keeps a valid configuration from starting here: keys, and labs that are all off."""
    source, labs = session.source, session.site.built.catalogue.labs.values()
    keys.load(source.config.keys, source.file.parent, session.environ.get("TIERGATE_KEYS", ""))
    if any(lab.on for lab in labs):
        return []
    whys = "; ".join(f"{lab.name}: {lab.why}" for lab in labs) or "none is configured"
    return [source.mistake(("labs",), f"no lab is on ({whys}).")]


def _verdict(session: Session, count: int, *, wrong: bool) -> None:
    if wrong:
        click.echo(f"{count} finding{'s' if count > 1 else ''}; the gateway would not start.")
        return
    catalogue = session.site.built.catalogue
    for lab in catalogue.labs.values():
        sizes = ", ".join(f"{tier} {len(lab.tiers.get(tier, ()))}" for tier in TIERS)
        click.echo(f"{'on ' if lab.on else 'off'} {lab.name}: {sizes if lab.on else lab.why}")
    config = session.source.config
    rules = f"{len(config.guards)} guards, {len(config.choices)} choices"
    on = sum(lab.on for lab in catalogue.labs.values())
    click.secho(f"ok: {on} of {len(catalogue.labs)} labs on, {rules}, version {catalogue.version}")
