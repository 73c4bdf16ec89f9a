"""The address of Redis: REDIS_URL for one server, Sentinel, or a Cluster.

    redis://[user:password@]host[:port][/db]       unix://[user:password@]/path[?db=1]
    redis+sentinel://[user:password@]host[:port],host[:port]/service[/db]
    redis+cluster://[user:password@]host[:port],host[:port]

`rediss` in place of `redis` means TLS. User and password are those of the servers with the data.
Sentinel's own are `?sentinel_username=` and `?sentinel_password=`.
"""

import re
import ssl
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

type Host = tuple[str, int]
type Kind = Literal["single", "sentinel", "cluster"]

_INVALID_URL = (
    "REDIS_URL is not a valid redis://, rediss:// or unix:// URL, nor one of "
    "redis+sentinel://host:port,host:port/service or redis+cluster://host:port,host:port"
)
_URL_PATTERN = re.compile(r"(?P<scheme>[A-Za-z+]+)://(?P<hosts>[^/?#]*)(?P<rest>.*)")
_KNOWN_OPTIONS = frozenset(
    {
        "db", "sentinel_username", "sentinel_password", "ssl_ca_certs", "ssl_certfile",
        "ssl_keyfile", "ssl_password", "ssl_check_hostname", "ssl_cert_reqs",
        # The gateway accepts these, and uses its own limits and protocol.
        "timeout", "socket_timeout", "socket_connect_timeout", "socket_keepalive",
        "max_connections", "retry_on_timeout", "health_check_interval", "decode_responses",
        "protocol", "client_name",
    }
)  # fmt: skip
"""The options that a URL may have."""
_KINDS_BY_SUFFIX: dict[str, Kind] = {"": "single", "sentinel": "sentinel", "cluster": "cluster"}
_DEFAULT_PORTS: dict[Kind, int] = {"single": 6379, "sentinel": 26379, "cluster": 6379}


class RedisAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A URL, parsed."""

    kind: Kind
    hosts: tuple[Host, ...] = ()
    """The server; the sentinels; some nodes of the Cluster."""
    path: str = ""
    """The path of a Unix socket, in place of hosts."""
    service: str = ""
    """Sentinel's name for the primary."""
    db: int = 0
    username: str = ""
    password: str = ""
    sentinel_login: tuple[str, str] = ("", "")
    """The username and password of the sentinels."""
    tls: bool = False
    verify: bool = True
    """True to check certificates. Only the operator's configuration can turn it off."""
    options: dict[str, str] = {}
    """The options after the question mark."""

    @property
    def location(self) -> str:
        """The place of Redis in notes, without any secret."""
        if self.path:
            return self.path
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{hosts}/{self.service}" if self.service else hosts


def parse_url(url: str, *, verify: bool = True) -> RedisAddress:
    """Parse a URL; `verify` is the setting `redis.verify`.

    Raises ValueError, whose message quotes nothing: any part may belong to a password.
    """
    try:
        address = msgspec.structs.replace(_parse(url), verify=verify)
    except ValueError:
        raise ValueError(_INVALID_URL) from None
    if address.kind == "single" and len(address.hosts) > 1:
        message = "REDIS_URL names several servers: write redis+sentinel:// or redis+cluster://"
        raise ValueError(message)
    if not address.options.keys() <= _KNOWN_OPTIONS:
        message = "REDIS_URL has an option that is not known"
        raise ValueError(message)
    if verify and address.options.get("ssl_cert_reqs", "required") != "required":
        message = (
            "REDIS_URL turns off the check of certificates by ssl_cert_reqs: name its authority "
            "in ssl_ca_certs, or set redis.verify to false"
        )
        raise ValueError(message)
    return address


def _parse(url: str) -> RedisAddress:
    match = _URL_PATTERN.fullmatch(url)
    if match is None:
        raise ValueError
    parts = urlsplit(match["rest"])  # without the hosts: urlsplit cannot read several of them
    scheme, _, suffix = match["scheme"].lower().partition("+")
    kind = _KINDS_BY_SUFFIX.get(suffix)
    if kind is None or scheme not in ("redis", "rediss", *(() if suffix else ("unix",))):
        raise ValueError
    login, _, hosts = match["hosts"].rpartition("@")
    name, _, password = login.partition(":")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    sentinel_login = (options.pop("sentinel_username", ""), options.pop("sentinel_password", ""))
    path = unquote(parts.path) if scheme == "unix" else ""
    segments = [] if path else [unquote(segment) for segment in parts.path.split("/") if segment]
    service = segments.pop(0) if kind == "sentinel" and segments else ""
    segment = segments.pop(0) if segments else "0"
    db = int(options.pop("db", "") or segment)
    is_incomplete = {
        "single": scheme == "unix" and not path,
        "sentinel": not service,
        "cluster": db != 0,
    }
    if is_incomplete[kind] or segments or db < 0:
        raise ValueError
    return RedisAddress(
        kind=kind,
        hosts=()
        if path
        else tuple(_parse_host(host, _DEFAULT_PORTS[kind]) for host in hosts.split(",")),
        path=path,
        service=service,
        db=db,
        username=unquote(name),
        password=unquote(password),
        sentinel_login=sentinel_login,
        tls=scheme == "rediss",
        options=options,
    )


def _parse_host(text: str, port: int) -> Host:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "localhost", parts.port or port


def make_ssl_context(address: RedisAddress) -> ssl.SSLContext | None:
    """Make the TLS context by the URL's ssl_ options; None without TLS. Raises ValueError."""
    if not address.tls:
        return None
    options = address.options
    try:
        ssl_context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if cert := options.get("ssl_certfile"):
            ssl_context.load_cert_chain(
                cert, options.get("ssl_keyfile"), options.get("ssl_password")
            )
    except OSError:
        message = "REDIS_URL names certificates that cannot be read"
        raise ValueError(message) from None
    ssl_context.check_hostname = address.verify and checks_hostname(address)
    if not address.verify:
        ssl_context.verify_mode = ssl.CERT_NONE
    return ssl_context


def checks_hostname(address: RedisAddress) -> bool:
    """Return True if a certificate must match its server's name, by the URL."""
    text = address.options.get("ssl_check_hostname", "").lower()
    return text not in ("false", "no", "0", "f", "n")
