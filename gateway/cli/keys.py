"""`tiergate keys`: adds, changes, lists, revokes and rotates the keys of clients."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import TypeAdapter, ValidationError

from gateway.cli.app import CommandGroup
from gateway.cli.key_clients import MadeSecret, Row, open_key_client
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import TableColumn, print_table
from gateway.core import jsonio
from gateway.core.call import WindowKind
from gateway.limits.errors import KeyChangeError, KeyStoreError
from gateway.limits.key_admin import get_state
from gateway.limits.key_file import KeyFile
from gateway.limits.key_store.store import parse_settings
from gateway.limits.keys import KeyLimitPart
from gateway.settings.schema.base import Duration

_WINDOW_KINDS = get_args(WindowKind.__value__)
_BUDGET_PATTERN = re.compile(rf"([0-9]+(?:\.[0-9]+)?)/({'|'.join(_WINDOW_KINDS)})")
_LISTED_APART = frozenset(
    {"name", "state", "source", "created", "changed", "changed_by", "expires", "revoked",
     "earlier", "limits", "budgets"}
)  # fmt: skip
"""Members of a row that are no setting, or stand elsewhere in the list."""
_LIST_OPTIONS = ("labs", "tiers", "models", "regions", "tags", "allowed_tags", "denied_tokens")
_SHOWN_ONCE_NOTICE = "Copy its secret now: the command shows it only once."
_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


_URL_OPTION = click.option(
    "--url", help="Change the keys of the gateway that answers there, with TIERGATE_ADMIN_KEY."
)
_SETTING_OPTIONS = (
    click.option("--lab", help="The lab for names without one, as auto and fast."),
    click.option("--labs", multiple=True, help="Labs that it may use."),
    click.option("--tiers", multiple=True, help="Tiers that it may use."),
    click.option("--models", multiple=True, help="Models that it may use, as 'claude-*'."),
    click.option("--regions", multiple=True, help="Regions of the providers that it may use."),
    click.option("--tags", multiple=True, help="Tags that its calls always have."),
    click.option("--allowed-tags", multiple=True, help="Tags that its calls may add."),
    click.option(
        "--denied-tokens", multiple=True, help="Tokens that do not open it, as sub=ann or jti=ID."
    ),
    click.option(
        "--complete", type=click.Choice(("hold", "off")), help="For answers that break off."
    ),
    click.option("--tenant", help="Who owns it."),
    click.option("--team", help="The team of the tenant that it belongs to."),
    click.option("--expires", help="90d from now, or a date, which is included."),
    click.option("--admin", is_flag=True, help="Let it use /admin and /metrics."),
    click.option("--requests", help="Requests that it may make, as 60/m."),
    click.option("--tokens", help="Tokens that it may use, as 200k/m."),
    click.option("--concurrency", type=click.IntRange(0), help="Calls that it may make at once."),
    click.option("--budget", multiple=True, help="USD that it may spend, as 5/month."),
)


def _add_setting_options[F: Callable[..., Any]](function: F) -> F:
    """Add an option for each setting of a key to a command."""
    for option in reversed(_SETTING_OPTIONS):
        function = option(function)
    return function


@click.group("keys", cls=CommandGroup)
def command() -> None:
    """Add, change, list, revoke and rotate the keys of clients.

    They are in the file or the database that `keys` of the configuration names. A running gateway
    applies a change of the file within about a second, of a database within a few seconds.

    \b
    Examples:
      tiergate keys add ann --budget 5/month --requests 60/m
      tiergate keys list
      tiergate keys rotate ann --keep 24h
      tiergate keys revoke ann

    \b
    Exit status:
      0  done
      1  the keys could not be read or changed, or there is no such key; nothing was changed
      2  the command was not understood
    """  # noqa: D301 - the mark keeps click from filling these lines


@command.command
@click.argument("name")
@_add_setting_options
@_URL_OPTION
@_JSON_OPTION
@pass_session
def add(
    session: CommandSession, /, name: str, *, as_json: bool, url: str | None, **options: Any
) -> None:
    """Add a key and print its secret, once. Lists take commas, or the option again.

    \b
    Examples:
      tiergate keys add ann
      tiergate keys add support --labs openai,anthropic --tiers fast,smart --budget 5/month
      tiergate keys add boss --admin --expires 90d --json
    """  # noqa: D301 - \b is click's sign that lines stay apart
    settings = _build_settings(options)
    with report_key_errors():
        client = open_key_client(session, url)
        made = client.create(name, settings)
    summary = f"Added {name!r} to {client.place}. {_SHOWN_ONCE_NOTICE}"
    _print_secret(made, summary, {"name": name, "file": client.place} if as_json else None)


@command.command
@click.argument("name")
@_add_setting_options
@click.option("--unset", multiple=True, help="Settings that it loses, as labs or budgets.")
@_URL_OPTION
@_JSON_OPTION
@pass_session
def change(
    session: CommandSession,
    /,
    name: str,
    *,
    as_json: bool,
    url: str | None,
    unset: Sequence[str],
    **options: Any,
) -> None:
    """Change settings of a key. A list or a limit replaces the one that it has.

    \b
    Examples:
      tiergate keys change ann --budget 20/month
      tiergate keys change ann --expires 2027-01-31 --unset labs,models
    """  # noqa: D301 - \b is click's sign that lines stay apart
    changes = dict.fromkeys(_split_values(unset)) | _build_settings(options)
    if not changes:
        raise click.UsageError("Name a setting to change, as --budget 20/month.")
    with report_key_errors():
        client = open_key_client(session, url)
        client.change(name, changes)
    if as_json:
        details = {"name": name, "file": client.place, "settings": sorted(changes)}
        click.echo(jsonio.dumps_printable(details))
        return
    click.echo(f"Changed {name!r}: {', '.join(changes)}.", err=True)


@command.command
@click.argument("name")
@_URL_OPTION
@_JSON_OPTION
@pass_session
def revoke(session: CommandSession, name: str, *, as_json: bool, url: str | None) -> None:
    """Revoke a key from now on. It stays in the store, so that its name stays taken.

    \b
    Examples:
      tiergate keys revoke ann
    """  # noqa: D301 - \b is click's sign that lines stay apart
    with report_key_errors():
        client = open_key_client(session, url)
        is_changed = client.revoke(name)
    if as_json:
        click.echo(
            jsonio.dumps_printable({"name": name, "file": client.place, "changed": is_changed})
        )
        return
    click.echo(f"Revoked {name!r}." if is_changed else f"{name!r} is revoked already.", err=True)


@command.command
@click.argument("name")
@click.option("--keep", default="24h", help="How long the previous secret still works. [24h]")
@_URL_OPTION
@_JSON_OPTION
@pass_session
def rotate(
    session: CommandSession, name: str, keep: str, *, as_json: bool, url: str | None
) -> None:
    """Give a key another secret and print it, once; `--keep 0s` ends all earlier ones.

    \b
    Examples:
      tiergate keys rotate ann
      tiergate keys rotate ann --keep 0s
    """  # noqa: D301 - \b is click's sign that lines stay apart
    seconds = _parse_duration(keep, "--keep")
    with report_key_errors():
        client = open_key_client(session, url)
        made = client.rotate(name, seconds)
    expiry_note = (
        f"The previous secret works for {keep} more."
        if seconds
        else "Earlier secrets no longer work."
    )
    details = {"name": name, "file": client.place, "keeps": seconds} if as_json else None
    _print_secret(made, f"Rotated {name!r}. {expiry_note} {_SHOWN_ONCE_NOTICE}", details)


@command.command("list")
@_URL_OPTION
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON, with all that the store has except hashes.",
)
@pass_session
def list_keys(session: CommandSession, *, as_json: bool, url: str | None) -> None:
    """List the keys of the store, and those of TIERGATE_KEYS.

    \b
    Examples:
      tiergate keys list
      tiergate keys list --json
    """  # noqa: D301 - \b is click's sign that lines stay apart
    pairs = "" if url else session.environ.get("TIERGATE_KEYS", "")
    environment_names = dict.fromkeys(
        filter(None, (pair.partition("=")[0].strip() for pair in pairs.split(",")))
    )
    with report_key_errors():
        is_open = not url and session.source.config.keys.store == "open"
        rows = [] if environment_names and is_open else open_key_client(session, url).list_keys()
    rows += [
        {"name": name, "state": "live", "source": "TIERGATE_KEYS"} for name in environment_names
    ]
    if as_json:
        click.echo(jsonio.dumps_printable(rows))
        return
    print_table(
        [
            TableColumn("name"),
            TableColumn("state"),
            TableColumn("expires"),
            TableColumn("settings"),
        ],
        [
            [row["name"], row["state"], row.get("expires") or "", _format_settings(row)]
            for row in rows
        ],
    )


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_URL_OPTION
@_JSON_OPTION
@pass_session
def import_keys(session: CommandSession, file: Path, *, as_json: bool, url: str | None) -> None:
    """Copy the keys of a key file to the store; their secrets stay valid.

    Keys that the store has already stay as they are, and revoked or expired ones are left out.

    \b
    Examples:
      tiergate keys import keys.yaml
    """  # noqa: D301 - \b is click's sign that lines stay apart
    taken, left_out = list[str](), list[str]()
    now = time.time()
    with report_key_errors():
        client = open_key_client(session, url)
        known_names = {row["name"] for row in client.list_keys()}
        for name, record in KeyFile(file).read().items():
            is_live = get_state(parse_settings(record.settings)[0], now) == "live"
            if name in known_names or not is_live:
                left_out.append(name)
                continue
            client.create(name, record.settings)
            taken.append(name)
    if as_json:
        details = {"file": client.place, "taken": taken, "left_out": left_out}
        click.echo(jsonio.dumps_printable(details))
        return
    notes = f" Left out: {', '.join(left_out)}." if left_out else ""
    noun = "key" if len(taken) == 1 else "keys"
    click.echo(f"Copied {len(taken)} {noun} to {client.place}.{notes}", err=True)


@contextlib.contextmanager
def report_key_errors() -> Iterator[None]:
    """Report in one line why keys could not be read or changed."""
    try:
        yield
    except KeyChangeError as error:
        if error.kind == "invalid":
            raise click.BadParameter(str(error)) from None
        raise click.ClickException(str(error)) from None
    except KeyStoreError as error:
        raise click.ClickException(f"{error}.") from None
    except OSError as error:
        file = Path(str(error.filename or "The file of keys"))
        reason = (error.strerror or str(error)).lower()
        raise click.ClickException(f"{file} cannot be changed: {reason}.") from None


def _print_secret(made: MadeSecret, summary: str, details: dict[str, object] | None) -> None:
    """Print a secret once: alone on standard output, for pipes, or within the JSON."""
    if details is not None:
        click.echo(jsonio.dumps_printable({**details, "secret": made.secret}))
        return
    click.echo(summary, err=True)
    click.echo(made.secret)


def _build_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options as settings of a key. Raises click.BadParameter."""
    limits = {
        name: options[name] for name in KeyLimitPart.model_fields if options[name] is not None
    }
    settings = {
        "tenant": options["tenant"],
        "team": options["team"],
        "lab": options["lab"],
        **{name: _split_values(options[name]) for name in _LIST_OPTIONS},
        "complete": options["complete"],
        "admin": options["admin"] or None,
        "expires": options["expires"],
        "limits": limits or None,
        "budgets": [_parse_budget(text) for text in _split_values(options["budget"])] or None,
    }
    return {name: value for name, value in settings.items() if value not in (None, [])}


