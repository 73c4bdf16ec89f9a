"""`tiergate serve`: starts the gateway and says what it serves."""

import contextlib
import errno
import logging
import os
import shutil
import socket
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import click
import uvicorn

from gateway.cli.keys import keyring, telling
from gateway.cli.serve.rolling_restart import (
    InheritedWorkers,
    NextSupervisor,
    RollingRestart,
    SupervisorHandover,
    Tie,
    become,
    left,
    rehearse,
)
from gateway.cli.serve.server import WorkerServer
from gateway.cli.serve.supervisor import SIGNALS, supervise, unshared
from gateway.cli.session import CommandSession, pass_session
from gateway.core.target import TIERS
from gateway.ledger.errors import StoreDamagedError, StoreError
from gateway.ledger.store import open_store
from gateway.limits.startup_check import apart
from gateway.runtime.build import BuiltConfig, cautions, data_folder, refusals, store_url
from gateway.runtime.composition import VERSION, Gateway
from gateway.runtime.reloader import ConfigWatcher
from gateway.server.app import App
from gateway.server.http1.protocol import ClientConnection
from gateway.settings.errors import ConfigError
from gateway.settings.file_snapshot import FileSnapshot, whole
from gateway.telemetry import process
from gateway.telemetry.log import LibraryLogHandler, Log, stderr
from gateway.telemetry.shared_metrics import SharedMemory

_QUESTION = "What is the capital of Italy? Answer in one sentence."
"""A first question, which the local model answers well too."""
_BACKLOG = 2048
"""Connections that may wait to be taken."""
_UNHEARD = 30.0
"""Seconds beyond `server.timeouts.read` until what was written and not received ends all."""


@click.command("serve")
@click.option("--host", help="Address to listen on. [server.host]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on. [server.port]")
@click.option(
    "--workers", type=click.IntRange(1), help="Processes that share the port. [server.workers]"
)
@click.option(
    "--first-key", is_flag=True, help="Make a first client key where there is none; print it once."
)
@pass_session
def command(
    session: CommandSession,
    host: str | None,
    port: int | None,
    workers: int | None,
    *,
    first_key: bool,
) -> None:
    """Start the gateway; stop it with Ctrl-C.

    \b
    Examples:
      tiergate serve
      tiergate serve --port 9000
      tiergate --config mine.yaml serve --host 0.0.0.0 --workers 4
      TIERGATE_KEY_FILE=/data/keys.yaml tiergate serve --host 0.0.0.0 --first-key

    \b
    Exit status:
      0  it was told to stop, and stopped in good order
      1  it cannot start, and says why
      2  the command itself was not understood
    """  # noqa: D301 - \b is click's sign that lines stay apart
    leaves = left(os.environ)
    process.together()
    site = session.site
    log = stderr(time.time)
    logging.getLogger().addHandler(LibraryLogHandler(log))
    if first_key:
        _first_key(session)
    known = session.key_table()
    for warning in (*site.warnings, *cautions(site, known, session.environ)):
        click.secho(str(warning), fg="yellow", err=True)
    server = site.source.config.server
    host, port = host or server.host, server.port if port is None else port
    count = workers or server.workers
    if refused := apart(session.source, known.known(), count, session.environ):
        raise ConfigError(refused)
    if leaves == "rehearsal":
        _rehearse(session, host)
        return
    with _bound(host, port, server.timeouts.read, leaves) as sockets:
        # Before they are forked; one that was followed has workers, be it one.
        figures = _figures(count, leaves) if count > 1 or leaves else None
        renewal = _renewal(session, lambda: gateway, count)
        gateway = _gateway(session, log, host, figures, count, renewal)
        with _telling(host, port):  # again: somebody may have been quicker
            for one in sockets:
                one.listen(_BACKLOG)
        if figures is None:
            _serve(gateway, sockets, lambda: _introduce(gateway, sockets[0]))
            return

        def work(beat: Callable[[], object]) -> None:
            one = Gateway(
                renewal.text.site, session.environ, log, host=host, figures=figures,
                workers=count, renewal=renewal,
            )  # fmt: skip
            one.adopt(gateway.recovered)
            if one.recovered.entries:
                log("ledger", recovered=len(one.recovered.entries))
            _serve(one, sockets, beat=beat, worker=True)

        # This one has found that all of them can start, and has closed what was left open.
        gateway.archive.close()
        told = f"{count}, {unshared(session.environ)}".rstrip(", ")
        supervise(
            count,
            work,
            sockets,
            log,
            lambda: None if leaves else _introduce(gateway, sockets[0], told),
            drain=server.drain,
            hang=server.hang,
            renew=lambda again: renewal.turn(again=again),
            roll=_roll(leaves, count, server.drain, sockets, figures, log),
        )
        gateway.archive.feed()  # the last rows of all: one fed, others did not


