"""Connect to a ClickHouse server by a URL, and create or upgrade the ledger's tables there.

No error shows the password.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import parse_qsl, unquote, urlsplit

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from gateway.ledger.clickhouse.schema import CLICKHOUSE_MIGRATIONS, VERSIONS_TABLE
from gateway.ledger.errors import StoreError

for _name in ("clickhouse_connect", "urllib3.connectionpool"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # they raise what they log

URL_FORM = "clickhouse://user:password@host:8443/database"
PASSWORD_VARIABLE = "CLICKHOUSE_PASSWORD"  # noqa: S105 - the name that ClickHouse's own client reads
_TLS_PORT, _PLAIN_PORT = 8443, 8123
_CONNECT_SECONDS = 10
_ANSWER_SECONDS = 300
"""Seconds that a question may take."""
_MAX_MESSAGE_CHARS = 300
_NOISE_PATTERN = re.compile(r"^.*?DB::Exception: |^\w+\(host=.*?\): | ?\(for url .*?\)")
"""The parts that the driver adds to the text of an error: the code, the address and the URL."""
_SETTINGS = {"cast_keep_nullable": 1}  # as in other databases


class ClickHouseAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a URL."""

    host: str
    port: int
    database: str
    user: str
    password: str
    secure: bool
    ca_cert: str | None = None
    """The path of the certificates that TLS trusts."""

    def __repr__(self) -> str:  # without the password
        return f"clickhouse://{self.user}@{self.host}:{self.port}/{self.database}"


def parse_url(url: str, environ: Mapping[str, str] = os.environ) -> ClickHouseAddress:
    """Parse clickhouse://user:password@host:port/database. Raises StoreError.

    Without a password in the URL, that of CLICKHOUSE_PASSWORD counts. The connection uses TLS, but
    for port 8123 and with `?secure=false`.
    """
    try:
        address = _split_url(url)
    except ValueError:
        address = None
    if address is None:
        message = (
            f"the ClickHouse URL cannot be read: it is written {URL_FORM}, with %40 for @ and %2F"
            " for / in a password; ?secure=false (no TLS) and ?ca_cert=PATH may follow"
        )
        raise StoreError(message)
    if not address.password:
        password = environ.get(PASSWORD_VARIABLE, "")
        address = msgspec.structs.replace(address, password=password)
    return address


def _split_url(url: str) -> ClickHouseAddress | None:
    """Return the parts of a URL; None if it has others. Raises ValueError."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    secure, ca_cert = options.pop("secure", None), options.pop("ca_cert", None)
    database = parts.path.removeprefix("/")
    # A wrongly encoded password would be taken for a host or a path, and be shown in errors.
    is_misread = "@" in database or "/" in database or parts.fragment
    if parts.scheme != "clickhouse" or not parts.hostname or is_misread or options:
        return None
    if secure not in (None, "true", "false"):
        return None
    is_secure = parts.port != _PLAIN_PORT if secure is None else secure == "true"
    return ClickHouseAddress(
        host=parts.hostname,
        port=parts.port or (_TLS_PORT if is_secure else _PLAIN_PORT),
        database=unquote(database) or "default",
        user=unquote(parts.username or "") or "default",
        password=unquote(parts.password or ""),
        secure=is_secure,
        ca_cert=ca_cert,
    )


def open_client(address: ClickHouseAddress, answer_seconds: int = _ANSWER_SECONDS) -> Client:
    """Connect to a server, which has some seconds for each answer. Raises StoreError."""
    with describe_errors(address):
        return clickhouse_connect.get_client(
            interface="https" if address.secure else "http",
            host=address.host,
            port=address.port,
            username=address.user,
            password=address.password,
            database=address.database,
            ca_cert=address.ca_cert,
            connect_timeout=_CONNECT_SECONDS,
            send_receive_timeout=answer_seconds,
            autogenerate_session_id=False,  # a session runs one query at a time
            client_name="tiergate",
            settings=_SETTINGS,
        )


@contextmanager
def describe_errors(address: ClickHouseAddress) -> Iterator[None]:
    """Turn errors of the driver into StoreError, in one line without the password."""
    try:
        yield
    except ClickHouseError as error:
        # Without its frames, which refer to the error, in a cycle.
        message = _describe_error(error.with_traceback(None), address)
        raise StoreError(f"ClickHouse at {address.host}:{address.port}: {message}") from None


def migrate(client: Client) -> None:
    """Create or upgrade the tables and views; several gateways may do it at once.

    Raises StoreError if a newer version of tiergate made them.
    """
    client.command(VERSIONS_TABLE)
    version = _read_version(client)
    _refuse_newer(version)
    for number, statements in enumerate(CLICKHOUSE_MIGRATIONS[version:], version + 1):
        for statement in statements:
            client.command(statement)
        client.command("INSERT INTO ledger (version) VALUES (%s)", parameters=[number])


def check_version(client: Client) -> None:
    """Raise StoreError unless the database has the tables of this version of tiergate."""
    if not client.command("EXISTS TABLE ledger"):
        raise StoreError(
            f"the database {client.database!r} has no ledger yet: a gateway whose configuration has"
            " it in ledger.sinks makes it"
        )
    version = _read_version(client)
    _refuse_newer(version)
    if version < len(CLICKHOUSE_MIGRATIONS):
        raise StoreError(
            f"an older version of tiergate made the ledger in {client.database!r}: a gateway of"
            " this version upgrades it"
        )


def _read_version(client: Client) -> int:
    return int(client.query("SELECT max(version) FROM ledger").result_rows[0][0])


def _refuse_newer(version: int) -> None:
    if version > len(CLICKHOUSE_MIGRATIONS):
        raise StoreError(
            f"a newer version of tiergate made the ledger there (schema {version}): update this one"
        )


def _describe_error(error: Exception, address: ClickHouseAddress) -> str:
    reason = getattr(error.__cause__, "reason", None) or error  # of urllib3: without its URL
    lines = str(reason).strip().splitlines() or [type(error).__name__]
    text = _NOISE_PATTERN.sub("", lines[0])
    if address.password:
        text = text.replace(address.password, "...")
    return text[:_MAX_MESSAGE_CHARS]
