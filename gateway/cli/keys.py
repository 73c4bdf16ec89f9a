"""`tiergate keys`: adds, lists, revokes and rotates the keys of a file."""

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from gateway.cli.app import CommandGroup
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import TableColumn, print_table
from gateway.core import jsonio
from gateway.core.target import TIERS
from gateway.limits.errors import KeyFileError
from gateway.limits.key_file import KeyFile
from gateway.limits.keys import KeyLimitPart, KeyPart, parse_time
from gateway.settings.errors import suggest_name
from gateway.settings.schema.base import Duration

_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_BUDGET_PATTERN = re.compile(r"([0-9]+(?:\.[0-9]+)?)/(hour|day|month|total)")
_UNIT_BY_SECONDS = {1.0: "s", 60.0: "m", 3_600.0: "h", 86_400.0: "d"}
_LIST_OPTIONS = ("labs", "tiers", "models", "regions", "tags", "allowed_tags")
_SHOWN_ONCE_NOTICE = "Copy its secret now: the command shows it only once."
_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group("keys", cls=CommandGroup)
def command() -> None:
    """Add, list, revoke and rotate the keys of clients.

    They are in the file that `keys` of the configuration names. A running gateway applies a change
    within about a second.

    \b
    Examples:
      tiergate keys add ann --budget 5/month --requests 60/m
      tiergate keys list
      tiergate keys rotate ann --keep 24h
      tiergate keys revoke ann

    \b
    Exit status:
      0  done
      1  the file could not be read or changed, or there is no such key; nothing was changed
      2  the command was not understood
    """  # noqa: D301 - the mark keeps click from filling these lines


@command.command
@click.argument("name")
@click.option("--lab", help="The lab for names without one, as auto and fast.")
@click.option("--labs", multiple=True, help="Labs that it may use.")
@click.option("--tiers", multiple=True, help="Tiers that it may use.")
@click.option("--models", multiple=True, help="Models that it may use, as 'claude-*'.")
@click.option("--regions", multiple=True, help="Regions of the providers that it may use.")
@click.option("--tags", multiple=True, help="Tags that its calls always have.")
@click.option("--allowed-tags", multiple=True, help="Tags that its calls may add.")
@click.option("--complete", type=click.Choice(("hold", "off")), help="For answers that break off.")
@click.option("--tenant", help="Who owns it.")
@click.option("--expires", help="90d from now, or a date, which is included.")
@click.option("--admin", is_flag=True, help="Let it use /admin and /metrics.")
@click.option("--requests", help="Requests that it may make, as 60/m.")
@click.option("--tokens", help="Tokens that it may use, as 200k/m.")
@click.option("--concurrency", type=click.IntRange(0), help="Calls that it may make at once.")
@click.option("--budget", multiple=True, help="USD that it may spend, as 5/month.")
@_JSON_OPTION
@pass_session
def add(session: CommandSession, /, name: str, *, as_json: bool, **options: Any) -> None:
    """Add a key and print its secret, once. Lists take commas, or the option again.

    \b
    Examples:
      tiergate keys add ann
      tiergate keys add support --labs openai,anthropic --tiers fast,smart --budget 5/month
      tiergate keys add boss --admin --expires 90d --json
    """  # noqa: D301 - \b is click's sign that lines stay apart
    if not _NAME_PATTERN.fullmatch(name):
        message = "a name is letters, digits, and . _ @ - between them, 64 at most."
        raise click.BadParameter(message, param_hint="NAME")
    with report_file_errors():
        key_file = open_key_file(session)
        settings = _build_settings(session, options)
        secret = key_file.add(name, settings)
    summary = f"Added {name!r} to {key_file.file}. {_SHOWN_ONCE_NOTICE}"
    _print_secret(secret, summary, {"name": name, "file": str(key_file.file)} if as_json else None)


@command.command
@click.argument("name")
@_JSON_OPTION
@pass_session
def revoke(session: CommandSession, name: str, *, as_json: bool) -> None:
    """Revoke a key from now on. It stays in the file, so that its name stays taken.

    \b
    Examples:
      tiergate keys revoke ann
    """  # noqa: D301 - \b is click's sign that lines stay apart
    with report_file_errors():
        key_file = open_key_file(session)
        is_changed = key_file.revoke(name)
    if as_json:
        click.echo(
            jsonio.dumps_printable(
                {"name": name, "file": str(key_file.file), "changed": is_changed}
            )
        )
        return
    click.echo(f"Revoked {name!r}." if is_changed else f"{name!r} is revoked already.", err=True)


