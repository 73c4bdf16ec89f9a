"""`tiergate check`: every mistake of a configuration, with file, line and the nearest name."""

import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import click
import msgspec

from gateway.cli.app import styled
from gateway.cli.session import CommandSession, pass_session
from gateway.core import jsonio
from gateway.core.call import OPEN
from gateway.core.target import TIERS, Target
from gateway.dialects import DIALECTS
from gateway.ledger import sqlite_damage
from gateway.ledger.sqlite import SCHEME
from gateway.limits.unbounded_targets import unbounded
from gateway.routing.lint import unreachable_rules
from gateway.runtime.build import cautions, data_folder, refusals, site, store_url
from gateway.settings import changed_defaults, price_check
from gateway.settings.diff import ConfigChange, changes, switched
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.loader import load
from gateway.settings.unreachable import reach
from gateway.state.redis.diagnostics import advise

_TIER = re.compile(rf"^(labs\..+)\.({'|'.join(TIERS)})\b")
_POSTGRES = ("postgresql://", "postgres://")


@click.command("check")
@click.option("--strict", is_flag=True, help="Let warnings fail too.")
@click.option("--json", "as_json", is_flag=True, help="Print findings as JSON.")
@click.option(
    "--against",
    type=click.Path(readable=False),
    metavar="PATH",
    help="Tell what is another than in this configuration.",
)
@pass_session
def command(session: CommandSession, against: str | None, *, strict: bool, as_json: bool) -> None:
    """Find every mistake in the configuration.

    \b
    Examples:
      tiergate check
      tiergate --config new.yaml check --strict
      tiergate check --against config/gateway.yaml
      tiergate check --json

    \b
    Exit status:
      0  the gateway would start; there may be warnings
      1  there is an error or, with --strict, a warning
      2  the command itself was not understood
    """  # noqa: D301 - the mark keeps click from filling these lines
    found = _findings(session)
    count: Counter[str] = Counter(mistake.level for mistake in found)
    wrong = bool(count["error"] or (strict and found))
    others = [] if against is None or count["error"] else _changes(session, Path(against))
    notes = [] if count["error"] else _notes(session)
    if as_json:
        told: dict[str, object] = {
            "ok": not wrong,
            "errors": count["error"],
            "warnings": count["warning"],
        }
        told["changed_defaults"] = notes
        more = {} if against is None else {"changes": others}
        click.echo(jsonio.shown({**told, "findings": found, **more}))
        sys.exit(1 if wrong else 0)
    for mistake in found:
        click.echo(styled(mistake))
    for one in others:
        click.echo(f"{one} (waits for a new start)" if one.waits else f"{one}")
    if against is not None and not others and not count["error"]:
        click.echo(f"Nothing is another than in {against}.")
    if notes:
        click.echo("Defaults that have changed, and that this configuration leaves open:")
    for note in notes:
        click.echo(f"  {note}")
    if not count["error"]:
        _labs(session)
    click.secho(_verdict(session, count, strict=strict), fg="red" if wrong else "green")
    sys.exit(1 if wrong else 0)


def _changes(session: CommandSession, file: Path) -> list[ConfigChange]:
    """What is another than in a configuration that is in force somewhere. Raises ConfigError."""
    before = site(load(file, session.environ), datetime.now(UTC))
    now = session.site
    return [*switched(before.built, now.built), *changes(before.source, now.source)]


def _findings(session: CommandSession) -> list[Mistake]:
    """What is wrong, in the order of files and lines; one part's errors hide no other part's."""
    try:
        _ = session.source
    except ConfigError as error:
        return _sorted(error.mistakes)
    found: list[Mistake] = []
    parts: list[Callable[[CommandSession], list[Mistake]]] = [
        _configured,
        _started,
        _written,
        _shadowed,
    ]
    for part in parts:
        try:
            found += part(session)
        except ConfigError as error:
            found += error.mistakes
    return _sorted(found)


def _shadowed(session: CommandSession) -> list[Mistake]:
    """What keeps a candidate from deciding beside it, which stops nothing else."""
    source, environ = session.source, session.environ
    name = source.config.routing.shadow
    if name is None:
        return []
    try:
        site(load(source.file.parent / name, environ), datetime.now(UTC))
    except ConfigError as error:
        return [msgspec.structs.replace(one, level="warning") for one in error.mistakes]
    return []


def _notes(session: CommandSession) -> list[changed_defaults.ChangedDefaultNote]:
    """Return the changed defaults that the configuration meets."""
    tenants = {key.tenant for key in session.key_table().known()}
    return [*changed_defaults.notes(session.source, several_tenants=len(tenants) > 1)]


