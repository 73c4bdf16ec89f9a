"""`tiergate init`: writes a configuration that serves, from what is there and a few answers."""

import hashlib
import os
import secrets
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from shutil import get_terminal_size
from typing import Literal, NamedTuple

import click

from gateway.cli.init import detect, templates
from gateway.cli.init.templates import HERE, InitPlan
from gateway.core import jsonio
from gateway.limits.errors import KeyFileError
from gateway.limits.key_file import KeyFile
from gateway.runtime.build import site
from gateway.settings import environment
from gateway.settings.environment import shipped
from gateway.settings.errors import nearest
from gateway.settings.loader import load

type Keys = Literal["open", "file", "env"]

_NONE = "no"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command("init")
@click.option(
    "--lab", "labs", multiple=True, help="A lab; the first is the default. May be repeated."
)
@click.option(
    "--keys",
    type=click.Choice(("open", "file", "env")),
    help="Who may call: everybody here, a file of keys, or TIERGATE_KEYS. [open]",
)
@click.option("--key", "first", metavar="NAME", help="Make a first key; its secret is shown once.")
@click.option("--redis", metavar="URL", help="A Redis that processes share; `no` for none.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on. [8484]")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("config"),
    show_default=True,
    help="The folder of the configuration.",
)
@click.option("--yes", is_flag=True, help="Ask nothing: take what is found and what is usual.")
@click.option("--force", is_flag=True, help="Overwrite what is there; keys stay.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON; asks nothing.")
def command(  # noqa: PLR0913 - the options of a command
    labs: tuple[str, ...],
    keys: Keys | None,
    first: str | None,
    redis: str | None,
    host: str,
    port: int | None,
    output: Path,
    *,
    yes: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write a configuration that serves: asks on a terminal, or takes what options say.

    It looks for credentials in the environment and in .env (their names, no value is shown), and
    on this machine for a Redis and for servers of models. Nothing else is asked of anybody. What is
    there is not overwritten.

    \b
    Examples:
      tiergate init
      tiergate init --yes
      tiergate init --lab openai --lab anthropic --keys file --key me --port 9000 --yes
      tiergate init --lab google --redis redis://127.0.0.1:6379 --json

    \b
    Exit status:
      0  the configuration is written, and would start
      1  something is there already, or cannot be written
      2  the command itself was not understood
    """  # noqa: D301 - \b is click's sign that lines stay apart
    known = detect.labs(shipped().parent / "labs")
    found = Detected(
        known=known,
        origins=detect.credentials(Path.cwd(), os.environ),
        servers=detect.servers(os.environ.get("OLLAMA_BASE_URL", "")),
        redis=detect.redis() if redis is None else None,
    )
    for name in labs:
        if name not in found.names:
            hint = nearest(name, found.names)
            raise click.BadParameter(
                f"there is no lab {name!r}. {hint}".strip(), param_hint="--lab"
            )
    if keys == "open" and first:
        raise click.UsageError("--key needs --keys file or --keys env.")
    if keys in (None, "open") and host not in _LOOPBACK:
        raise click.UsageError("Beyond this machine clients need keys: give --keys file or env.")
    wish, first, secret = _wish(
        found,
        InitOptions(labs, keys, first, redis, host, port),
        asks=not (yes or as_json) and sys.stdin.isatty() and sys.stdout.isatty(),
    )
    files = templates.files(wish, known, found.origins, output)
    _refuse(files, force=force)
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    if wish.keys == "file" and first:
        secret = _key(output, first)
    _check(output / "gateway.yaml")
    _done(wish, list(files), (first, secret), found.credentials, as_json=as_json)


class Detected(NamedTuple):
    """What is there."""

    known: Mapping[str, detect.ShippedLab]
    origins: Mapping[str, str]
    """Where each variable that is set comes from."""
    servers: Sequence[detect.LocalModelServer]
    redis: str | None

    @property
    def names(self) -> list[str]:
        """Labs that may be chosen."""
        return [*self.known, *([HERE] if self.servers else [])]

    @property
    def credentials(self) -> list[str]:
        """Variables of the labs that are set."""
        every = {one for lab in self.known.values() for one in lab.credentials}
        return sorted(every & self.origins.keys())


class InitOptions(NamedTuple):
    """What options say."""

    labs: tuple[str, ...]
    keys: Keys | None
    first: str | None
    redis: str | None
    host: str
    port: int | None


def _wish(
    found: Detected, given: InitOptions, *, asks: bool
) -> tuple[InitPlan, str | None, str | None]:
    """What is to be written, the name of the first key, and its secret where no file has it."""
    usual = _usual(found)
    labs, keys, first, port, redis = given.labs, given.keys, given.first, given.port, given.redis
    if asks:
        _tell(found)
        labs = labs or _ask_labs(usual, found.names)
        port = click.prompt("Port", 8484, type=click.IntRange(0, 65535)) if port is None else port
        if keys is None and first is None:
            closed = click.confirm("Only clients with a key may call?", default=False)
            keys = "file" if closed else "open"
        if keys == "file" and first is None:
            first = click.prompt("Name of the first key", "me")
        if found.redis and click.confirm(f"Use the Redis at {found.redis}?", default=False):
            redis = found.redis
    keys = keys or ("file" if first else "open")
    first = (first or "me") if keys != "open" else None
    secret = f"tg-{secrets.token_hex(32)}" if keys == "env" else None
    chosen = tuple(dict.fromkeys(labs or usual))
    wish = InitPlan(
        labs=chosen,
        host=given.host,
        port=8484 if port is None else port,
        keys=keys,
        hashes={first: hashlib.sha256(secret.encode()).hexdigest()} if secret and first else {},
        redis=None if redis == _NONE else redis,
        server=found.servers[0] if HERE in chosen else None,
    )
    return wish, first, secret


def _usual(found: Detected) -> tuple[str, ...]:
    """Labs whose credential is there; else what this machine has, else the first of all."""
    set_ = found.origins.keys()
    there = [name for name, lab in found.known.items() if set_ & {*lab.credentials}]
    first = [name for name in ("openai", "anthropic", "google") if name in there]
    there = [*first, *(name for name in there if name not in first)]
    other = HERE if found.servers else "local" if detect.local() else "openai"
    return tuple(there or [other])


def _tell(found: Detected) -> None:
    for name in found.credentials:
        click.echo(f"Found {click.style(name, bold=True)} in {found.origins[name]}.")
    if not found.credentials:
        click.echo("No credential of a provider is in the environment or in .env.")
    for server in found.servers:
        click.echo(f"Found {server.kind} at {server.url}: {', '.join(server.models)}.")
    if found.redis:
        click.echo(f"Found a Redis at {found.redis}.")
    click.echo()


def _ask_labs(usual: tuple[str, ...], every: list[str]) -> tuple[str, ...]:
    """Labs, as they are typed with commas; asked again where one is not known."""
    click.echo(click.wrap_text(f"Labs: {', '.join(every)}.", get_terminal_size().columns))
    while True:
        text = click.prompt("Which, the default first", ", ".join(usual))
        names = text.replace(",", " ").split()
        wrong = [name for name in names if name not in every]
        if names and not wrong:
            return tuple(names)
        for name in wrong:
            click.secho(f"There is no lab {name!r}. {nearest(name, every)}".strip(), fg="yellow")


def _refuse(files: Iterable[Path], *, force: bool) -> None:
    """Where something would be overwritten."""
    there = [str(file) for file in files if file.exists()]
    if there and not force:
        some = f"{there[0]} and {len(there) - 1} more are" if len(there) > 1 else f"{there[0]} is"
        hint = "--force overwrites, --output writes elsewhere."
        raise click.ClickException(f"{some} there already: {hint}")


def _key(output: Path, name: str) -> str:
    """A key; its secret."""
    try:
        return KeyFile(output / "keys.yaml", clock=time.time).add(name, {})
    except KeyFileError as error:
        raise click.ClickException(str(error)) from None


def _check(file: Path) -> None:
    """What was written is what the gateway takes. Raises ConfigError."""
    site(load(file, environment.read(Path.cwd(), os.environ)), datetime.now(UTC))


def _done(
    wish: InitPlan,
    written: list[Path],
    key: tuple[str | None, str | None],
    names: Sequence[str],
    *,
    as_json: bool,
) -> None:
    main = written[0]
    config = "" if str(main) == "config/gateway.yaml" else f" --config {main}"
    fill = Path(".env.example") in written
    copied = "cat .env.example >> .env" if Path(".env").exists() else "cp .env.example .env"
    following = [copied if fill else f"tiergate{config} check", f"tiergate{config} serve"]
    name, secret = key
    if as_json:
        told = {
            "files": [str(file) for file in written],
            "labs": wish.labs,
            "credentials": names,
            "key": None if secret is None else {"name": name, "secret": secret},
            "next": following,
        }
        click.echo(jsonio.shown(told))
        return
    labs = ", ".join(wish.labs)
    done = click.style("Written", fg="green")
    click.echo(f"{done} {main} with {labs}, and {len(written) - 1} files beside it.")
    if secret is not None:
        click.echo(
            f"The key {name!r}, which is shown only now:\n  {click.style(secret, bold=True)}"
        )
    click.echo("\nNext:")
    note = "   then write your credentials into .env" if fill else ""
    click.echo(f"  {following[0]}{note}\n  {following[1]}")
