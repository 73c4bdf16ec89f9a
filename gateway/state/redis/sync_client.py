"""The Redis client of everybody: for what a command asks once, where nobody counts microseconds.

Calls go over connections of our own (link.py), since each command through this client costs as
much as a whole HTTP server. What looks at a server from outside has no such need.
"""

import socket
import ssl
from collections.abc import Callable
from typing import Any, Protocol

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.url import RedisAddress, checks_hostname

_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password")


Refused = exceptions.ResponseError
"""An answer that is an error."""


class SyncRedis(Protocol):
    """A server that is asked."""

    def execute_command(self, *words: str) -> Any:
        """What a command answers. Raises Refused."""
        ...


def query[T](
    address: RedisAddress, key: bytes, deadline: float, run_queries: Callable[[SyncRedis], T]
) -> T:
    """What the server that has a key answers to `run_queries`. Raises StoreUnavailable.

    Each step may take `deadline` seconds, and none is tried again.
    """
    clients: list[Any] = []
    try:
        return run_queries(_open_client(address, key, deadline, clients))
    except (exceptions.RedisError, exceptions.RedisClusterException, OSError, ValueError) as error:
        raise StoreUnavailable(_describe_error(error)) from None
    finally:
        for client in clients:
            client.close()


def _open_client(address: RedisAddress, key: bytes, deadline: float, clients: list[Any]) -> Redis:
    """A client of the server that has a key; what is to be closed is put into `clients`."""
    options: dict[str, Any] = {
        "username": address.username or None,
        "password": address.password or None,
        "socket_timeout": deadline,
        "socket_connect_timeout": deadline,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
        **_make_tls_options(address),
    }
    if address.kind == "cluster":
        nodes = [
            ClusterNode(host, port)  # type: ignore[no-untyped-call]
            for host, port in address.hosts
        ]
        cluster = RedisCluster(startup_nodes=nodes, **options)
        clients.append(cluster)
        node = cluster.get_node_from_key(key.decode())  # type: ignore[no-untyped-call]
        if node is None:
            raise exceptions.RedisClusterException("no node of it has the keys")
        return _keep_raw_info(cluster.get_redis_connection(node))
    options["db"] = address.db
    if address.kind == "sentinel":
        username, password = address.sentinel_login
        sentinel_options = {
            **options,
            "db": 0,
            "username": username or None,
            "password": password or None,
        }
        sentinels = Sentinel(  # type: ignore[no-untyped-call]
            list(address.hosts), sentinel_kwargs=sentinel_options, **options
        )
        clients.extend(sentinels.sentinels)
        client: Redis = sentinels.master_for(address.service)  # type: ignore[no-untyped-call]
    elif address.path:
        client = Redis(unix_socket_path=address.path, **options)
    else:
        host, port = address.hosts[0]
        client = Redis(host=host, port=port, **options)
    clients.append(client)
    return _keep_raw_info(client)


def _keep_raw_info(client: Redis) -> Redis:
    """A client that gives the answer to INFO as it came."""
    client.set_response_callback("INFO", lambda reply, **_: reply)
    return client


def _make_tls_options(address: RedisAddress) -> dict[str, Any]:
    if not address.tls:
        return {}
    options = address.options
    tls_options: dict[str, Any] = {name: options[name] for name in _TLS_OPTIONS if name in options}
    is_hostname_checked = address.verify and checks_hostname(address)
    required = "required" if address.verify else "none"
    return {
        "ssl": True,
        "ssl_check_hostname": is_hostname_checked,
        "ssl_cert_reqs": required,
        **tls_options,
    }


_ERROR_TEXTS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    ((exceptions.TimeoutError, TimeoutError), "no answer in time"),
    (
        (exceptions.AuthenticationError, exceptions.NoPermissionError),
        "it does not accept the credentials",
    ),
    (socket.gaierror, "its name is not known"),
    (ssl.SSLError, "no secure connection"),
    (exceptions.InvalidResponse, "what answers does not speak its protocol"),
    (exceptions.BusyLoadingError, "it is still loading its data"),
)


def _describe_error(error: Exception) -> str:
    """In words that quote nothing of the server or the URL."""
    causes = (error, error.__cause__ or error.__context__)
    for kind, text in _ERROR_TEXTS:
        if any(isinstance(cause, kind) for cause in causes):
            return text
    if isinstance(error, MasterNotFoundError) and " : " not in str(error):  # then some were away
        return "Sentinel does not know the service"
    if isinstance(error, exceptions.ResponseError):
        return f"it answers {str(error).partition(' ')[0][:20]}"
    return "no connection"
