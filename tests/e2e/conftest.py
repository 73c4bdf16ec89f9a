"""Fixtures of the end-to-end tests: gateways before scripted providers, stopped at the end."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import anthropic
import anyio
import openai
import pytest

from gateway.core import jsonio
from gateway.upstream.connection_pools import Transports
from gateway.upstream.media_fetch import PUBLIC_GUARD, AddressGuard
from tests.conftest import redis_program
from tests.e2e.redis_port import Place
from tests.e2e.service import Serve, Service
from tests.e2e.upstream import Upstream
from tests.e2e.world import Change, Config, Loop, Make, World, config

__all__ = ["loop", "make", "upstream", "world"]


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the seconds that the SDKs would wait between retries, so that they do not wait."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    for module in (openai._base_client, anthropic._base_client):
        monkeypatch.setattr(
            module, "time", SimpleNamespace(**{**vars(time), "sleep": waits.append})
        )
        monkeypatch.setattr(module, "anyio", SimpleNamespace(**{**vars(anyio), "sleep": sleep}))
    return waits


@pytest.fixture
def upstream(loop: Loop) -> Iterator[Upstream]:
    upstream = Upstream()
    loop.run(upstream.start())
    yield upstream
    loop.run(upstream.stop())


@pytest.fixture
def make(loop: Loop, upstream: Upstream, tmp_path: Path) -> Iterator[Make]:
    """Make gateways before the one provider.

    `make(*changes to the config, files=more files beside it, transports=..., guard=..., query_processes=...,
    **environment)`.
    """
    worlds: list[World] = []

    def make(
        *changes: Change,
        files: Mapping[str, object] | None = None,
        transports: Transports | None = None,
        guard: AddressGuard = PUBLIC_GUARD,
        query_processes: bool = False,
        **environ: str,
    ) -> World:
        value = config(upstream.url)
        for change in changes:
            change(value)
        folder = tmp_path / f"gateway-{len(worlds)}"
        for name, content in (files or {}).items():
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(jsonio.dumps(content))
        worlds.append(
            World(
                loop,
                folder,
                upstream,
                value,
                environ,
                transports,
                guard,
                query_processes=query_processes,
            )
        )
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(make: Make) -> World:
    return make()


@pytest.fixture
def serve(tmp_path: Path, upstream: Upstream) -> Iterator[Serve]:
    """Start gateways as processes: `serve(*words that run it, more={...}, **server settings)`."""
    services: list[Service] = []

    def serve(*before: str, more: Config | None = None, **server: object) -> Service:
        folder = tmp_path / f"service-{len(services)}"
        services.append(Service(folder, upstream, server, before, **(more or {})))
        return services[-1]

    yield serve
    for service in services:
        service.kill()


@pytest.fixture(scope="session")
def redis_server() -> str:
    """The program of a Redis server."""
    program = redis_program()
    if program is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    return program


@pytest.fixture
def place(redis_server: str, tmp_path: Path) -> Iterator[Place]:
    """Run a Redis of the test's own, which it may kill."""
    server = Place(redis_server, tmp_path)
    server.start()
    yield server
    server.kill()