def _serve(
    gateway: Gateway,
    sockets: list[socket.socket],
    begun: Callable[[], object] = int,
    beat: Callable[[], object] = int,
    *,
    worker: bool = False,
) -> None:
    """Serve until told to stop, in good order; `begun` is called once it listens."""
    app = App(gateway)
    config = uvicorn.Config(
        app,
        backlog=_BACKLOG,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=ClientConnection,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
    )
    settings = gateway.site.source.config.server
    WorkerServer(config, app, settings, gateway.log, begun=begun, beat=beat, worker=worker).run(
        sockets
    )


def _renewal(session: CommandSession, gateway: Callable[[], Gateway], count: int) -> ConfigWatcher:
    """What finds out which configuration replaces that of the session.

    It must be one that this gateway could have been started with.
    """

    def read(reads: FileSnapshot) -> BuiltConfig:
        site, running = session.again(reads), gateway()
        refused = refusals(site, running.keys, running.host)
        refused += apart(site.source, running.keys.known(), count, session.environ)
        if refused:
            raise ConfigError(refused)
        return site

    site = session.site
    again = whole(session.reads.files[site.source.file])
    return ConfigWatcher(site, read if again else None, session.reads)


def _gateway(
    session: CommandSession,
    log: Log,
    host: str,
    figures: SharedMemory | None,
    count: int,
    renewal: ConfigWatcher,
) -> Gateway:
    """The gateway, where it can write: a reason in one line where it cannot."""
    try:
        return Gateway(
            session.site, session.environ, log, host=host, figures=figures, workers=count,
            renewal=renewal,
        )  # fmt: skip
    except StoreError as error:
        mistake = session.source.mistake(("ledger", "store"), f"{error}.")
        raise ConfigError([mistake]) from None
    except OSError as error:
        folder = data_folder(session.environ).absolute()
        reason = (error.strerror or str(error)).lower()
        message = f"The data folder {folder} cannot be used: {reason}. TIERGATE_DATA moves it."
        raise click.ClickException(message) from None


def _roll(
    leaves: SupervisorHandover | None,
    count: int,
    drain: float,
    sockets: Iterable[socket.socket],
    figures: SharedMemory,
    log: Log,
) -> RollingRestart:
    """What a restart takes from those before and leaves to those that follow."""

    def follow(tie: Tie, workers: Sequence[int]) -> None:
        listening = tuple(one.fileno() for one in sockets)
        found = SupervisorHandover(
            VERSION, listening, tie, figures.descriptor, tuple(workers), drain
        )
        become(found, SIGNALS)

    following = NextSupervisor(rehearse, follow)
    if leaves is None:
        return RollingRestart(log, following)
    return RollingRestart(
        log, following, InheritedWorkers(leaves.workers, count, leaves.drain, log), leaves.tie
    )


def _rehearse(session: CommandSession, host: str) -> None:
    """Find out, beside what runs, whether it could start. Raises ConfigError."""
    source, environ = session.source, session.environ
    config = source.config
    if refused := refusals(session.site, session.key_table(), host):
        raise ConfigError(refused)
    try:
        open_store(store_url(config.ledger.store, data_folder(environ)))
    except StoreDamagedError:
        return  # the gateway makes it anew when it starts
    except StoreError as error:
        raise ConfigError([source.mistake(("ledger", "store"), f"{error}.")]) from None


def _figures(count: int, leaves: SupervisorHandover | None) -> SharedMemory:
    """The memory in which workers count: that of those before, where they count alike."""
    known = leaves is not None and leaves.version == VERSION
    return SharedMemory(count, descriptor=leaves.figures if leaves is not None and known else None)


def _first_key(session: CommandSession) -> None:
    """Make the file of keys with one key where no client has a key yet, and print its secret.

    A start with TIERGATE_KEYS needs no file: an empty one is made where it is named.
    """
    with telling():
        ring = keyring(session)
        if session.environ.get("TIERGATE_KEYS"):
            ring.file.touch(0o600)
            return
        secret = ring.begin("first")
    if secret is None:
        return
    lines = [
        "",
        "  A key for clients, made now. This is the only time that it is shown:",
        "",
        f"      {secret}",
        "",
        f"  {ring.file} has its hash, under the name `first`. `tiergate keys rotate first` gives",
        "  another one; `tiergate keys add NAME` adds more.",
        "",
    ]
    click.echo("\n".join(lines))


