"""Start the gateway: sockets, workers, a rolling restart, and what a terminal shows of it."""

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

from gateway.cli.key_clients import StoreKeys
from gateway.cli.keys import report_key_errors
from gateway.cli.serve.rolling_restart import (
    InheritedWorkers,
    Lifeline,
    NextSupervisor,
    RollingRestart,
    SupervisorHandover,
    read_handover,
    replace_process,
    spawn_start_check,
)
from gateway.cli.serve.server import WorkerServer
from gateway.cli.serve.supervisor import HANDLED_SIGNALS, describe_unshared, supervise
from gateway.cli.session import CommandSession
from gateway.core.target import TIERS
from gateway.ledger.errors import StoreDamagedError, StoreError
from gateway.ledger.journal import check_form
from gateway.ledger.store import open_store
from gateway.limits.key_file import KeyFile
from gateway.limits.startup_check import find_unshared_limits
from gateway.runtime.build import (
    BuiltConfig,
    find_cautions,
    find_refusals,
)
from gateway.runtime.composition import VERSION, Gateway
from gateway.runtime.reloader import ConfigWatcher
from gateway.server.app import App
from gateway.server.http1.protocol import ClientConnection
from gateway.settings.data_folder import find_data_folder, resolve_store_url
from gateway.settings.errors import ConfigError
from gateway.settings.file_snapshot import FileSnapshot, is_rereadable
from gateway.telemetry import process
from gateway.telemetry.log import LibraryLogHandler, Log, make_stderr_log
from gateway.telemetry.shared_metrics import SharedMemory

_SAMPLE_QUESTION = "What is the capital of Italy? Answer in one sentence."
"""A sample question that the local model answers well too."""
_LISTEN_BACKLOG = 2048
"""Maximum number of connections that may wait to be accepted."""
_UNACKED_SECONDS = 30.0
"""Seconds beyond `server.timeouts.read` until data that the client does not acknowledge ends its
connection."""


def serve(
    session: CommandSession,
    host: str | None,
    port: int | None,
    workers: int | None,
    *,
    first_key: bool,
) -> None:
    """Start the gateway with the options of the command line; return once it has stopped.

    Raises ConfigError and click.ClickException if it cannot start.
    """
    handover = read_handover(os.environ)
    process.use_single_heap()
    built_config = session.built_config
    log = make_stderr_log(time.time)
    logging.getLogger().addHandler(LibraryLogHandler(log))
    if first_key:
        _create_first_key(session)
    key_table = session.load_key_table()
    for warning in (
        *built_config.warnings,
        *find_cautions(built_config, key_table, session.environ),
    ):
        click.secho(str(warning), fg="yellow", err=True)
    server = built_config.source.config.server
    host, port = host or server.host, server.port if port is None else port
    worker_count = workers or server.workers
    if mistakes := find_unshared_limits(
        session.source, key_table.list_keys(), worker_count, session.environ
    ):
        raise ConfigError(mistakes)
    if handover == "rehearsal":
        _check_start(session, host)
        return
    with _open_sockets(host, port, server.timeouts.read, handover) as sockets:
        # Open it before the fork. A supervisor that took over always has workers, even just one.
        shared_memory = (
            _open_shared_memory(worker_count, handover) if worker_count > 1 or handover else None
        )
        watcher = _make_watcher(session, lambda: gateway, worker_count)
        gateway = _make_gateway(session, log, host, shared_memory, worker_count, watcher)
        with _report_listen_errors(host, port):  # again: another program may have been faster
            for listener in sockets:
                listener.listen(_LISTEN_BACKLOG)
        if shared_memory is None:
            _serve(gateway, sockets, lambda: _print_greeting(gateway, sockets[0]))
            gateway.ledger_runtime.deliver_rest()
            return

        def run_worker(heartbeat: Callable[[], object]) -> None:
            worker_gateway = Gateway(
                watcher.current.built_config, session.environ, log, host=host,
                shared_memory=shared_memory, workers=worker_count, watcher=watcher,
            )  # fmt: skip
            worker_gateway.adopt_recovered(gateway.recovered)
            if worker_gateway.recovered.entries:
                log("ledger", recovered=len(worker_gateway.recovered.entries))
            _serve(worker_gateway, sockets, heartbeat=heartbeat, is_worker=True)

        # This process has checked that workers can start, and has closed calls left by a crash.
        gateway.ledger_runtime.close()
        worker_note = f"{worker_count}, {describe_unshared(session.environ)}".rstrip(", ")
        supervise(
            worker_count,
            run_worker,
            sockets,
            log,
            lambda: None if handover else _print_greeting(gateway, sockets[0], worker_note),
            drain=server.drain,
            hang=server.hang,
            poll_config=lambda again: watcher.run_once(must_read=again),
            restart=_plan_restart(
                handover, worker_count, server.drain, sockets, shared_memory, log
            ),
        )
        # Of the workers only one fed, and the sinks lack what came since the last delivery.
        gateway.ledger_runtime.deliver_rest()


