"""`tiergate import`: a configuration of another gateway as one of this gateway."""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli.session import CommandSession, pass_session
from gateway.core import jsonio
from gateway.importers import writer as texts
from gateway.importers.draft import ConfigDraft, ImportNote
from gateway.importers.providers import ShippedProviders
from gateway.importers.reader import KINDS, convert
from gateway.runtime.build import site
from gateway.settings import yaml
from gateway.settings.environment import shipped
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.loader import load

_COLORS = {"kept": "green", "changed": "yellow", "dropped": "red"}
_MOST = 4_000_000
"""Characters of a file: what people write is a thousandth of that."""


@click.command("import")
@click.argument("kind", type=click.Choice([*KINDS]))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the configuration goes; keys in clear move to .env. [standard output]",
)
@click.option("--force", is_flag=True, help="Overwrite what is there; lines of .env stay.")
@click.option("--strict", is_flag=True, help="Fail where anything could not be carried over.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the report, and the configuration, as JSON."
)
@pass_session
def command(
    session: CommandSession,
    kind: str,
    file: Path,
    output: Path | None,
    *,
    force: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Turn a configuration of LiteLLM, Portkey or claude-code-router (ccr) into one of tiergate.

    It says of each part, with its line, whether it was kept, changed or dropped, and why. No secret
    is written into the configuration: keys in clear become lines of .env. Nothing is sent to
    anybody.

    \b
    Examples:
      tiergate import litellm config.yaml --output config/gateway.yaml
      tiergate import portkey config.json --output config/gateway.yaml
      tiergate import ccr ~/.claude-code-router/config.json --output config/gateway.yaml
      tiergate import litellm config.yaml --json

    \b
    Exit status:
      0  it is imported; the report says what is not as it was
      1  it cannot be read, nothing of it could be used or, with --strict, something was dropped
      2  the command itself was not understood
    """  # noqa: D301 - \b is click's sign that lines stay apart
    draft = convert(kind, _text(file), str(file), _shipped(), session.environ)
    if not any(lab.keys() - {"about"} for lab in draft.labs.values()):
        for note in draft.notes:
            click.echo(_line(file, note), err=True)
        name = KINDS[kind][0]
        raise click.ClickException(f"{file} has no model that could be imported as {name}'s.")
    text = texts.config(draft, f"{KINDS[kind][0]}'s {_plain(file.name)}")
    mistakes = _check(text, draft, session.environ)
    written: list[str] = []
    if output is not None and not _errors(mistakes):
        written = _write(output, text, draft, force=force)
    count: Counter[str] = Counter(note.fate for note in draft.notes)
    bad = bool(_errors(mistakes)) or (strict and bool(count["dropped"]))
    if as_json:
        told = {
            "ok": not bad,
            "notes": draft.notes,
            "check": mistakes,
            "environ": sorted({*draft.environ, *draft.needed}),
            "config": text if output is None else None,
            "files": written,
        }
        click.echo(jsonio.shown(told))
        sys.exit(1 if bad else 0)
    if output is None:
        click.echo(text, nl=False)
    _report(file, draft, mistakes, count)
    if output is None and draft.secret:
        names = ", ".join(sorted(draft.secret))
        hint = f"Nothing was written: set {names}, or name an --output."
        click.secho(hint, fg="yellow", err=True)
    if output is not None and not _errors(mistakes):
        _following(output, draft, session.environ)
    sys.exit(1 if bad else 0)


def _text(file: Path) -> str:
    try:
        text = file.expanduser().read_text("utf-8-sig")
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise ConfigError([Mistake(file=str(file), message=f"cannot be read: {reason}.")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Mistake(file=str(file), message="is not UTF-8.")]) from None
    if len(text) > _MOST:
        raise ConfigError([Mistake(file=str(file), message="is larger than 4 MB.")])
    return text


def _shipped() -> ShippedProviders:
    parts: list[Any] = [
        yaml.read(one.read_text("utf-8"), str(one)).value
        for one in sorted((shipped().parent / "labs").glob("*.yaml"))
    ]
    return ShippedProviders(parts)


def _check(text: str, draft: ConfigDraft, environ: Mapping[str, str]) -> list[Mistake]:
    """What is wrong with what was made, as if its variables were set."""
    given = dict.fromkeys(draft.needed, "set") | {**environ}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "gateway.yaml")
        file.write_text(text, "utf-8")
        try:
            site(load(file, given), datetime.now(UTC))
        except ConfigError as error:
            return error.mistakes
    return []


def _errors(mistakes: list[Mistake]) -> list[Mistake]:
    return [one for one in mistakes if one.level == "error"]


def _write(output: Path, text: str, draft: ConfigDraft, *, force: bool) -> list[str]:
    if output.exists() and not force:
        raise click.ClickException(f"{output} is there already: --force overwrites it.")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, "utf-8")
    written = [str(output)]
    lines = texts.environ(draft)
    env = Path(".env")
    there = env.read_text("utf-8") if env.exists() else ""
    known = {line.partition("=")[0].strip() for line in there.splitlines()}
    new = [f"{name}={value}\n" for name, value in lines.items() if name not in known]
    if new:
        # Secrets are in it: it is its owner's alone before anything is written.
        descriptor = os.open(env, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as opened:
            opened.write(("" if there.endswith("\n") or not there else "\n") + "".join(new))
        written.append(str(env))
        if draft.secret and env.stat().st_mode & 0o077:
            told = "Others may read .env, which has secrets now: chmod 600 .env"
            click.secho(told, fg="red", err=True)
    for name in lines.keys() & known:
        click.secho(f".env has {name} already: it stays as it is.", fg="yellow", err=True)
    return written


def _report(file: Path, draft: ConfigDraft, mistakes: list[Mistake], count: Counter[str]) -> None:
    for note in sorted(draft.notes, key=lambda one: one.line or 0):
        click.echo(_line(file, note), err=True)
    for mistake in mistakes:
        click.secho(
            f"check: {mistake.path}: {mistake.message} {mistake.hint}".rstrip(), fg="red", err=True
        )
    said = ", ".join(f"{count[fate]} {fate}" for fate in _COLORS if count[fate])
    click.echo(f"{said}.", err=True)


def _line(file: Path, note: ImportNote) -> str:
    where = f"{file}:{note.line}" if note.line is not None else str(file)
    fate = click.style(f"{note.fate:<7}", fg=_COLORS[note.fate])
    path = f"{note.path}: " if note.path else ""
    return f"{where}: {fate} {path}{_plain(note.text)}"


def _plain(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _following(output: Path, draft: ConfigDraft, environ: Mapping[str, str]) -> None:
    if draft.secret:
        names = ", ".join(sorted(draft.secret))
        click.secho(
            f"Secrets are in .env now ({names}): keep it out of version control.",
            fg="yellow",
            err=True,
        )
    lacking = [one for one in draft.needed if one not in environ and one not in draft.environ]
    config = "" if str(output) == "config/gateway.yaml" else f" --config {output}"
    click.echo("\nNext:")
    if lacking:
        click.echo(f"  set {', '.join(lacking)} in the environment or in .env")
    click.echo(f"  tiergate{config} check\n  tiergate{config} serve")
