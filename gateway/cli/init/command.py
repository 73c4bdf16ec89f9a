"""`tiergate init`: writes a configuration that serves, from what it finds and a few answers."""

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
from gateway.cli.init.templates import LOCAL_SERVER_LAB, InitPlan
from gateway.core import jsonio
from gateway.limits.errors import KeyChangeError
from gateway.limits.key_admin import KeyAdmin
from gateway.limits.key_file import KeyFile
from gateway.runtime.build import build_config
from gateway.settings import environment
from gateway.settings.environment import find_shipped_config
from gateway.settings.errors import suggest_name
from gateway.settings.loader import load

type KeysMode = Literal["open", "file", "env"]

_NO_REDIS = "no"
_LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")


@click.command("init")
@click.option(
    "--lab", "labs", multiple=True, help="A lab; the first is the default. May be repeated."
)
@click.option(
    "--keys",
    type=click.Choice(("open", "file", "env")),
    help=(
        "Who may call: every client on this machine, or clients with a key of a file or of "
        "TIERGATE_KEYS. [open]"
    ),
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
@click.option("--yes", is_flag=True, help="Ask nothing: use what this machine has, and defaults.")
@click.option("--force", is_flag=True, help="Overwrite existing files, except keys.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; ask nothing.")
def command(  # noqa: PLR0913 - the options of a command
    labs: tuple[str, ...],
    keys: KeysMode | None,
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
    on this machine for a Redis and for servers of models. It asks nothing else of anybody, and does
    not overwrite what is there.

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
    shipped_labs = detect.load_shipped_labs(find_shipped_config().parent / "labs")
    detected = Detected(
        shipped_labs=shipped_labs,
        origins=detect.find_credentials(Path.cwd(), os.environ),
        servers=detect.find_model_servers(os.environ.get("OLLAMA_BASE_URL", "")),
        redis=detect.find_redis() if redis is None else None,
    )
    for name in labs:
        if name not in detected.lab_names:
            hint = suggest_name(name, detected.lab_names)
            raise click.BadParameter(
                f"there is no lab {name!r}. {hint}".strip(), param_hint="--lab"
            )
    if keys == "open" and first:
        raise click.UsageError("--key needs --keys file or --keys env.")
    if keys in (None, "open") and host not in _LOOPBACK_HOSTS:
        raise click.UsageError(
            "Clients on other machines need keys: add --keys file or --keys env."
        )
    plan, first, secret = _make_plan(
        detected,
        InitOptions(labs, keys, first, redis, host, port),
        is_interactive=not (yes or as_json) and sys.stdin.isatty() and sys.stdout.isatty(),
    )
    files = templates.build_files(plan, shipped_labs, detected.origins, output)
    _refuse_overwrite(files, force=force)
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    if plan.keys == "file" and first:
        secret = _add_first_key(output, first)
    _check_config(output / "gateway.yaml")
    _print_result(plan, list(files), (first, secret), detected.credentials, as_json=as_json)


class Detected(NamedTuple):
    """The labs that ship, and what was found: credentials, model servers and a Redis."""

    shipped_labs: Mapping[str, detect.ShippedLab]
    origins: Mapping[str, str]
    """The place that each variable comes from, if it is set: `.env` or the environment."""
    servers: Sequence[detect.LocalModelServer]
    redis: str | None

    @property
    def lab_names(self) -> list[str]:
        """The labs that the user may choose."""
        return [*self.shipped_labs, *([LOCAL_SERVER_LAB] if self.servers else [])]

    @property
    def credentials(self) -> list[str]:
        """The credential variables of the labs, if they are set."""
        variables = {variable for lab in self.shipped_labs.values() for variable in lab.credentials}
        return sorted(variables & self.origins.keys())


class InitOptions(NamedTuple):
    """The options of the command line."""

    labs: tuple[str, ...]
    keys: KeysMode | None
    first_key: str | None
    redis: str | None
    host: str
    port: int | None


def _make_plan(
    detected: Detected, options: InitOptions, *, is_interactive: bool
) -> tuple[InitPlan, str | None, str | None]:
    """Return the plan, the name of the first key, and its secret if TIERGATE_KEYS has the key."""
    default_labs = _choose_default_labs(detected)
    labs = options.labs
    keys = options.keys
    first_key = options.first_key
    port = options.port
    redis = options.redis
    if is_interactive:
        _print_detected(detected)
        labs = labs or _ask_labs(default_labs, detected.lab_names)
        port = click.prompt("Port", 8484, type=click.IntRange(0, 65535)) if port is None else port
        if keys is None and first_key is None:
            needs_key = click.confirm("Only clients with a key may call?", default=False)
            keys = "file" if needs_key else "open"
        if keys == "file" and first_key is None:
            first_key = click.prompt("Name of the first key", "me")
        if detected.redis and click.confirm(f"Use the Redis at {detected.redis}?", default=False):
            redis = detected.redis
    keys = keys or ("file" if first_key else "open")
    first_key = (first_key or "me") if keys != "open" else None
    secret = f"tg-{secrets.token_hex(32)}" if keys == "env" else None
    chosen_labs = tuple(dict.fromkeys(labs or default_labs))
    plan = InitPlan(
        labs=chosen_labs,
        host=options.host,
        port=8484 if port is None else port,
        keys=keys,
        key_hashes={first_key: hashlib.sha256(secret.encode()).hexdigest()}
        if secret and first_key
        else {},
        redis=None if redis == _NO_REDIS else redis,
        server=detected.servers[0] if LOCAL_SERVER_LAB in chosen_labs else None,
    )
    return plan, first_key, secret


def _choose_default_labs(detected: Detected) -> tuple[str, ...]:
    """Choose the labs whose credential is set. Without any, choose a local model, else openai."""
    set_variables = detected.origins.keys()
    available = [
        name for name, lab in detected.shipped_labs.items() if set_variables & {*lab.credentials}
    ]
    preferred = [name for name in ("openai", "anthropic", "google") if name in available]
    available = [*preferred, *(name for name in available if name not in preferred)]
    fallback = (
        LOCAL_SERVER_LAB if detected.servers else "local" if detect.has_local_model() else "openai"
    )
    return tuple(available or [fallback])


def _print_detected(detected: Detected) -> None:
    for name in detected.credentials:
        click.echo(f"Found {click.style(name, bold=True)} in {detected.origins[name]}.")
    if not detected.credentials:
        click.echo("No credential of a provider is in the environment or in .env.")
    for server in detected.servers:
        click.echo(f"Found {server.kind} at {server.url}: {', '.join(server.models)}.")
    if detected.redis:
        click.echo(f"Found a Redis at {detected.redis}.")
    click.echo()


def _ask_labs(default_labs: tuple[str, ...], lab_names: list[str]) -> tuple[str, ...]:
    """Ask for labs, with commas between them. Ask again if one is unknown."""
    click.echo(click.wrap_text(f"Labs: {', '.join(lab_names)}.", get_terminal_size().columns))
    while True:
        text = click.prompt("Which, the default first", ", ".join(default_labs))
        names = text.replace(",", " ").split()
        unknown_names = [name for name in names if name not in lab_names]
        if names and not unknown_names:
            return tuple(names)
        for name in unknown_names:
            click.secho(
                f"There is no lab {name!r}. {suggest_name(name, lab_names)}".strip(), fg="yellow"
            )


def _refuse_overwrite(files: Iterable[Path], *, force: bool) -> None:
    """Refuse to overwrite files without --force. Raises click.ClickException."""
    existing = [str(file) for file in files if file.exists()]
    if existing and not force:
        subject = (
            f"{existing[0]} and {len(existing) - 1} more are"
            if len(existing) > 1
            else f"{existing[0]} is"
        )
        hint = "--force overwrites, --output writes elsewhere."
        raise click.ClickException(f"{subject} there already: {hint}")


def _add_first_key(output: Path, name: str) -> str:
    """Add a key to the file of keys, and return its secret. Raises click.ClickException."""
    try:
        key_admin = KeyAdmin(KeyFile(output / "keys.yaml"), clock=time.time)
        return key_admin.create(name, {}, "init").secret or ""
    except KeyChangeError as error:
        raise click.ClickException(str(error)) from None


def _check_config(file: Path) -> None:
    """Check that the gateway accepts the configuration that was written. Raises ConfigError."""
    build_config(
        load(file, environment.read_environment(Path.cwd(), os.environ)), datetime.now(UTC)
    )


def _print_result(
    plan: InitPlan,
    files: list[Path],
    key: tuple[str | None, str | None],
    credentials: Sequence[str],
    *,
    as_json: bool,
) -> None:
    config_file = files[0]
    config_option = "" if str(config_file) == "config/gateway.yaml" else f" --config {config_file}"
    has_env_example = Path(".env.example") in files
    copy_command = "cat .env.example >> .env" if Path(".env").exists() else "cp .env.example .env"
    next_commands = [
        copy_command if has_env_example else f"tiergate{config_option} check",
        f"tiergate{config_option} serve",
    ]
    name, secret = key
    if as_json:
        report = {
            "files": [str(file) for file in files],
            "labs": plan.labs,
            "credentials": credentials,
            "key": None if secret is None else {"name": name, "secret": secret},
            "next": next_commands,
        }
        click.echo(jsonio.dumps_printable(report))
        return
    labs = ", ".join(plan.labs)
    title = click.style("Written", fg="green")
    click.echo(f"{title} {config_file} with {labs}, and {len(files) - 1} files beside it.")
    if secret is not None:
        click.echo(
            f"The key {name!r}, which is shown only now:\n  {click.style(secret, bold=True)}"
        )
    click.echo("\nNext:")
    note = "   then write your credentials into .env" if has_env_example else ""
    click.echo(f"  {next_commands[0]}{note}\n  {next_commands[1]}")
