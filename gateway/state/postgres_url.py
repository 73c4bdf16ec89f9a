"""Read the URL of a PostgreSQL database, and describe its errors; neither shows a password."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict

_URL_FORM = (
    "postgresql://user:password@host:5432/database, with %40 for @ and %2F for / in a password"
)


def parse(url: str) -> dict[str, Any]:
    """Return the connection options of a URL. Raises ValueError."""
    try:
        options = conninfo_to_dict(url)
    except psycopg.Error:  # its text may contain a part of the password
        options = {}
    # A wrongly encoded password would be taken for a host or a port, and be shown in errors.
    login = url.partition("?")[0].rpartition("@")[0]
    port = str(options.get("port") or "")
    if (
        not options
        or "@" in login
        or "/" in login.partition("://")[2]
        or re.search(r"[^\d,]", port)
    ):
        message = f"cannot be read: it is written {_URL_FORM}"
        raise ValueError(message)
    return options


def describe_error(error: psycopg.Error, options: Mapping[str, Any]) -> str:
    """Return the first line of an error without the password of the connection."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text, password = lines[0].strip(), str(options.get("password") or "")
    for secret in filter(None, (password, unquote(password))):
        text = text.replace(secret, "...")
    return text
