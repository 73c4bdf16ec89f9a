"""The servers of a URL: how each is found and secured, with real servers where they exist."""

import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.commands import encode_command
from gateway.state.redis.server_connection import describe_error
from gateway.state.redis.servers import RedisServers
from gateway.state.redis.url import parse_url
from tests.conftest import redis_program
from tests.contract.conftest import Certificates
from tests.e2e.redis_port import Place
from tests.state.redis_groups import Nodes, Sentinels
from tests.state.scripted import Scripted

KEY = b"tiergate:{default}:1:spent"


@pytest.fixture
def program() -> str:
    path = redis_program()
    if path is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    return path


@pytest.fixture
def place(program: str, tmp_path: Path) -> Iterator[Place]:
    server = Place(program, tmp_path)
    yield server
    server.kill()


async def answering_port(url: str, deadline: float = 10.0) -> int:
    """Return the port of the server that answers an INFO command."""
    servers = RedisServers(parse_url(url), deadline, deadline)
    try:
        reply = await servers.execute(KEY, encode_command(b"INFO", b"server"))
    finally:
        await servers.close()
    assert isinstance(reply, bytes)
    (line,) = (line for line in reply.splitlines() if line.startswith(b"tcp_port:"))
    return int(line.split(b":")[1])


async def why(url: str, deadline: float = 10.0) -> str:
    try:
        await answering_port(url, deadline)
    except Exception as error:  # noqa: BLE001 - whatever it is, in words
        return describe_error(error)
    raise AssertionError(url)


async def test_a_url_finds_one_server_by_its_port_or_path(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    place.start("--unixsocket", str(path))
    assert await answering_port(f"redis://127.0.0.1:{place.port}/3") == place.port
    assert await answering_port(f"unix://{path}?db=1") == place.port


async def test_a_url_of_sentinels_finds_the_primary(program: str, tmp_path: Path) -> None:
    with Sentinels(program, tmp_path) as sentinels:
        assert await answering_port(sentinels.url) == sentinels.primary.port
        assert (
            await why(sentinels.url.replace("/main", "/other"))
            == "Sentinel does not know the service"
        )


async def test_a_url_of_a_cluster_finds_the_node_of_the_key(program: str, tmp_path: Path) -> None:
    with Nodes(program, tmp_path, timeout=60_000) as nodes:
        assert await answering_port(nodes.url) == nodes.primary(KEY.decode()).port


async def test_a_wrong_password_and_a_dead_server_have_their_own_errors(place: Place) -> None:
    """No error quotes the URL."""
    place.start("--requirepass", "hunter2")
    url = f"127.0.0.1:{place.port}"
    assert await answering_port(f"redis://:hunter2@{url}") == place.port
    for secret in ("", ":hunter3@"):
        assert await why(f"redis://{secret}{url}") == "it does not accept the credentials"
    place.kill()
    assert await why(f"redis://:hunter2@{url}") == "no connection"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make certificates in a folder."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl: apt-get install openssl")
    certificates_folder = tmp_path_factory.mktemp("certificates")
    Certificates(certificates_folder)
    return certificates_folder