def _split_values(texts: Sequence[str]) -> list[str]:
    return [value for text in texts for value in map(str.strip, text.split(",")) if value]


def _parse_duration(text: str, option: str) -> float:
    try:
        return TypeAdapter[float](Duration).validate_python(text)
    except ValidationError:
        raise click.BadParameter(
            "must be a duration, as 90s, 24h or 90d.", param_hint=option
        ) from None


def _parse_budget(text: str) -> dict[str, Any]:
    match = _BUDGET_PATTERN.fullmatch(text)
    if match is None:
        message = f"must be USD in one of {', '.join(_WINDOW_KINDS)}, as 5/month."
        raise click.BadParameter(message, param_hint="--budget")
    usd = Decimal(match[1])
    return {"usd": int(usd) if usd == int(usd) else float(usd), "every": match[2]}


def _format_settings(row: Row) -> str:
    """Format the settings of a key in one line."""
    if row["source"] == "TIERGATE_KEYS":
        return "of TIERGATE_KEYS"
    defaults: dict[str, object] = {"tenant": "default", "admin": False}
    phrases = [
        f"{name} {_format_value(value)}"
        for name, value in row.items()
        if name not in _LISTED_APART and value is not None and value != defaults.get(name)
    ]
    for item in row.get("limits", ()):
        phrases += [f"{name} {value}" for name, value in item.items()]
    phrases += [_format_budget(item) for item in row.get("budgets", ())]
    return ", ".join(phrases)


def _format_budget(part: dict[str, Any]) -> str:
    rise = part.get("rise")
    more = "" if rise is None else f" (${rise['usd']} more until {rise['until']})"
    return f"${part['usd']}/{part['every']}{more}"


def _format_value(value: object) -> str:
    if isinstance(value, list):
        return " ".join(value)
    return "yes" if value is True else str(value)
