"""What a command asks a Redis once, over the client of everybody, by real servers."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import exceptions
from redis.sentinel import MasterNotFoundError

from gateway.state.errors import StoreUnavailable
from gateway.state.redis import sync_client
from gateway.state.redis.sync_client import SyncRedis
from gateway.state.redis.url import parse_url
from tests.conftest import redis_program
from tests.e2e.place import Place
from tests.state.several import Nodes, Sentinels

KEY = b"tiergate:{default}:1:spent"


@pytest.fixture
def program() -> str:
    found = redis_program()
    if found is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    return found


@pytest.fixture
def place(program: str, tmp_path: Path) -> Iterator[Place]:
    made = Place(program, tmp_path)
    yield made
    made.kill()


def port(redis: SyncRedis) -> int:
    """Which server answers: INFO is as it came."""
    said: bytes = redis.execute_command("INFO", "server")
    (line,) = (line for line in said.splitlines() if line.startswith(b"tcp_port:"))
    return int(line.split(b":")[1])


def asked(url: str, deadline: float = 10.0) -> int:
    return sync_client.query(parse_url(url), KEY, deadline, port)


def why(url: str, deadline: float = 10.0) -> str:
    with pytest.raises(StoreUnavailable) as told:
        asked(url, deadline)
    return str(told.value)


def test_one_server_by_its_port_or_its_path(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    place.start("--unixsocket", str(path))
    assert asked(f"redis://127.0.0.1:{place.port}/3") == place.port
    assert asked(f"unix://{path}?db=1") == place.port


def test_the_primary_that_sentinels_know(program: str, tmp_path: Path) -> None:
    with Sentinels(program, tmp_path) as sentinels:
        assert asked(sentinels.url) == sentinels.primary.port
        assert why(sentinels.url.replace("/main", "/other")) == "Sentinel does not know the service"


def test_the_node_of_a_cluster_that_has_the_key(program: str, tmp_path: Path) -> None:
    with Nodes(program, tmp_path) as nodes:
        assert asked(nodes.url) == nodes.primary(KEY.decode()).port


def test_who_is_asked_for_a_password_or_cannot_speak(place: Place) -> None:
    """Nothing of the URL is quoted."""
    place.start("--requirepass", "hunter2")
    url = f"127.0.0.1:{place.port}"
    assert asked(f"redis://:hunter2@{url}") == place.port
    for secret in ("", ":hunter3@"):
        assert why(f"redis://{secret}{url}") == "it does not accept the credentials"
    place.kill()
    assert why(f"redis://:hunter2@{url}") == "no connection"


def test_how_a_connection_is_secured() -> None:
    """As the URL says, with its options and no others."""
    plain, any_name, strict = (
        sync_client._make_tls_options(parse_url(url))
        for url in (
            "redis://h",
            "rediss://h?ssl_check_hostname=no&protocol=2",
            "rediss://h?ssl_ca_certs=/ca.pem",
        )
    )
    checked = {"ssl": True, "ssl_cert_reqs": "required"}
    assert plain == {}
    assert any_name == {**checked, "ssl_check_hostname": False}
    assert strict == {**checked, "ssl_check_hostname": True, "ssl_ca_certs": "/ca.pem"}
    lax = sync_client._make_tls_options(parse_url("rediss://h?ssl_cert_reqs=none", verify=False))
    assert lax == {"ssl": True, "ssl_check_hostname": False, "ssl_cert_reqs": "none"}


def test_one_that_is_silent(place: Place) -> None:
    place.start()
    with place.stopped():
        assert why(f"redis://127.0.0.1:{place.port}", 0.1) == "no answer in time"


@pytest.mark.parametrize(
    ("error", "cause", "text"),
    [
        (exceptions.TimeoutError("Timeout reading from h:1"), None, "no answer in time"),
        (exceptions.ConnectionError("x"), socket.gaierror(), "its name is not known"),
        (exceptions.ConnectionError("x"), ssl.SSLError(), "no secure connection"),
        (exceptions.ConnectionError("x"), ConnectionRefusedError(), "no connection"),
        (exceptions.RedisClusterException("x"), None, "no connection"),
        (exceptions.InvalidResponse("x"), None, "what answers does not speak its protocol"),
        (exceptions.BusyLoadingError("x"), None, "it is still loading its data"),
        (exceptions.NoPermissionError("x"), None, "it does not accept the credentials"),
        (exceptions.ResponseError("MISCONF secret"), None, "it answers MISCONF"),
        (MasterNotFoundError("No master found for 'm' : Redis<h>"), None, "no connection"),
    ],
)
def test_why_in_words_that_quote_nothing(
    error: Exception, cause: Exception | None, text: str
) -> None:
    def fails(_: SyncRedis) -> None:
        raise error from cause

    with pytest.raises(StoreUnavailable) as told:
        sync_client.query(parse_url("redis://h"), KEY, 1.0, fails)
    assert str(told.value) == text
