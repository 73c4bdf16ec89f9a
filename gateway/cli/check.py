"""`tiergate check`: finds every mistake of a configuration, with file, line and nearest name."""

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

from gateway.cli.app import format_mistake
from gateway.cli.session import CommandSession, pass_session
from gateway.core import jsonio
from gateway.core.call import OPEN_KEY
from gateway.core.target import TIERS, Target
from gateway.dialects import DIALECTS
from gateway.ledger import sqlite_damage
from gateway.limits.budget_rises import find_ended_rises, list_rises
from gateway.limits.unbounded_targets import find_unbounded_targets
from gateway.routing.lint import unreachable_rules
from gateway.runtime.build import (
    build_config,
    find_cautions,
    find_refusals,
)
from gateway.settings import changed_defaults, price_check
from gateway.settings.data_folder import SQLITE_SCHEME, find_data_folder, resolve_store_url
from gateway.settings.diff import ConfigChange, list_changes, list_switched_labs
from gateway.settings.environment import find_shipped_config
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.loader import load
from gateway.settings.unreachable import find_unreachable

_TIER_PATTERN = re.compile(rf"^(labs\..+)\.({'|'.join(TIERS)})\b")
_POSTGRES_SCHEMES = ("postgresql://", "postgres://")


@click.command("check")
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
@click.option("--json", "as_json", is_flag=True, help="Print findings as JSON.")
@click.option(
    "--against",
    type=click.Path(readable=False),
    metavar="PATH",
    help="List the differences from this configuration.",
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
    findings = _collect_findings(session)
    counts: Counter[str] = Counter(mistake.level for mistake in findings)
    has_failed = bool(counts["error"] or (strict and findings))
    config_changes = (
        [] if against is None or counts["error"] else _list_changes(session, Path(against))
    )
    notes = [] if counts["error"] else _list_changed_defaults(session)
    rises = [] if counts["error"] else _list_rises(session)
    if as_json:
        summary: dict[str, object] = {
            "ok": not has_failed,
            "errors": counts["error"],
            "warnings": counts["warning"],
        }
        summary["changed_defaults"] = notes
        summary["raised_budgets"] = rises
        extra_fields = {} if against is None else {"changes": config_changes}
        click.echo(jsonio.dumps_printable({**summary, "findings": findings, **extra_fields}))
        sys.exit(1 if has_failed else 0)
    for mistake in findings:
        click.echo(format_mistake(mistake))
    for change in config_changes:
        click.echo(f"{change} (needs a restart)" if change.waits else f"{change}")
    if against is not None and not config_changes and not counts["error"]:
        click.echo(f"There is no difference from {against}.")
    if notes:
        click.echo("Defaults that have changed, and that this configuration does not set:")
    for note in notes:
        click.echo(f"  {note}")
    if rises:
        click.echo("Budgets that are raised for a time:")
    for rise in rises:
        click.echo(f"  {rise}")
    if not counts["error"]:
        _print_labs(session)
    click.secho(
        _format_verdict(session, counts, strict=strict), fg="red" if has_failed else "green"
    )
    sys.exit(1 if has_failed else 0)


def _list_changes(session: CommandSession, file: Path) -> list[ConfigChange]:
    """List how the configuration differs from the one in `file`. Raises ConfigError."""
    old_config = build_config(load(file, session.environ), datetime.now(UTC))
    new_config = session.built_config
    return [
        *list_switched_labs(old_config.built_catalogue, new_config.built_catalogue),
        *list_changes(old_config.source, new_config.source),
    ]


def _collect_findings(session: CommandSession) -> list[Mistake]:
    """Collect all mistakes by file and line. An error in one part hides none in another part."""
    try:
        _ = session.source
    except ConfigError as error:
        return _sort_mistakes(error.mistakes)
    mistakes: list[Mistake] = []
    checks: list[Callable[[CommandSession], list[Mistake]]] = [
        _check_redis,
        _check_config,
        _check_start,
        _check_ledger_paths,
        _check_shadow_config,
    ]
    for check in checks:
        try:
            mistakes += check(session)
        except ConfigError as error:
            mistakes += error.mistakes
    return _sort_mistakes(mistakes)


def _check_shadow_config(session: CommandSession) -> list[Mistake]:
    """Return the mistakes of the candidate configuration (routing.shadow) as warnings.

    The gateway starts without a candidate.
    """
    source, environ = session.source, session.environ
    name = source.config.routing.shadow
    if name is None:
        return []
    try:
        build_config(load(source.file.parent / name, environ), datetime.now(UTC))
    except ConfigError as error:
        return [msgspec.structs.replace(mistake, level="warning") for mistake in error.mistakes]
    return []


def _list_rises(session: CommandSession) -> list[str]:
    """Return the budgets that are raised now, in words."""
    keys = session.load_key_table().list_keys()
    return list_rises(session.source, keys, datetime.now(UTC).timestamp())


def _list_changed_defaults(session: CommandSession) -> list[changed_defaults.ChangedDefaultNote]:
    """Return the changed defaults that affect the configuration."""
    tenants = {key.tenant for key in session.load_key_table().list_keys()}
    return [*changed_defaults.find_notes(session.source, several_tenants=len(tenants) > 1)]


def _sort_mistakes(mistakes: list[Mistake]) -> list[Mistake]:
    """Sort mistakes by file and line. If tiers share a list, report a mistake in it once."""
    unique: dict[tuple[object, ...], Mistake] = {}
    for mistake in mistakes:
        path = _TIER_PATTERN.sub(r"\1", mistake.path)
        unique.setdefault(
            (mistake.file, mistake.line, path, mistake.level, mistake.message), mistake
        )
    return sorted(unique.values(), key=lambda item: (item.file, item.line or 0))


def _check_config(session: CommandSession) -> list[Mistake]:
    built_config = session.built_config
    price_warnings = price_check.find_doubtful_prices(
        session.source,
        built_config.built_catalogue,
        datetime.now(UTC),
        shipped_folder=find_shipped_config().parent,
    )
    return [
        *built_config.warnings,
        *find_unreachable(session.source, built_config.built_catalogue.catalogue),
        *price_warnings,
    ]


def _check_redis(session: CommandSession) -> list[Mistake]:
    """Return the settings of Redis that would break a promise."""
    url, config = session.environ.get("REDIS_URL"), session.source.config
    if not url:
        return []
    from gateway.state.redis.diagnostics import advise  # noqa: PLC0415 - slow to import

    has_near_cache = config.cache.near is not None
    has_counters, verify = session.has_counters(), config.redis.verify
    return advise(url, has_counters=has_counters, near=has_near_cache, verify=verify)


def _check_start(session: CommandSession) -> list[Mistake]:
    """Check a valid configuration with the keys and the environment of this machine.

    Return errors that keep the gateway from starting, and warnings: cautions, rules that no call
    reaches, and targets that a hard budget excludes.
    """
    config, key_table = session.source.config, session.load_key_table()
    callers = [OPEN_KEY] if key_table.is_open else key_table.list_keys()
    return [
        *find_refusals(session.built_config, key_table, config.server.host),
        *find_cautions(session.built_config, key_table, session.environ),
        *unreachable_rules.list_warnings(session.source, DIALECTS, callers),
        *find_unbounded_targets(
            session.source,
            session.built_config.built_catalogue.catalogue,
            callers,
            datetime.now(UTC).timestamp(),
        ),
        *find_ended_rises(session.source, callers, datetime.now(UTC).timestamp()),
    ]


def _check_ledger_paths(session: CommandSession) -> list[Mistake]:
    """Check that the gateway can write the ledger's journal and store.

    Also warn about damaged stores that a gateway has set aside.
    """
    source, data_root = session.source, find_data_folder(session.environ)
    url, setting = source.config.ledger.store, ("ledger", "store")
    reason = _explain_unwritable(data_root / source.config.ledger.journal)
    mistakes = (
        [source.make_mistake(("ledger", "journal"), reason, _suggest_other_folder())]
        if reason
        else []
    )
    if url.startswith(_POSTGRES_SCHEMES):
        if find_spec("psycopg") is None:
            hint = "Install it: pip install 'tiergate[postgres]'."
            mistakes.append(
                source.make_mistake(setting, "PostgreSQL needs the extra `postgres`.", hint)
            )
        return mistakes
    file = Path(resolve_store_url(url, data_root).removeprefix(SQLITE_SCHEME))
    if not url.startswith(SQLITE_SCHEME) or url == SQLITE_SCHEME:
        scheme = url.partition(":")[0]  # only the scheme, as the rest may have a password
        message = f"the gateway cannot use {scheme!r} as a store."
        hint = f"Write it as {SQLITE_SCHEME}ledger.db or postgresql://user:password@host/database."
        mistakes.append(source.make_mistake(setting, message, hint))
    elif file.is_dir():
        mistakes.append(source.make_mistake(setting, f"{file} is a folder.", "Name a file."))
    elif reason := _explain_unwritable(file.parent):
        mistakes.append(source.make_mistake(setting, reason, _suggest_other_folder()))
    else:
        for damaged_file in sqlite_damage.list_aside_files(file):
            message = (
                f"{damaged_file} is a damaged store that the gateway moved aside; it has "
                "rebuilt the store."
            )
            hint = "Check the disk, and delete the damaged file when you no longer need it."
            mistakes.append(source.make_mistake(setting, message, hint, warn=True))
    return mistakes


def _explain_unwritable(folder: Path) -> str:
    """Say why the gateway cannot make a folder or write in it; empty if it can. Make nothing."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        return f"{existing} is a file, but the gateway needs a folder."
    return "" if os.access(existing, os.W_OK | os.X_OK) else f"{existing} cannot be written."


def _suggest_other_folder() -> str:
    return "Set another path, or move all of them with TIERGATE_DATA."


def _print_labs(session: CommandSession) -> None:
    """Print one line for each lab: how many of its targets can serve, or why it is off."""
    for lab in session.built_config.built_catalogue.catalogue.labs.values():
        target_counts = ", ".join(
            f"{tier} {_format_target_count(lab.tiers.get(tier, ()))}" for tier in TIERS
        )
        status = click.style("on ", fg="green") if lab.enabled else click.style("off", dim=True)
        click.echo(f"{status} {lab.name}: {target_counts if lab.enabled else lab.disabled_reason}")


def _format_target_count(targets: tuple[Target, ...]) -> str:
    enabled_count = sum(target.provider.enabled for target in targets)
    return (
        f"{enabled_count}"
        if enabled_count == len(targets)
        else f"{enabled_count} of {len(targets)}"
    )


def _format_verdict(session: CommandSession, counts: Counter[str], *, strict: bool) -> str:
    phrases = [
        f"{counts[level]} {level}{'s' if counts[level] > 1 else ''}"
        for level in ("error", "warning")
        if counts[level]
    ]
    if counts["error"]:
        return f"{', '.join(phrases)}: the gateway would not start."
    config, catalogue = session.source.config, session.built_config.built_catalogue.catalogue
    enabled_labs = sum(lab.enabled for lab in catalogue.labs.values())
    rule_counts = f"{len(config.guards)} guards, {len(config.choices)} choices"
    status = "not ok: --strict refuses warnings" if strict and phrases else "ok"
    parts = [
        *phrases,
        f"{enabled_labs} of {len(catalogue.labs)} labs on",
        rule_counts,
        f"version {catalogue.version}",
    ]
    return f"{status}: {', '.join(parts)}"
