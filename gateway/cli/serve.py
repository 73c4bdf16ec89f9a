"""`tiergate serve`: starts the gateway and says what it serves."""

import logging
import socket
import sys
import time

import click
import uvicorn

from gateway.cli.session import Session, pass_session
from gateway.compose import Gateway
from gateway.core.target import TIERS
from gateway.http.app import VERSION, App
from gateway.telemetry.log import Library, stderr


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
        click.echo(f"warning: {warning}", err=True)
    gateway = Gateway(site, session.environ, log, host=host)
    server = site.source.config.server
    config = uvicorn.Config(
        App(gateway),
        host=host or server.host,
        port=server.port if port is None else port,
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
    _Server(config, gateway).run()


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
            lines.append(f"  off {mark} {lab.name:<{width}}  {lab.why}")
            continue
        serving = (
            next((t.model for t in lab.tiers.get(tier, ()) if t.provider.on), "-") for tier in TIERS
        )
        tiers = ", ".join(f"{tier} {model}" for tier, model in zip(TIERS, serving, strict=True))
        lines.append(f"  on  {mark} {lab.name:<{width}}  {tiers}")
        if lab.about:
            lines.append(f"        {'':<{width}}  {lab.about}")
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
