"""`tiergate import`: turns a configuration of another gateway into one of this gateway."""

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
from gateway.core.printable_text import make_printable
from gateway.importers import writer
from gateway.importers.draft import ConfigDraft, ImportNote
from gateway.importers.providers import ShippedProviders
from gateway.importers.reader import IMPORTERS, convert_config
from gateway.runtime.build import build_config
from gateway.settings import yaml
from gateway.settings.environment import find_shipped_config
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.loader import load

_FATE_COLORS = {"kept": "green", "changed": "yellow", "dropped": "red"}
_MAX_CHARS = 4_000_000
"""Maximum characters of a file. People write files of a thousandth of that."""


@click.command("import")
@click.argument("kind", type=click.Choice([*IMPORTERS]))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the configuration; keys in clear text move to .env. [standard output]",
)
@click.option("--force", is_flag=True, help="Overwrite the file; existing lines of .env stay.")
@click.option("--strict", is_flag=True, help="Fail if a setting cannot be carried over.")
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

    The report says of each part, with its line, if the command kept, changed or dropped it, and
    why. The configuration never contains a secret: keys in clear text become lines of .env. The
    command sends nothing to anybody.

    \b
    Examples:
      tiergate import litellm config.yaml --output config/gateway.yaml
      tiergate import portkey config.json --output config/gateway.yaml
      tiergate import ccr ~/.claude-code-router/config.json --output config/gateway.yaml
      tiergate import litellm config.yaml --json

    \b
    Exit status:
      0  the command imported the file; the report lists what it changed or dropped
      1  the file is unreadable or has no usable part or, with --strict, a part was dropped
      2  the command itself was not understood
    """  # noqa: D301 - \b is click's sign that lines stay apart
    draft = convert_config(
        kind, _read_file(file), str(file), _load_shipped_providers(), session.environ
    )
    if not any(lab.keys() - {"about"} for lab in draft.labs.values()):
        for note in draft.notes:
            click.echo(_format_note(file, note), err=True)
        name = IMPORTERS[kind][0]
        raise click.ClickException(f"{file} has no model that could be imported as {name}'s.")
    text = writer.format_config(draft, f"{IMPORTERS[kind][0]}'s {make_printable(file.name)}")
    mistakes = _check_config_text(text, draft, session.environ)
    written_files: list[str] = []
    if output is not None and not _select_errors(mistakes):
        written_files = _write_files(output, text, draft, force=force)
    counts: Counter[str] = Counter(note.fate for note in draft.notes)
    has_failed = bool(_select_errors(mistakes)) or (strict and bool(counts["dropped"]))
    if as_json:
        report = {
            "ok": not has_failed,
            "notes": draft.notes,
            "check": mistakes,
            "environ": sorted({*draft.environ, *draft.required_variables}),
            "config": text if output is None else None,
            "files": written_files,
        }
        click.echo(jsonio.dumps_printable(report))
        sys.exit(1 if has_failed else 0)
    if output is None:
        click.echo(text, nl=False)
    _print_report(file, draft, mistakes, counts)
    if output is None and draft.secret_names:
        names = ", ".join(sorted(draft.secret_names))
        hint = f"Nothing was written: set {names}, or name an --output."
        click.secho(hint, fg="yellow", err=True)
    if output is not None and not _select_errors(mistakes):
        _print_next_steps(output, draft, session.environ)
    sys.exit(1 if has_failed else 0)


def _read_file(file: Path) -> str:
    try:
        text = file.expanduser().read_text("utf-8-sig")
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise ConfigError([Mistake(file=str(file), message=f"cannot be read: {reason}.")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Mistake(file=str(file), message="is not UTF-8.")]) from None
    if len(text) > _MAX_CHARS:
        raise ConfigError([Mistake(file=str(file), message="is larger than 4 MB.")])
    return text


def _load_shipped_providers() -> ShippedProviders:
    parts: list[Any] = [
        yaml.read(path.read_text("utf-8"), str(path)).value
        for path in sorted((find_shipped_config().parent / "labs").glob("*.yaml"))
    ]
    return ShippedProviders(parts)


def _check_config_text(text: str, draft: ConfigDraft, environ: Mapping[str, str]) -> list[Mistake]:
    """Return the mistakes of the new configuration, as if its variables were set."""
    variables = dict.fromkeys(draft.required_variables, "set") | {**environ}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "gateway.yaml")
        file.write_text(text, "utf-8")
        try:
            build_config(load(file, variables), datetime.now(UTC))
        except ConfigError as error:
            return error.mistakes
    return []


def _select_errors(mistakes: list[Mistake]) -> list[Mistake]:
    return [mistake for mistake in mistakes if mistake.level == "error"]


def _write_files(output: Path, text: str, draft: ConfigDraft, *, force: bool) -> list[str]:
    if output.exists() and not force:
        raise click.ClickException(f"{output} exists already. Overwrite it with --force.")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, "utf-8")
    written_files = [str(output)]
    lines = writer.format_env_lines(draft)
    env_file = Path(".env")
    existing_text = env_file.read_text("utf-8") if env_file.exists() else ""
    existing_names = {line.partition("=")[0].strip() for line in existing_text.splitlines()}
    new_lines = [f"{name}={value}\n" for name, value in lines.items() if name not in existing_names]
    if new_lines:
        # The file gets secrets: from the start, only its owner may read it.
        descriptor = os.open(env_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as stream:
            stream.write(
                ("" if existing_text.endswith("\n") or not existing_text else "\n")
                + "".join(new_lines)
            )
        written_files.append(str(env_file))
        if draft.secret_names and env_file.stat().st_mode & 0o077:
            warning = "Other users may read .env, which has secrets now: chmod 600 .env"
            click.secho(warning, fg="red", err=True)
    for name in lines.keys() & existing_names:
        click.secho(
            f".env has {name} already; the command leaves it unchanged.", fg="yellow", err=True
        )
    return written_files


def _print_report(
    file: Path, draft: ConfigDraft, mistakes: list[Mistake], counts: Counter[str]
) -> None:
    for note in sorted(draft.notes, key=lambda item: item.line or 0):
        click.echo(_format_note(file, note), err=True)
    for mistake in mistakes:
        click.secho(
            f"check: {mistake.path}: {mistake.message} {mistake.hint}".rstrip(), fg="red", err=True
        )
    summary = ", ".join(f"{counts[fate]} {fate}" for fate in _FATE_COLORS if counts[fate])
    click.echo(f"{summary}.", err=True)


def _format_note(file: Path, note: ImportNote) -> str:
    location = f"{file}:{note.line}" if note.line is not None else str(file)
    fate = click.style(f"{note.fate:<7}", fg=_FATE_COLORS[note.fate])
    path = f"{note.path}: " if note.path else ""
    return f"{location}: {fate} {path}{make_printable(note.text)}"


def _print_next_steps(output: Path, draft: ConfigDraft, environ: Mapping[str, str]) -> None:
    if draft.secret_names:
        names = ", ".join(sorted(draft.secret_names))
        click.secho(
            f"Secrets are in .env now ({names}): keep it out of version control.",
            fg="yellow",
            err=True,
        )
    missing_names = [
        name
        for name in draft.required_variables
        if name not in environ and name not in draft.environ
    ]
    config_option = "" if str(output) == "config/gateway.yaml" else f" --config {output}"
    click.echo("\nNext:")
    if missing_names:
        click.echo(f"  set {', '.join(missing_names)} in the environment or in .env")
    click.echo(f"  tiergate{config_option} check\n  tiergate{config_option} serve")
