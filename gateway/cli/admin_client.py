"""Requests of commands to a running gateway."""

from typing import Any

import click

from gateway.cli.session import CommandSession
from gateway.core import jsonio

_LOOPBACK_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read in a configuration
_OK_STATUSES = (200, 201)


def make_base_url(session: CommandSession) -> str:
    """Return the base URL of the gateway, by the configuration."""
    server = session.source.config.server
    host = _LOOPBACK_ADDRESSES.get(server.host, server.host)
    return f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"


def fetch_json(session: CommandSession, url: str) -> Any:
    """Fetch a JSON object, with the admin key if it is set. Return None if nobody answers.

    Raises click.ClickException for another status than 200, and for any other body.
    """
    return send_json(session, url, "GET", None)


def send_json(session: CommandSession, url: str, method: str, body: object) -> Any:
    """Send a request with a JSON body, unless it is None, and return the answer as `fetch_json`."""
    from gateway.upstream.read_url import send_request  # noqa: PLC0415 - slow to import

    data = None if body is None else jsonio.dumps(body)
    secret = session.environ.get("TIERGATE_ADMIN_KEY", "").strip()
    response = send_request(method, url, secret, data)
    if response is None:
        return None
    status, answer_body = response
    try:
        answer = jsonio.loads(answer_body)
    except jsonio.JsonError:
        answer = None
    if not isinstance(answer, dict) or status not in _OK_STATUSES:
        error = answer.get("error") if isinstance(answer, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        base = "/".join(url.split("/")[:3])
        raise click.ClickException(
            message or (f"{base} is not a gateway: it answers {status}. Name another with --url.")
        )
    return answer