@contextlib.contextmanager
def _telling(host: str, port: int) -> Iterator[None]:
    """Tells in one line why nobody can listen there."""
    try:
        yield
    except OSError as error:
        reason, hint = (error.strerror or str(error)).lower(), ""
        if error.errno == errno.EADDRINUSE:
            reason, hint = "another program listens there", " Choose another with --port."
        message = f"Cannot listen on {host}, port {port}: {reason}.{hint}"
        raise click.ClickException(message) from None


@contextlib.contextmanager
def _bound(
    host: str, port: int, read: float, leaves: SupervisorHandover | None = None
) -> Iterator[list[socket.socket]]:
    """A socket for each address of the host, not listening yet; `read` as in server.timeouts.

    Those that were left, where some were: they stay where they are.
    """
    with contextlib.ExitStack() as opened:
        sockets = []
        if leaves is not None:
            sockets = [opened.enter_context(one) for one in leaves.listening()]
            for one in sockets:
                _probe(one, read)
            yield sockets
            return
        with _telling(host, port):
            for family, kind, protocol, _, address in socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                one = opened.enter_context(socket.socket(family, kind, protocol))
                if os.name == "posix":
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                _probe(one, read)
                one.bind(address)
                sockets.append(one)
        yield sockets


def _probe(listening: socket.socket, read: float) -> None:
    """Let the kernel find out about clients that are cut off: connections inherit this on Linux.

    Without it one to whom nothing is written is never missed, and one to whom little is written is
    missed after a quarter of an hour. A client that is there and does not read is our own to find.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    unheard = round((read + _UNHEARD) * 1000)
    for name, value in (
        ("TCP_KEEPIDLE", 60),
        ("TCP_KEEPINTVL", 15),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", unheard),
    ):
        if (option := getattr(socket, name, None)) is not None:
            listening.setsockopt(socket.IPPROTO_TCP, option, value)


def _introduce(gateway: Gateway, listening: socket.socket, workers: str = "") -> None:
    host, port = listening.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    catalogue = gateway.engine.router.catalogue
    on, off = click.style("on ", fg="green"), click.style("off", dim=True)
    lines = [
        f"tiergate {VERSION} on {click.style(url, bold=True)}  (OpenAI SDKs: base_url={url}/v1)",
        "",
    ]
    width = max(len(name) for name in catalogue.labs)
    for lab in sorted(catalogue.labs.values(), key=lambda lab: not lab.on):
        mark = "*" if lab.name == catalogue.default_lab else " "
        if not lab.on:
            first, *rest = _folded(f"  off {mark} {lab.name:<{width}}  ", lab.why)
            lines += [first.replace("off", off, 1), *rest]
            continue
        serving = (
            next((t.model for t in lab.tiers.get(tier, ()) if t.provider.on), "-") for tier in TIERS
        )
        tiers = ", ".join(f"{tier} {model}" for tier, model in zip(TIERS, serving, strict=True))
        lines.append(f"  {on} {mark} {lab.name:<{width}}  {tiers}")
        if lab.about:
            lines += _folded(f"        {'':<{width}}  ", lab.about)
    keys = "none needed (keys: open)" if gateway.keys.is_open else f"{len(gateway.keys)} known"
    lines += ["", f"  keys    {keys}", f"  ledger  {gateway.journal_folder}"]
    lines += [f"  pages   {url} and {url}/dashboard", ""]
    if workers:
        lines.insert(-1, f"  workers {workers}")
    if gateway.recovered.entries:
        lines.insert(
            -1, f"  after a crash: {len(gateway.recovered.entries)} open calls were closed"
        )
    bearer = "" if gateway.keys.is_open else " -H 'authorization: Bearer <key>'"
    body = f'{{"model": "auto", "messages": [{{"role": "user", "content": "{_QUESTION}"}}]}}'
    lines += ["try:", f"  curl {url}/v1/chat/completions{bearer} -d '{body}'", ""]
    click.echo("\n".join(lines))


def _folded(head: str, text: str) -> list[str]:
    """A text behind its head, folded to the width of a terminal; a pipe gets one line."""
    if not sys.stdout.isatty():
        return [head + text]
    width = max(shutil.get_terminal_size().columns, len(head) + 24)
    return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head))
