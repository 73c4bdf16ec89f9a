"""Shared fixtures of the contract tests: event loops, transports, certificates and PostgreSQL."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from gateway.upstream.http1 import Http1Transport
from gateway.upstream.http1.httpx_transport import create_httpx_transport
from tests.ledger.postgres import PostgresServer, server

type Make = Callable[..., httpx.AsyncBaseTransport]

_LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
_MAKERS: Mapping[str, Make] = {"http1": Http1Transport, "stock": create_httpx_transport}
_CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = {common}
[extensions]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
basicConstraints = critical, CA:{ca}
{more}
"""


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Start a real PostgreSQL server, once for the whole run."""
    with server() as running_server:
        yield running_server


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    """Run transport tests on both loops, because transports use the loop's own sockets and TLS."""
    is_of_both = item.path.name.startswith("test_transport")
    return _LOOPS if is_of_both and not item.get_closest_marker("jumping_clock") else None


@pytest.fixture(params=list(_MAKERS))
def kind(request: pytest.FixtureRequest) -> str:
    """Return the name of the transport under test."""
    name: str = request.param
    return name


@pytest.fixture
async def make(kind: str) -> AsyncIterator[Make]:
    """Return a function that makes transports; close them after the test."""
    transports: list[httpx.AsyncBaseTransport] = []

    def make(**options: Any) -> httpx.AsyncBaseTransport:
        transports.append(_MAKERS[kind](**options))
        return transports[-1]

    yield make
    for transport in transports:
        await transport.aclose()
    await asyncio.sleep(0)


_LIFE = ("-days", "2")
_PAST = ("-not_before", "20200101000000Z", "-not_after", "20200102000000Z")


class Certificates:
    """TLS contexts for servers, and for clients that trust the servers' authority."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for authority in ("ca", "other"):
            self._make(authority, "TRUE", "keyUsage = critical, keyCertSign, cRLSign")
        local_names = "subjectAltName = DNS:localhost, IP:127.0.0.1"
        self._make("good", "FALSE", local_names, "ca")
        self._make("elsewhere", "FALSE", "subjectAltName = DNS:other.example", "ca")
        self._make("unknown", "FALSE", local_names, "other")
        self._make("expired", "FALSE", local_names, "ca", _PAST)

    def server(self, name: str, *protocols: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._folder / "ca.pem")

    def _make(
        self, name: str, ca: str, more: str, by: str | None = None, life: Sequence[str] = _LIFE
    ) -> None:
        config = self._folder / f"{name}.cnf"
        config.write_text(_CONFIG.format(common=name, ca=ca, more=more))
        signed = ["-CA", f"{by}.pem", "-CAkey", f"{by}.key"] if by else []
        subprocess.run(
            ["openssl", "req", "-x509", *signed, "-newkey", "ec", "-nodes", *life,
             "-pkeyopt", "ec_paramgen_curve:prime256v1", "-config", config.name,
             "-extensions", "extensions", "-keyout", f"{name}.key", "-out", f"{name}.pem"],
            cwd=self._folder, check=True, capture_output=True,
        )  # fmt: skip


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make the certificates of this test run."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl: apt-get install openssl")
    return Certificates(tmp_path_factory.mktemp("certificates"))