def _sorted(found: list[Mistake]) -> list[Mistake]:
    """By file and line; what tiers that share their list all have wrong is told once."""
    once: dict[tuple[object, ...], Mistake] = {}
    for one in found:
        place = _TIER.sub(r"\1", one.path)
        once.setdefault((one.file, one.line, place, one.level, one.message), one)
    return sorted(once.values(), key=lambda item: (item.file, item.line or 0))


def _configured(session: CommandSession) -> list[Mistake]:
    site = session.site
    doubtful = price_check.doubtful(session.source, site.built, datetime.now(UTC))
    return [
        *_shared(session),
        *site.warnings,
        *reach(session.source, site.built.catalogue),
        *doubtful,
    ]


def _shared(session: CommandSession) -> list[Mistake]:
    """What of Redis would break a promise."""
    url, config = session.environ.get("REDIS_URL"), session.source.config
    if not url:
        return []
    near = config.cache.near is not None
    counts, verify = bool(config.limits or config.budgets), config.redis.verify
    return advise(url, counts=counts, near=near, verify=verify)


def _started(session: CommandSession) -> list[Mistake]:
    """What keeps a valid configuration from starting here: its keys, and labs that are all off."""
    config, known = session.source.config, session.key_table()
    callers = [OPEN] if known.is_open else known.known()
    return [
        *refusals(session.site, known, config.server.host),
        *cautions(session.site, known, session.environ),
        *unreachable_rules.warnings(session.source, DIALECTS, callers),
        *unbounded(
            session.source, session.site.built.catalogue, callers, datetime.now(UTC).timestamp()
        ),
    ]


def _written(session: CommandSession) -> list[Mistake]:
    """Places of the ledger that cannot be written."""
    source, data = session.source, data_folder(session.environ)
    url, here = source.config.ledger.store, ("ledger", "store")
    why = _barred(data / source.config.ledger.journal)
    found = [source.mistake(("ledger", "journal"), why, _elsewhere())] if why else []
    if url.startswith(_POSTGRES):
        if find_spec("psycopg") is None:
            hint = "Install it: pip install 'tiergate[postgres]'."
            found.append(source.mistake(here, "PostgreSQL needs the extra `postgres`.", hint))
        return found
    file = Path(store_url(url, data).removeprefix(SCHEME))
    if not url.startswith(SCHEME) or url == SCHEME:
        scheme = url.partition(":")[0]  # and no more: a password may stand in the rest
        message = f"{scheme!r} is no store that can be used."
        hint = f"Write it as {SCHEME}ledger.db or postgresql://user:password@host/database."
        found.append(source.mistake(here, message, hint))
    elif file.is_dir():
        found.append(source.mistake(here, f"{file} is a folder.", "Name a file."))
    elif why := _barred(file.parent):
        found.append(source.mistake(here, why, _elsewhere()))
    else:
        for one in sqlite_damage.set_aside_before(file):
            message = f"{one} was found damaged and set aside, and the store was made anew."
            hint = "Look at the disk, and remove it once you have no use for it."
            found.append(source.mistake(here, message, hint, warn=True))
    return found


def _barred(folder: Path) -> str:
    """Why a folder cannot be made or written in; empty where it can. Nothing is made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        return f"{there} is a file, and a folder is needed."
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written."


def _elsewhere() -> str:
    return "Give another place, or move all of them with TIERGATE_DATA."


def _labs(session: CommandSession) -> None:
    """One line a lab: how many of its targets can serve, or why it is off."""
    for lab in session.site.built.catalogue.labs.values():
        sizes = ", ".join(f"{tier} {_size(lab.tiers.get(tier, ()))}" for tier in TIERS)
        mark = click.style("on ", fg="green") if lab.on else click.style("off", dim=True)
        click.echo(f"{mark} {lab.name}: {sizes if lab.on else lab.why}")


def _size(targets: tuple[Target, ...]) -> str:
    on = sum(target.provider.on for target in targets)
    return f"{on}" if on == len(targets) else f"{on} of {len(targets)}"


def _verdict(session: CommandSession, count: Counter[str], *, strict: bool) -> str:
    said = [
        f"{count[level]} {level}{'s' if count[level] > 1 else ''}"
        for level in ("error", "warning")
        if count[level]
    ]
    if count["error"]:
        return f"{', '.join(said)}: the gateway would not start."
    config, catalogue = session.source.config, session.site.built.catalogue
    on = sum(lab.on for lab in catalogue.labs.values())
    rules = f"{len(config.guards)} guards, {len(config.choices)} choices"
    word = "not ok, as --strict asks" if strict and said else "ok"
    parts = [*said, f"{on} of {len(catalogue.labs)} labs on", rules, f"version {catalogue.version}"]
    return f"{word}: {', '.join(parts)}"