@command.command
@click.argument("name")
@click.option("--keep", default="24h", help="How long the previous secret still works. [24h]")
@_JSON_OPTION
@pass_session
def rotate(session: CommandSession, name: str, keep: str, *, as_json: bool) -> None:
    """Give a key another secret and print it, once; `--keep 0s` ends all earlier ones.

    \b
    Examples:
      tiergate keys rotate ann
      tiergate keys rotate ann --keep 0s
    """  # noqa: D301 - \b is click's sign that lines stay apart
    seconds = _parse_duration(keep, "--keep")
    with report_file_errors():
        key_file = open_key_file(session)
        secret = key_file.rotate(name, seconds)
    expiry_note = (
        f"The previous secret works for {keep} more."
        if seconds
        else "Earlier secrets no longer work."
    )
    details = {"name": name, "file": str(key_file.file), "keeps": seconds} if as_json else None
    _print_secret(secret, f"Rotated {name!r}. {expiry_note} {_SHOWN_ONCE_NOTICE}", details)


@command.command("list")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON, with all that the file has except hashes.",
)
@pass_session
def list_keys(session: CommandSession, *, as_json: bool) -> None:
    """List the keys of the file, and those of TIERGATE_KEYS.

    \b
    Examples:
      tiergate keys list
      tiergate keys list --json
    """  # noqa: D301 - \b is click's sign that lines stay apart
    pairs = session.environ.get("TIERGATE_KEYS", "").split(",")
    environment_names = dict.fromkeys(
        filter(None, (pair.partition("=")[0].strip() for pair in pairs))
    )
    now = time.time()
    with report_file_errors():
        parts_by_name = (
            {}
            if environment_names and session.source.config.keys == "open"
            else open_key_file(session).read()
        )
    if as_json:
        rows = [_build_row(name, part, now) for name, part in parts_by_name.items()]
        rows += [
            {"name": name, "state": "live", "source": "TIERGATE_KEYS"} for name in environment_names
        ]
        click.echo(jsonio.dumps_printable(rows))
        return
    table_rows = [
        [name, _get_state(part, now), part.expires or "", _format_settings(part)]
        for name, part in parts_by_name.items()
    ]
    table_rows += [[name, "live", "", "of TIERGATE_KEYS"] for name in environment_names]
    print_table(
        [
            TableColumn("name"),
            TableColumn("state"),
            TableColumn("expires"),
            TableColumn("settings"),
        ],
        table_rows,
    )


def open_key_file(session: CommandSession) -> KeyFile:
    """Return the file of keys that the configuration names. Raises KeyFileError: keys are open."""
    source = session.source
    if source.config.keys == "open":
        hint = f"Write `keys: keys.yaml` into {source.file}: the file will lie beside it."
        raise KeyFileError(f"`keys` is open: there is no file of keys. {hint}")
    return KeyFile(source.file.parent / source.config.keys, clock=time.time)


@contextlib.contextmanager
def report_file_errors() -> Iterator[None]:
    """Report in one line why a file of keys could not be read or changed."""
    try:
        yield
    except KeyFileError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        file = Path(str(error.filename or "The file of keys"))
        reason = (error.strerror or str(error)).lower()
        raise click.ClickException(f"{file} cannot be changed: {reason}.") from None


def _print_secret(secret: str, summary: str, details: dict[str, object] | None) -> None:
    """Print a secret once: alone on standard output, for pipes, or within the JSON."""
    if details is not None:
        click.echo(jsonio.dumps_printable({**details, "secret": secret}))
        return
    click.echo(summary, err=True)
    click.echo(secret)


