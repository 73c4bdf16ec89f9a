"""A real gateway process before a provider of sessions, and connections to it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow
from tests.e2e.realtime.provider import RealtimeProvider, realtime_provider
from tests.e2e.service import Service

PROVIDER_SECRET = "sk-acme-0123456789-never-shown"
KEY = "tg-client-0123456789abcdef-never-shown"
PRICE = {
    "input": 4,
    "cache_read": 0.4,
    "output": 16,
    "audio": {"input": 32, "cache_read": 0.4, "output": 64},
    "image": {"input": 5},
    "as_of": "2026-11-24",
}
type StartGateway = Callable[..., Awaitable[Service]]


def sections(provider_url: str, **more: Any) -> dict[str, Any]:
    """Return a configuration with a provider of both forms."""
    value: dict[str, Any] = {
        "providers": {
            "acme": {
                "base_url": provider_url,
                "dialects": {"openai-responses": "/v1/responses"},
                "accounts": {"main": PROVIDER_SECRET},
                "realtime": {"openai": "/v1/realtime"},
                "names": ["gpt-realtime*", "gpt-4o-transcribe*", "unpriced-*"],
            },
            "goo": {
                "base_url": provider_url,
                "dialects": {"gemini": "/v1beta"},
                "auth": "x-goog-api-key",
                "accounts": {"main": PROVIDER_SECRET},
                "realtime": {"gemini": "/ws"},
                "names": ["gemini-*"],
            },
        },
        "labs": {
            "acme": {"smart": [{"model": "able-1"}]},
            "goo": {"smart": [{"model": "gem-1"}]},
        },
        "models": {
            "gpt-realtime": {"context": 32_000, "max_output": 4_096, "price": PRICE},
            "gemini-live": {"context": 32_000, "max_output": 4_096, "price": PRICE},
            "gpt-4o-transcribe": {
                "context": 16_000,
                "max_output": 2_000,
                "price": {**PRICE, "audio": {"input": 6}},
            },
        },
        "aliases": {"voice": "gpt-realtime"},
    }
    for name, section in more.items():
        value[name] = {**value.get(name, {}), **section} if isinstance(section, dict) else section
    return value


@pytest.fixture
async def provider() -> AsyncIterator[RealtimeProvider]:
    async with realtime_provider() as provider:
        yield provider


@pytest.fixture
async def start_gateway(provider: RealtimeProvider, tmp_path: Path) -> AsyncIterator[StartGateway]:
    """Start gateways; keyword arguments are sections of the configuration, or `data`."""
    services: list[Service] = []

    async def start(data: Path | None = None, **more: Any) -> Service:
        server = more.pop("server", {})
        place = tmp_path / f"gateway-{len(services)}"
        if more.pop("keyed", False):
            keys = tmp_path / "keys.yaml"
            digest = hashlib.sha256(KEY.encode()).hexdigest()
            keys.write_bytes(jsonio.dumps({"web": {"sha256": digest}}))
            more["keys"] = str(keys)
        upstream: Any = SimpleNamespace(url=provider.url)
        service = await asyncio.to_thread(
            lambda: Service(place, upstream, server, data=data, **sections(provider.url, **more))
        )
        services.append(service)
        return service

    yield start
    for service in services:
        service.kill()


def dial(
    service: Service, path: str = "/v1/realtime?model=gpt-realtime", **more: Any
) -> AbstractAsyncContextManager[ClientConnection]:
    """Connect a client."""
    more.setdefault("ping_interval", None)
    return connect(f"ws://127.0.0.1:{service.port}{path}", max_size=None, **more)


async def send(connection: ClientConnection, **event: Any) -> None:
    await connection.send(jsonio.dumps(event).decode())


async def receive(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        return jsonio.loads(await connection.recv(decode=False))  # type: ignore[no-any-return]


async def receive_until(connection: ClientConnection, type: str) -> dict[str, Any]:
    while (event := await receive(connection))["type"] != type:
        pass
    return event


async def wait_for_rows(service: Service, count: int) -> list[FinalRow]:
    """Return the final rows once there are so many."""
    async with asyncio.timeout(10):
        while len(rows := await asyncio.to_thread(service.entries)) < count:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.05)
    return rows
