"""Where Redis is: what REDIS_URL says of one server, of Sentinel, or of a Cluster.

    redis://[user:password@]host[:port][/db]       unix://[user:password@]/path[?db=1]
    redis+sentinel://[user:password@]host[:port],host[:port]/service[/db]
    redis+cluster://[user:password@]host[:port],host[:port]

`rediss` in place of `redis` is TLS. User and password are those of the servers that keep the data;
Sentinel's own are `?sentinel_username=` and `?sentinel_password=`.
"""

import re
import ssl
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

type Host = tuple[str, int]
type Kind = Literal["single", "sentinel", "cluster"]

_FORM = (
    "REDIS_URL is not a valid redis://, rediss:// or unix:// URL, nor one of "
    "redis+sentinel://host:port,host:port/service or redis+cluster://host:port,host:port"
)
_PARTS = re.compile(r"(?P<scheme>[A-Za-z+]+)://(?P<hosts>[^/?#]*)(?P<rest>.*)")
_KNOWN = frozenset(
    {
        "db", "sentinel_username", "sentinel_password", "ssl_ca_certs", "ssl_certfile",
        "ssl_keyfile", "ssl_password", "ssl_check_hostname", "ssl_cert_reqs",
        # What bounds time and connections is the gateway's own; so is the protocol.
        "timeout", "socket_timeout", "socket_connect_timeout", "socket_keepalive",
        "max_connections", "retry_on_timeout", "health_check_interval", "decode_responses",
        "protocol", "client_name",
    }
)  # fmt: skip
"""Options that may stand in a URL."""
_KINDS: dict[str, Kind] = {"": "single", "sentinel": "sentinel", "cluster": "cluster"}
_PORTS: dict[Kind, int] = {"single": 6379, "sentinel": 26379, "cluster": 6379}


class RedisAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A URL, read."""

    kind: Kind
    hosts: tuple[Host, ...] = ()
    """The server; the sentinels; some nodes of the Cluster."""
    path: str = ""
    """Of a Unix socket, in place of hosts."""
    service: str = ""
    """What Sentinel calls the primary."""
    db: int = 0
    username: str = ""
    password: str = ""
    guard: tuple[str, str] = ("", "")
    """Username and password of the sentinels."""
    tls: bool = False
    verify: bool = True
    """Check certificates; the operator alone says otherwise."""
    options: dict[str, str] = {}
    """What stands behind the question mark."""

    @property
    def where(self) -> str:
        """Its place, for notes; no secret is in it."""
        if self.path:
            return self.path
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{hosts}/{self.service}" if self.service else hosts


def read(url: str, *, verify: bool = True) -> RedisAddress:
    """Read a URL; `verify` is the setting `redis.verify`.

    Raises ValueError, which quotes nothing: any part may be one of a password.
    """
    try:
        address = msgspec.structs.replace(_read(url), verify=verify)
    except ValueError:
        raise ValueError(_FORM) from None
    if address.kind == "single" and len(address.hosts) > 1:
        message = "REDIS_URL names several servers: write redis+sentinel:// or redis+cluster://"
        raise ValueError(message)
    if not address.options.keys() <= _KNOWN:
        message = "REDIS_URL has an option that is not known"
        raise ValueError(message)
    if verify and address.options.get("ssl_cert_reqs", "required") != "required":
        message = (
            "REDIS_URL turns off the check of certificates by ssl_cert_reqs: name its authority "
            "in ssl_ca_certs, or set redis.verify to false"
        )
        raise ValueError(message)
    return address


def _read(url: str) -> RedisAddress:
    found = _PARTS.fullmatch(url)
    if found is None:
        raise ValueError
    parts = urlsplit(found["rest"])  # several hosts, some in brackets, are no authority to it
    scheme, _, form = found["scheme"].lower().partition("+")
    kind = _KINDS.get(form)
    if kind is None or scheme not in ("redis", "rediss", *(() if form else ("unix",))):
        raise ValueError
    user, _, hosts = found["hosts"].rpartition("@")
    name, _, password = user.partition(":")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    guard = (options.pop("sentinel_username", ""), options.pop("sentinel_password", ""))
    path = unquote(parts.path) if scheme == "unix" else ""
    steps = [] if path else [unquote(step) for step in parts.path.split("/") if step]
    service = steps.pop(0) if kind == "sentinel" and steps else ""
    step = steps.pop(0) if steps else "0"
    db = int(options.pop("db", "") or step)
    lacks = {"single": scheme == "unix" and not path, "sentinel": not service, "cluster": db != 0}
    if lacks[kind] or steps or db < 0:
        raise ValueError
    return RedisAddress(
        kind=kind,
        hosts=() if path else tuple(_host(each, _PORTS[kind]) for each in hosts.split(",")),
        path=path,
        service=service,
        db=db,
        username=unquote(name),
        password=unquote(password),
        guard=guard,
        tls=scheme == "rediss",
        options=options,
    )


def _host(text: str, port: int) -> Host:
    one = urlsplit(f"//{text}")
    return one.hostname or "localhost", one.port or port


def context(address: RedisAddress) -> ssl.SSLContext | None:
    """Make what secures a connection, by the URL's ssl_ options. Raises ValueError."""
    if not address.tls:
        return None
    said = address.options
    try:
        made = ssl.create_default_context(cafile=said.get("ssl_ca_certs"))
        if cert := said.get("ssl_certfile"):
            made.load_cert_chain(cert, said.get("ssl_keyfile"), said.get("ssl_password"))
    except OSError:
        message = "REDIS_URL names certificates that cannot be read"
        raise ValueError(message) from None
    made.check_hostname = address.verify and checks_name(address)
    if not address.verify:
        made.verify_mode = ssl.CERT_NONE
    return made


def checks_name(address: RedisAddress) -> bool:
    """True if a certificate must be for the name of its server, as the URL says."""
    text = address.options.get("ssl_check_hostname", "").lower()
    return text not in ("false", "no", "0", "f", "n")