def _serve(
    gateway: Gateway,
    sockets: list[socket.socket],
    on_started: Callable[[], object] = int,
    heartbeat: Callable[[], object] = int,
    *,
    is_worker: bool = False,
) -> None:
    """Serve until a signal stops the process in good order. Call `on_started` once it listens."""
    app = App(gateway)
    config = uvicorn.Config(
        app,
        backlog=_LISTEN_BACKLOG,
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
    settings = gateway.built_config.source.config
    WorkerServer(
        config,
        app,
        settings.server,
        gateway.log,
        on_started=on_started,
        heartbeat=heartbeat,
        is_worker=is_worker,
        deliver_seconds=0.0 if is_worker else settings.ledger.deliver_on_stop,
    ).run(sockets)


def _make_watcher(
    session: CommandSession, get_gateway: Callable[[], Gateway], worker_count: int
) -> ConfigWatcher:
    """Make the watcher that finds a configuration to replace the one of the session.

    It accepts only a configuration with which this gateway could have started.
    """

    def read_config(snapshot: FileSnapshot) -> BuiltConfig:
        built_config, running_gateway = session.rebuild(snapshot), get_gateway()
        mistakes = find_refusals(built_config, running_gateway.keys, running_gateway.host)
        mistakes += find_unshared_limits(
            built_config.source, running_gateway.keys.list_keys(), worker_count, session.environ
        )
        if mistakes:
            raise ConfigError(mistakes)
        return built_config

    built_config = session.built_config
    can_reload = is_rereadable(session.snapshot.file_states[built_config.source.file])
    return ConfigWatcher(built_config, read_config if can_reload else None, session.snapshot)


def _make_gateway(
    session: CommandSession,
    log: Log,
    host: str,
    shared_memory: SharedMemory | None,
    worker_count: int,
    watcher: ConfigWatcher,
) -> Gateway:
    """Make the gateway. If it cannot write, raise ConfigError or click.ClickException."""
    try:
        return Gateway(
            session.built_config, session.environ, log, host=host,
            shared_memory=shared_memory, workers=worker_count, watcher=watcher,
        )  # fmt: skip
    except StoreError as error:
        mistake = session.source.make_mistake(("ledger", "store"), f"{error}.")
        raise ConfigError([mistake]) from None
    except OSError as error:
        folder = find_data_folder(session.environ).absolute()
        reason = (error.strerror or str(error)).lower()
        message = (
            f"The gateway cannot use the data folder {folder}: {reason}. Set another "
            "with TIERGATE_DATA."
        )
        raise click.ClickException(message) from None


def _plan_restart(
    handover: SupervisorHandover | None,
    worker_count: int,
    drain: float,
    sockets: Iterable[socket.socket],
    shared_memory: SharedMemory,
    log: Log,
) -> RollingRestart:
    """Make the restart: it takes over from a previous supervisor, and hands over to the next."""

    def start_next(lifeline: Lifeline, workers: Sequence[int]) -> None:
        descriptors = tuple(listener.fileno() for listener in sockets)
        next_handover = SupervisorHandover(
            VERSION, descriptors, lifeline, shared_memory.descriptor, tuple(workers), drain
        )
        replace_process(next_handover, HANDLED_SIGNALS)

    next_supervisor = NextSupervisor(spawn_start_check, start_next)
    if handover is None:
        return RollingRestart(log, next_supervisor)
    return RollingRestart(
        log,
        next_supervisor,
        InheritedWorkers(handover.workers, worker_count, handover.drain, log),
        handover.tie,
    )


def _check_start(session: CommandSession, host: str) -> None:
    """Check that the gateway could start, while another one still runs. Raises ConfigError."""
    source, environ = session.source, session.environ
    config = source.config
    if mistakes := find_refusals(session.built_config, session.load_key_table(), host):
        raise ConfigError(mistakes)
    data = find_data_folder(environ)
    try:
        check_form(data / config.ledger.journal)
        open_store(resolve_store_url(config.ledger.store, data))
    except StoreDamagedError:
        return  # the gateway rebuilds it when it starts
    except StoreError as error:
        raise ConfigError([source.make_mistake(("ledger", "store"), f"{error}.")]) from None


def _open_shared_memory(worker_count: int, handover: SupervisorHandover | None) -> SharedMemory:
    """Open the memory in which workers count. A supervisor of the same version hands it over."""
    is_same_version = handover is not None and handover.version == VERSION
    return SharedMemory(
        worker_count,
        descriptor=handover.figures if handover is not None and is_same_version else None,
    )


def _create_first_key(session: CommandSession) -> None:
    """Make the store of keys with one key if no client has a key yet, and print its secret.

    With TIERGATE_KEYS no key is needed: then make an empty file if the configuration names one.
    """
    with report_key_errors():
        keys = StoreKeys(session, "serve")
        if session.environ.get("TIERGATE_KEYS"):
            if isinstance(keys.store, KeyFile):
                keys.store.file.touch(0o600)
            return
        secret = keys.admin.create_first("first", "serve")
    if secret is None:
        return
    lines = [
        "",
        "  A new key for clients. Copy it now: the gateway shows it only once:",
        "",
        f"      {secret}",
        "",
        (
            f"  {keys.place} has its hash, under the name `first`. "
            "`tiergate keys rotate first` gives"
        ),
        "  another one; `tiergate keys add NAME` adds more.",
        "",
    ]
    click.echo("\n".join(lines))


@contextlib.contextmanager
def _report_listen_errors(host: str, port: int) -> Iterator[None]:
    """Report in one line why the gateway cannot listen on an address."""
    try:
        yield
    except OSError as error:
        reason, hint = (error.strerror or str(error)).lower(), ""
        if error.errno == errno.EADDRINUSE:
            reason, hint = "another program listens there", " Choose another with --port."
        message = f"Cannot listen on {host}, port {port}: {reason}.{hint}"
        raise click.ClickException(message) from None


@contextlib.contextmanager
def _open_sockets(
    host: str, port: int, read_timeout: float, handover: SupervisorHandover | None = None
) -> Iterator[list[socket.socket]]:
    """Open a socket for each address of the host, not listening yet.

    With a `handover`, open the sockets of the previous supervisor instead: they keep their
    addresses. `read_timeout` is server.timeouts.read in seconds.
    """
    with contextlib.ExitStack() as stack:
        sockets = []
        if handover is not None:
            sockets = [stack.enter_context(listener) for listener in handover.open_sockets()]
            for listener in sockets:
                _enable_probes(listener, read_timeout)
            yield sockets
            return
        with _report_listen_errors(host, port):
            for family, kind, protocol, _, address in socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                listener = stack.enter_context(socket.socket(family, kind, protocol))
                if os.name == "posix":
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                _enable_probes(listener, read_timeout)
                listener.bind(address)
                sockets.append(listener)
        yield sockets


def _enable_probes(listener: socket.socket, read_timeout: float) -> None:
    """Let the kernel find clients that are cut off. On Linux, connections inherit these options.

    Without them, the gateway never notices a lost client if it writes nothing to it. If it writes
    little, it notices after a quarter of an hour. The gateway itself must find a client that is
    alive but does not read.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    unacked_millis = round((read_timeout + _UNACKED_SECONDS) * 1000)
    for name, value in (
        ("TCP_KEEPIDLE", 60),
        ("TCP_KEEPINTVL", 15),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", unacked_millis),
    ):
        if (option := getattr(socket, name, None)) is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)


def _print_greeting(gateway: Gateway, listener: socket.socket, worker_note: str = "") -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    catalogue = gateway.engine.router.catalogue
    on_label, off_label = click.style("on ", fg="green"), click.style("off", dim=True)
    lines = [
        f"tiergate {VERSION} on {click.style(url, bold=True)}  (OpenAI SDKs: base_url={url}/v1)",
        "",
    ]
    width = max(len(name) for name in catalogue.labs)
    for lab in sorted(catalogue.labs.values(), key=lambda lab: not lab.enabled):
        default_mark = "*" if lab.name == catalogue.default_lab else " "
        if not lab.enabled:
            first_line, *more_lines = _wrap_text(
                f"  off {default_mark} {lab.name:<{width}}  ", lab.disabled_reason
            )
            lines += [first_line.replace("off", off_label, 1), *more_lines]
            continue
        models = (
            next(
                (target.model for target in lab.tiers.get(tier, ()) if target.provider.enabled), "-"
            )
            for tier in TIERS
        )
        tiers = ", ".join(f"{tier} {model}" for tier, model in zip(TIERS, models, strict=True))
        lines.append(f"  {on_label} {default_mark} {lab.name:<{width}}  {tiers}")
        if lab.about:
            lines += _wrap_text(f"        {'':<{width}}  ", lab.about)
    key_note = "none needed (keys: open)" if gateway.keys.is_open else f"{len(gateway.keys)} known"
    lines += ["", f"  keys    {key_note}", f"  ledger  {gateway.journal_folder}"]
    lines += [f"  pages   {url} and {url}/dashboard", ""]
    if worker_note:
        lines.insert(-1, f"  workers {worker_note}")
    if gateway.recovered.entries:
        lines.insert(
            -1, f"  after a crash: the gateway closed {len(gateway.recovered.entries)} open calls"
        )
    auth_option = "" if gateway.keys.is_open else " -H 'authorization: Bearer <key>'"
    body = f'{{"model": "auto", "messages": [{{"role": "user", "content": "{_SAMPLE_QUESTION}"}}]}}'
    lines += ["try:", f"  curl {url}/v1/chat/completions{auth_option} -d '{body}'", ""]
    click.echo("\n".join(lines))


def _wrap_text(prefix: str, text: str) -> list[str]:
    """Wrap a text behind a prefix to the width of the terminal. A pipe gets one line."""
    if not sys.stdout.isatty():
        return [prefix + text]
    width = max(shutil.get_terminal_size().columns, len(prefix) + 24)
    return textwrap.wrap(text, width, initial_indent=prefix, subsequent_indent=" " * len(prefix))
