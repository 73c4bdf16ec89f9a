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

import click
import uvicorn

from gateway.cli.session import Session, pass_session
from gateway.compose import Gateway, data_folder
from gateway.core.target import TIERS
from gateway.http.app import VERSION, App
from gateway.ledger.store import StoreError
from gateway.settings.mistake import ConfigError
from gateway.telemetry.log import Library, Log, stderr


@click.command("serve")
@click.option("--host", help="Address to listen on. [server.host]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on. [server.port]")
@pass_session
def command(session: Session, host: str | None, port: int | None) -> None:
    """Start the gateway; stop it with Ctrl-C."""
    site = session.site
    log = stderr(time.time)
    logging.getLogger().addHandler(Library(log))
    for warning in site.warnings:
        click.secho(str(warning), fg="yellow", err=True)
    server = site.source.config.server
    host, port = host or server.host, server.port if port is None else port
    gateway = _gateway(session, log, host, port)
    config = uvicorn.Config(
        App(gateway),
        host=host,
        port=port,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http="httptools",  # its parser refuses request smuggling that the other one lets pass
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=25,
    )
    with contextlib.suppress(KeyboardInterrupt):  # raised again after a stop in good order
        _Server(config, gateway).run()


def _gateway(session: Session, log: Log, host: str, port: int) -> Gateway:
    """The gateway, where it can listen and write: a reason in one line where it cannot."""
    try:
        _probe(host, port)
    except OSError as error:
        reason, hint = (error.strerror or str(error)).lower(), ""
        if error.errno == errno.EADDRINUSE:
            reason, hint = "another program listens there", " Choose another with --port."
        message = f"Cannot listen on {host}, port {port}: {reason}.{hint}"
        raise click.ClickException(message) from None
    try:
        return Gateway(session.site, session.environ, log, host=host)
    except StoreError as error:
        mistake = session.source.mistake(("ledger", "store"), f"{error}.")
        raise ConfigError([mistake]) from None
    except OSError as error:
        folder = data_folder(session.environ).absolute()
        reason = (error.strerror or str(error)).lower()
        message = f"The data folder {folder} cannot be used: {reason}. TIERGATE_DATA moves it."
        raise click.ClickException(message) from None


def _probe(host: str, port: int) -> None:
    """Raises OSError where nobody could listen now: the server itself would only log it."""
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for listening in server.sockets:
                host, port = listening.getsockname()[:2]
                _introduce(
                    self._gateway,
                    f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}",
                )
                return


def _introduce(gateway: Gateway, url: str) -> None:
    catalogue = gateway.engine.router.catalogue
    lines = [f"tiergate {VERSION} on {url}  (OpenAI SDKs: base_url={url}/v1)", ""]
    width = max(len(name) for name in catalogue.labs)
    for lab in sorted(catalogue.labs.values(), key=lambda lab: not lab.on):
        mark = "*" if lab.name == catalogue.default_lab else " "
        if not lab.on:
            lines += _folded(f"  off {mark} {lab.name:<{width}}  ", lab.why)
            continue
        serving = (
            next((t.model for t in lab.tiers.get(tier, ()) if t.provider.on), "-") for tier in TIERS
        )
        tiers = ", ".join(f"{tier} {model}" for tier, model in zip(TIERS, serving, strict=True))
        lines.append(f"  on  {mark} {lab.name:<{width}}  {tiers}")
        if lab.about:
            lines += _folded(f"        {'':<{width}}  ", lab.about)
    keys = "none needed (keys: open)" if gateway.keys.is_open else f"{len(gateway.keys)} known"
    lines += ["", f"  keys    {keys}", f"  ledger  {gateway.journal_folder}", ""]
    if gateway.recovered.entries:
        lines.insert(
            -1, f"  after a crash: {len(gateway.recovered.entries)} open calls were closed"
        )
    bearer = "" if gateway.keys.is_open else " -H 'authorization: Bearer <key>'"
    body = '{"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}'
    lines += ["try:", f"  curl {url}/v1/chat/completions{bearer} -d '{body}'", ""]
    click.echo("\n".join(lines))


def _folded(head: str, text: str) -> list[str]:
    """A text behind its head, folded to the width of a terminal; a pipe gets one line."""
    if not sys.stdout.isatty():
        return [head + text]
    width = max(shutil.get_terminal_size().columns, len(head) + 24)
    return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head))
