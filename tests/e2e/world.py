"""A gateway before a scripted provider, both on real sockets, and its journal read from disk."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn
import uvloop

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow, IntentRow, Row
from gateway.ledger import journal
from gateway.pipeline.coalescer import UpstreamSubscriber
from gateway.pipeline.engine import Engine
from gateway.runtime.build import build_config
from gateway.runtime.composition import Gateway
from gateway.server.app import App
from gateway.server.http1.protocol import ClientConnection
from gateway.settings.loader import load
from gateway.upstream.connection_pools import Transports
from gateway.upstream.media_fetch import PUBLIC_GUARD, AddressGuard
from tests.e2e.upstream import PATIENCE, Request, Upstream
from tests.query_thread import QueryThread

type Config = dict[str, Any]
type Body = dict[str, Any]

SECRET = "sk-acme-0123456789-never-shown"
OTHER = "other-secret-never-shown"
PROMPT = "Say hello to me please."
"""The prompt of `chat`: a canary, as both secrets are."""
_MAY_HOLD_PROMPTS = frozenset({"content"})
"""Folders below the data folder that may hold prompts."""


class Loop:
    """An event loop in a thread of its own, as the gateway's runs in a process of its own."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end on that loop, from any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()


def config(url: str) -> Config:
    """Build lab acme with a spare host, and lab other, at one provider; all with prices."""

    def at(path: str, **more: Any) -> Config:
        return {
            "base_url": f"{url}/{path}",
            "dialects": {"openai-chat": "/chat/completions"},
            **more,
        }

    def price(low: float, high: float) -> Config:
        return {
            "price": {"input": low, "cache_read": low / 10, "output": high, "as_of": "2026-11-24"}
        }

    effort = {"style": "reasoning_effort", "accepts": ["none", "low", "high"], "default": "none"}
    return {
        "version": 1,
        "default": {"lab": "acme", "tier": "smart"},
        "aliases": {"gpt-4o": "auto"},
        "routing": {"classifier": "prior"},
        "cache": {"ttl": "0s"},
        "providers": {
            "acme": at("acme", accounts={"main": SECRET}),
            "spare": at("spare", auth="none"),
            "other": at("other", auth="x-api-key", accounts={"main": OTHER}),
        },
        "labs": {
            "acme": {
                "fast": [{"model": "swift-1"}],
                "smart": [{"model": "able-1"}],
                "reasoning": [{"model": "deep-1", "effort": "high"}],
            },
            "other": {"smart": [{"model": "else-1"}]},
        },
        "models": {
            "swift-1": price(0.1, 0.4),
            "able-1": price(1, 4),
            "deep-1": {**price(5, 20), "effort": effort, "sampling": "effort-none"},
            "else-1": price(2, 8),
        },
    }  # fmt: skip


def spared(value: Config) -> None:
    """Add a second target for the smart tier, at another host."""
    value["labs"]["acme"]["smart"].append({"model": "able-2", "provider": "spare"})


