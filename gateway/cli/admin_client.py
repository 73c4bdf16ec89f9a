"""Requests of commands to a running gateway."""

from typing import Any

import click

from gateway.cli.session import CommandSession
from gateway.core import jsonio

_LOOPBACK_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read in a configuration
_HTTP_OK = 200


def make_base_url(session: CommandSession) -> str:
    """Return the base URL of the gateway, by the configuration."""
    server = session.source.config.server
    host = _LOOPBACK_ADDRESSES.get(server.host, server.host)
    return f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"


def fetch_json(session: CommandSession, url: str) -> Any:
    """Fetch a JSON object, with the admin key if it is set. Return None if nobody answers.

    Raises click.ClickException for another status than 200, and for any other body.
    """
    from gateway.upstream.read_url import read_url  # noqa: PLC0415 - slow to import

    response = read_url(url, session.environ.get("TIERGATE_ADMIN_KEY", "").strip())
    if response is None:
        return None
    status, body = response
    try:
        answer = jsonio.loads(body)
    except jsonio.JsonError:
        answer = None
    if not isinstance(answer, dict) or status != _HTTP_OK:
        error = answer.get("error") if isinstance(answer, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        base = "/".join(url.split("/")[:3])
        raise click.ClickException(
            message or (f"{base} is not a gateway: it answers {status}. Name another with --url.")
        )
    return answer