def _build_settings(session: CommandSession, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options as settings of the file. Raises ConfigError, click.BadParameter."""
    lists = {name: _split_values(options[name]) for name in _LIST_OPTIONS}
    labs, tiers = session.source.config.labs, lists["tiers"]
    for name in [*lists["labs"], *filter(None, [options["lab"]])]:
        if name not in labs:
            raise click.BadParameter(
                f"there is no lab {name!r}. {suggest_name(name, labs)}".strip()
            )
    for name in tiers:
        if name not in TIERS:
            raise click.BadParameter(
                f"there is no tier {name!r}. {suggest_name(name, TIERS)}".strip()
            )
    regions = {part.region for part in session.source.config.providers.values() if part.region}
    for name in lists["regions"]:
        if name not in regions:
            hint = suggest_name(name, regions) or "Give providers a `region` first."
            raise click.BadParameter(f"no provider has the region {name!r}. {hint}")
    limits = {
        name: options[name] for name in KeyLimitPart.model_fields if options[name] is not None
    }
    settings = {
        "tenant": options["tenant"],
        "lab": options["lab"],
        **lists,
        "complete": options["complete"],
        "admin": options["admin"] or None,
        "expires": _parse_expiry(options["expires"]),
        "limits": limits or None,
        "budgets": [_parse_budget(text) for text in _split_values(options["budget"])] or None,
    }
    written_settings = {name: value for name, value in settings.items() if value not in (None, [])}
    try:
        KeyPart.model_validate({"sha256": "", **written_settings})
    except ValidationError as error:
        first_error = error.errors()[0]
        message = first_error["msg"].removeprefix("Value error, ")
        raise click.BadParameter(
            f"{'.'.join(str(segment) for segment in first_error['loc'])}: {message}"
        ) from None
    return written_settings


def _split_values(texts: Sequence[str]) -> list[str]:
    return [value for text in texts for value in map(str.strip, text.split(",")) if value]


def _parse_duration(text: str, option: str) -> float:
    try:
        return TypeAdapter[float](Duration).validate_python(text)
    except ValidationError:
        raise click.BadParameter(
            "must be a duration, as 90s, 24h or 90d.", param_hint=option
        ) from None


def _parse_expiry(text: str | None) -> str | None:
    """Return an expiry as the file has it: a date or a moment. "90d" counts from now."""
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        parse_time(text)
        return text
    expires_at = time.time() + _parse_duration(text, "--expires")
    return datetime.fromtimestamp(int(expires_at), UTC).isoformat().replace("+00:00", "Z")


def _parse_budget(text: str) -> dict[str, Any]:
    match = _BUDGET_PATTERN.fullmatch(text)
    if match is None:
        message = "must be USD in an hour, a day, a month or in total, as 5/month."
        raise click.BadParameter(message, param_hint="--budget")
    usd = Decimal(match[1])
    return {"usd": int(usd) if usd == int(usd) else float(usd), "every": match[2]}


def _get_state(part: KeyPart, now: float) -> str:
    if part.revoked is not None:
        return "revoked"
    return "expired" if part.expires is not None and parse_time(part.expires) <= now else "live"


def _build_row(name: str, part: KeyPart, now: float) -> dict[str, object]:
    settings = part.model_dump(mode="json", exclude={"sha256", "earlier", "limits"})
    limits = [_format_limit(item) for item in part.limits]
    earlier = [item.until for item in part.earlier if parse_time(item.until) > now]
    row = {"name": name, "state": _get_state(part, now), "source": "file"}
    return {**row, **settings, "limits": limits, "earlier": earlier}


def _format_limit(part: KeyLimitPart) -> dict[str, object]:
    """Return a limit as people write it."""
    rates = {"requests": part.requests, "tokens": part.tokens}
    values: dict[str, object] = {
        name: f"{rate.amount}/{_UNIT_BY_SECONDS[rate.seconds]}"
        for name, rate in rates.items()
        if rate
    }
    return values if part.concurrency is None else {**values, "concurrency": part.concurrency}


def _format_settings(part: KeyPart) -> str:
    """Format the settings of a key in one line."""
    skipped = {"sha256", "expires", "revoked", "earlier", "limits", "budgets"}
    settings = part.model_dump(mode="json", exclude_unset=True, exclude=skipped)
    phrases = [f"{name} {_format_value(value)}" for name, value in settings.items()]
    for item in part.limits:
        phrases += [f"{name} {value}" for name, value in _format_limit(item).items()]
    phrases += [f"${item.usd:f}/{item.every}" for item in part.budgets]
    return ", ".join(phrases)


def _format_value(value: object) -> str:
    if isinstance(value, list):
        return " ".join(value)
    return "yes" if value is True else str(value)