@pytest.mark.parametrize(
    ("name", "host", "options", "verify", "text"),
    [
        ("good", "localhost", "?ssl_ca_certs={}/ca.pem", True, ""),
        ("good", "127.0.0.1", "?ssl_ca_certs={}/ca.pem", True, ""),
        ("good", "localhost", "", True, "no secure connection"),
        ("good", "localhost", "?ssl_ca_certs={}/other.pem", True, "no secure connection"),
        ("elsewhere", "localhost", "?ssl_ca_certs={}/ca.pem", True, "no secure connection"),
        ("elsewhere", "localhost", "?ssl_ca_certs={}/ca.pem&ssl_check_hostname=no", True, ""),
        ("unknown", "localhost", "?ssl_ca_certs={}/ca.pem&ssl_check_hostname=no", True, "no secure connection"),
        ("unknown", "localhost", "", False, ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["rediss", "rediss+sentinel", "rediss+cluster"])
async def test_the_url_decides_which_certificates_are_trusted(
    folder: Path, scheme: str, name: str, host: str, options: str, verify: bool, text: str
) -> None:
    """The URL decides: with `ssl_ca_certs`, the machine's own authorities are not trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    server = Secured(host)
    await server.up(context)
    path = "/main" if scheme.endswith("sentinel") else ""
    url = f"{scheme}://:hunter2@{host}:{server.port}{path}{options.format(folder)}"
    servers = RedisServers(parse_url(url, verify=verify), 10.0, 10.0)
    if text:
        with pytest.raises(Exception) as refused:
            await servers.execute(KEY, encode_command(b"GET", KEY))
        assert describe_error(refused.value) == text
        assert server.commands == []
    else:
        assert await servers.execute(KEY, encode_command(b"GET", KEY)) == b"value"
        assert server.commands[0] == (b"SENTINEL" if path else b"AUTH")
    await servers.close()
    await server.down()


class Secured(Scripted):
    """A server, a sentinel and a whole Cluster in one."""

    def __init__(self, host: str) -> None:
        super().__init__(self._say)
        self._host = host.encode()

    async def _say(self, words: list[bytes]) -> bytes:
        port = self.port
        host = b"$%d\r\n%b\r\n" % (len(self._host), self._host)
        return {
            b"SENTINEL": b"*2\r\n%b$%d\r\n%d\r\n" % (host, len(str(port)), port),
            b"CLUSTER": b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n%b:%d\r\n" % (host, port),
            b"ROLE": b"*1\r\n$6\r\nmaster\r\n",
            b"GET": b"$5\r\nvalue\r\n",
        }.get(words[0], b"+OK\r\n")


async def test_a_demoted_primary_that_a_sentinel_names_is_not_used() -> None:
    class Demoted(Secured):
        async def _say(self, words: list[bytes]) -> bytes:
            return b"*1\r\n$5\r\nslave\r\n" if words[0] == b"ROLE" else await super()._say(words)

    server = Demoted("127.0.0.1")
    await server.up()
    servers = RedisServers(parse_url(f"redis+sentinel://127.0.0.1:{server.port}/main"), 10.0, 10.0)
    with pytest.raises(StoreUnavailable, match=r"^it is no primary any more$"):
        await servers.execute(KEY, encode_command(b"GET", KEY))
    await servers.close()
    await server.down()


async def test_one_sentinel_or_node_that_answers_is_enough() -> None:
    """Others may be away or no such servers; if none answers, the error is the most telling one."""
    server, stranger = Secured("127.0.0.1"), Scripted(_refuse)
    await server.up()
    await stranger.up()
    hosts = f"127.0.0.1:1,127.0.0.1:{stranger.port}"
    for scheme, path in (("redis+sentinel", "/main"), ("redis+cluster", "")):
        url = f"{scheme}://{hosts},127.0.0.1:{server.port}{path}"
        servers = RedisServers(parse_url(url), 10.0, 10.0)
        assert await servers.execute(KEY, encode_command(b"GET", KEY)) == b"value"
        await servers.close()
        servers = RedisServers(parse_url(f"{scheme}://{hosts}{path}"), 10.0, 10.0)
        with pytest.raises(StoreUnavailable, match=r"^it answers WRONG$"):
            await servers.execute(KEY, encode_command(b"GET", KEY))
        await servers.close()
    await server.down()
    await stranger.down()


async def _refuse(_: list[bytes]) -> bytes:
    return b"-WRONG place\r\n"


async def test_a_circle_of_redirections_ends_with_an_error() -> None:
    class Circle(Secured):
        async def _say(self, words: list[bytes]) -> bytes:
            if words[0] == b"GET":
                return b"-MOVED 1 127.0.0.1:%d\r\n" % self.port
            return await super()._say(words)

    server = Circle("127.0.0.1")
    await server.up()
    servers = RedisServers(parse_url(f"redis+cluster://127.0.0.1:{server.port}"), 10.0, 10.0)
    with pytest.raises(StoreUnavailable, match="send calls to one another"):
        await servers.execute(KEY, encode_command(b"GET", KEY))
    assert server.commands.count(b"GET") == 6
    await servers.close()
    await server.down()


async def test_a_silent_server_ends_with_a_timeout(place: Place) -> None:
    place.start()
    with place.stopped():
        assert await why(f"redis://127.0.0.1:{place.port}", 0.1) == "no answer in time"
