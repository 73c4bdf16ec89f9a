"""A gateway that runs, as commands ask it."""

from typing import Any

import click

from gateway.cli.session import CommandSession
from gateway.core import jsonio
from gateway.upstream.client import read_url

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read in a configuration
_OK = 200


def address(session: CommandSession) -> str:
    """Where it answers, by the configuration."""
    server = session.source.config.server
    host = _EVERYWHERE.get(server.host, server.host)
    return f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"


def read(session: CommandSession, url: str) -> Any:
    """What it says as JSON, with the admin key where that is set; None where nobody answers.

    Raises click.ClickException where it says something else.
    """
    found = read_url(url, session.environ.get("TIERGATE_ADMIN_KEY", "").strip())
    if found is None:
        return None
    status, data = found
    try:
        told = jsonio.loads(data)
    except jsonio.JsonError:
        told = None
    if not isinstance(told, dict) or status != _OK:
        error = told.get("error") if isinstance(told, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        base = "/".join(url.split("/")[:3])
        raise click.ClickException(message or f"{base} is no gateway: it answers {status}.")
    return told