class World:
    """One running gateway with its provider."""

    def __init__(
        self,
        loop: Loop,
        folder: Path,
        upstream: Upstream,
        value: Config,
        environ: Mapping[str, str],
        transports: Transports | None = None,
        guard: AddressGuard = PUBLIC_GUARD,
        *,
        query_processes: bool = False,
    ) -> None:
        """Ledger queries run in threads, which start at once, or with `query_processes` as usual."""
        self.loop = loop
        self.upstream = upstream
        self.folder = folder
        self.log: list[dict[str, object]] = []
        self.waits: list[float] = []
        """Seconds that retries would have waited."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "gateway.yaml"
        file.write_bytes(jsonio.dumps(value))
        environ = {"TIERGATE_DATA": str(folder / "data"), **environ}
        built = build_config(load(file, environ), datetime.now(UTC))
        self._tasks: set[asyncio.Task[Any]] = set()
        loop.run(self._start(built, environ, transports, guard, query_processes=query_processes))
        self.client = httpx.Client(
            base_url=self.url,
            timeout=PATIENCE,
            trust_env=False,
            verify=False,  # noqa: S501 - plain HTTP, and certificates take long to read
        )

    async def _start(
        self,
        built: Any,
        environ: Mapping[str, str],
        transports: Transports | None,
        guard: AddressGuard,
        *,
        query_processes: bool,
    ) -> None:
        async def start_query_thread() -> QueryThread:
            return QueryThread(lambda: self.gateway.store)

        self.gateway = Gateway(
            built,
            environ,
            self._note,
            transports=transports,
            address_guard=guard,
            start_query_process=None if query_processes else start_query_thread,
        )
        upstream = self.gateway.engine._upstream
        upstream._sleep, upstream._jitter = self._wait, lambda: 1.0
        self.app = App(self.gateway)
        settings = uvicorn.Config(
            self.app, host="127.0.0.1", port=0, http=ClientConnection, lifespan="on",
            access_log=False, log_config=None, server_header=False, date_header=False,
            proxy_headers=False,
        )  # fmt: skip
        settings.load()
        self._server = uvicorn.Server(settings)
        self._server.lifespan = settings.lifespan_class(settings)
        await self._server.startup()
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def _note(self, event: str, **fields: object) -> None:
        self.log.append({"event": event, **fields})

    async def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    def ask(self, body: Body | bytes, **headers: str) -> httpx.Response:
        """Send a chat request; `x_tiergate_cache="off"` becomes that header."""
        return self.client.post(
            "/v1/chat/completions", content=_bytes(body), headers=_named(headers)
        )

    @contextmanager
    def leaving(self, body: Body, **headers: str) -> Iterator[socket.socket]:
        """Send a request as a client, and yield the connection for the test to use."""
        data = _bytes(body)
        lines = [f"{name}: {value}" for name, value in _named(headers).items()]
        head = [
            "POST /v1/chat/completions HTTP/1.1",
            "host: localhost",
            f"content-length: {len(data)}",
            *lines,
        ]
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode() + data)
            yield connection

    def release(self) -> None:
        """Let the provider's answer go on by one piece."""
        self.loop.run(self.upstream.release())

    def close(self) -> None:
        """Stop as after SIGTERM: everything that began is finished first."""
        if self._server.started:
            self.client.close()
            figures, _ = self.gateway.ledger_runtime.metrics.render()
            self.loop.run(self._stop())
            self._server.started = False
            self._silent(figures)

    def _silent(self, figures: bytes) -> None:
        """Check that a gateway leaves no key or prompt behind, and that its files are private."""
        data_by_name = {"log": repr(self.log).encode(), "metrics": figures}
        while True:
            try:
                data_by_name |= self._read_files()
                break
            except FileNotFoundError:
                pass  # SQLite moved its log into the file next to it: read all once more
        for name, data in data_by_name.items():
            for canary in (SECRET, OTHER, PROMPT):
                assert canary.encode() not in data, (name, canary)

    def _read_files(self) -> dict[str, bytes]:
        """Return the files that may hold no prompt, by name; check that others cannot read any."""
        data_by_name: dict[str, bytes] = {}
        folder = self.folder / "data"
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                assert path.stat().st_mode & 0o077 == 0, f"others may read {path.name}"
                if not set(path.relative_to(folder).parts) & _MAY_HOLD_PROMPTS:
                    data_by_name[path.name] = path.read_bytes()
        return data_by_name

    async def _stop(self) -> None:
        for listening in self._server.servers:
            listening.close()
        for connection in list(self._server.server_state.connections):
            connection.shutdown()
        tasks = list(self._server.server_state.tasks)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.lifespan.shutdown()

    def rows(self) -> list[Row]:
        """Stop the gateway, so that no row is to come, and read the journal from disk."""
        self.close()
        folder = self.folder / "data" / "ledger"
        rows = [row for path in journal.list_segments(folder) for row, _ in journal.read_rows(path)]
        return [row for row in rows if row is not None]

    def entries(self) -> list[FinalRow]:
        """Return the final rows."""
        return [row for row in self.rows() if isinstance(row, FinalRow)]

    def entry(self) -> FinalRow:
        """Return the one final row of the only call."""
        entries = self.entries()
        assert len(entries) == 1, entries
        intents = [row for row in self.rows() if isinstance(row, IntentRow)]
        assert {row.id for row in intents} <= {entries[0].id}
        assert len(intents) == entries[0].attempts
        return entries[0]


type Change = Callable[[Config], None]
type Make = Callable[..., World]


def chat(text: str = PROMPT, **more: Any) -> Body:
    """Build a request for the smart tier, not streamed by default."""
    return {"model": "smart", "messages": [{"role": "user", "content": text}], **more}


def subscribers(engine: Engine) -> list[UpstreamSubscriber]:
    """Return the calls that share an answer with others, or may."""
    accounts = list(engine._recorder._open_accounts.values())
    return [account.subscriber for account in accounts if account.subscriber is not None]


def left_after(request: Request, since: float) -> float:
    """Return the seconds from `since` (monotonic) until the provider saw the connection closed."""
    assert request.left.wait(PATIENCE), "the upstream connection was never closed"
    return request.left_at - since


def abort(connection: socket.socket) -> float:
    """Leave as a killed program does; return the time on the monotonic clock."""
    since = time.monotonic()
    connection.close()
    return since


def _bytes(body: Body | bytes) -> bytes:
    return body if isinstance(body, bytes) else jsonio.dumps(body)


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"content-type": "application/json", **named}
