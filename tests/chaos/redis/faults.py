"""Ways in which a gateway loses its Redis, or Redis refuses writes, and comes back."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.e2e.redis_port import Place

type Fault = Callable[[Place], AbstractContextManager[None]]
"""Does something to the place of a real server, and undoes it at the end of the block."""


@contextmanager
def killed(place: Place) -> Iterator[None]:
    place.kill()
    yield


def instead(answer: bytes, greeting: bytes = b"") -> Fault:
    return lambda place: place.instead(lambda _: answer, greeting)


def pinged(place: Place) -> AbstractContextManager[None]:
    """Put a proxy there that answers pings by itself, for a server that is dead."""
    return place.instead(lambda data: b"+PONG\r\n" if b"PING" in data.upper() else b"")


@contextmanager
def _changed(place: Place, name: str, fault: object, usual: object) -> Iterator[None]:
    with place.admin() as admin:
        admin.config_set(name, fault)
        admin.client_kill_filter(_type="normal", skipme=True)
        yield
        admin.config_set(name, usual)


@contextmanager
def full_of_clients(place: Place) -> Iterator[None]:
    """Let others take all the connections that Redis allows."""
    with _changed(place, "maxclients", 1, 1000):
        yield


@contextmanager
def with_a_password(place: Place) -> Iterator[None]:
    """Make Redis ask for a password that the gateway does not have."""
    with _changed(place, "requirepass", "another", ""):
        yield


_NO_ANSWER = "no answer in time"
_GARBAGE = "the server does not speak the Redis protocol"
_HTTP = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"
_DENIED = b"-DENIED Redis is running in protected mode because protected mode is enabled.\r\n"
FAULTS: dict[str, tuple[Fault, str]] = {
    "killed": (killed, "no connection"),
    "stopped": (Place.stopped, _NO_ANSWER),
    "mute": (instead(b""), _NO_ANSWER),
    "vanishing": (Place.vanishing, _NO_ANSWER),
    "HTTP": (instead(_HTTP), _GARBAGE),
    "random": (instead(b"\x8f\x00\r\n\xc1\xff\r\n"), _GARBAGE),
    "half": (instead(b"$100\r\nhalf of it"), _NO_ANSWER),
    "denied": (instead(b"", _DENIED), ""),  # its words may be lost with the connection
    "crowded": (full_of_clients, "no connection"),
    "NOAUTH": (with_a_password, "it does not accept the credentials"),
    "pings alone": (pinged, _NO_ANSWER),
}


@contextmanager
def full(place: Place) -> Iterator[None]:
    """Leave Redis no memory, and forbid it to evict."""
    with place.admin() as admin:
        admin.config_set("maxmemory-policy", "noeviction")
        admin.config_set("maxmemory", 1)
        yield
        admin.config_set("maxmemory", 0)


@contextmanager
def replica(place: Place) -> Iterator[None]:
    """Make Redis a replica of a server that does not exist."""
    with place.admin() as admin:
        admin.replicaof("127.0.0.1", "1")
        yield
        admin.replicaof("NO", "ONE")
