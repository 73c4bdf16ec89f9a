"""Run recorded providers and a real gateway on loopback sockets, and clients that call it."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import uvicorn

from gateway.core.ledger_rows import FinalRow
from gateway.ledger import journal
from gateway.runtime.build import build_config
from gateway.runtime.composition import Gateway
from gateway.server.app import App
from gateway.settings.loader import load
from gateway.telemetry.log import ignore_event
from tests.corpus.exchanges import ChatExchange, Object

_AT_ONCE = 16
_CONFIG: Object = {
    "version": 1,
    "default": {"lab": "replay"},
    "cache": {"ttl": "0s"},
    # Recorded requests name files that this gateway's clients did not upload.
    "passthrough": {"foreign": "pass"},
    "providers": {"replay": {"auth": "none", "dialects": {"openai-chat": "/v1/chat/completions"}}},
    "labs": {"replay": {"smart": [{"model": "recorded"}]}},
}


@dataclass(frozen=True)
class ReplayRequest:
    """One call to make: an exchange, with options for the replay."""

    exchange: ChatExchange
    asks_usage: bool
    """True if the client asks for usage in the stream."""
    options: str = ""

    @property
    def body(self) -> bytes:
        """Return the recorded request with another model, and a `user` that picks the recording."""
        request = self.exchange.request or {"messages": [{"role": "user", "content": "hi"}]}
        body = {**request, "model": "recorded", "stream": self.exchange.stream}
        body["user"] = f"replay:{self.exchange.id}{self.options}"
        body.pop("stream_options", None)
        if self.exchange.stream and self.asks_usage:
            body["stream_options"] = {"include_usage": True}
        return json.dumps(body, ensure_ascii=False, separators=(", ", " : ")).encode()


@dataclass(frozen=True)
class RelayedAnswer:
    """A client's answer, the final row of the call, and the requests that the provider received."""

    request: ReplayRequest
    status: int
    body: bytes
    entry: FinalRow
    sent: list[bytes]

    @property
    def exchange(self) -> ChatExchange:
        return self.request.exchange


@contextlib.contextmanager
def _replay(corpus: Path, log: Path) -> Iterator[str]:
    """Run the recorded providers and yield their address; stop them at the end."""
    program = corpus / "replay.py"
    command = [sys.executable, str(program), str(corpus / "recorded"), "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            address = re.search(r"http://\S+", line)
            assert address, f"the replay did not start: {line!r}"
            yield address.group()
        finally:
            process.terminate()


@contextlib.asynccontextmanager
async def serve(folder: Path, config: Object) -> AsyncIterator[str]:
    """Run a gateway on a loopback socket, and yield its address."""
    file = folder / "gateway.yaml"
    file.write_text(json.dumps(config))
    environ = {"TIERGATE_DATA": str(folder)}
    gateway = Gateway(build_config(load(file, environ), datetime.now(UTC)), environ, ignore_event)
    gateway.engine._upstream._sleep = _at_once
    server_config = uvicorn.Config(
        App(gateway), port=0, http="httptools", log_config=None, access_log=False, lifespan="on"
    )
    server_config.load()
    server = uvicorn.Server(server_config)
    server.lifespan = server_config.lifespan_class(server_config)
    await server.startup()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        await server.shutdown()


async def _at_once(seconds: float) -> None:
    """Do not wait before a retry."""


async def _call(
    url: str, requests: list[ReplayRequest]
) -> list[tuple[ReplayRequest, int, str, bytes]]:
    turn = asyncio.Semaphore(_AT_ONCE)
    connector = aiohttp.TCPConnector(limit=_AT_ONCE)

    async def call(request: ReplayRequest) -> tuple[ReplayRequest, int, str, bytes]:
        async with turn, session.post(f"{url}/v1/chat/completions", data=request.body) as answer:
            return request, answer.status, answer.headers["x-request-id"], await answer.read()

    async with aiohttp.ClientSession(connector=connector) as session:
        return await asyncio.gather(*map(call, requests))


async def _relay(
    folder: Path, upstream: str, requests: list[ReplayRequest]
) -> list[tuple[ReplayRequest, int, str, bytes]]:
    _CONFIG["providers"]["replay"]["base_url"] = upstream
    async with serve(folder, _CONFIG) as url:
        return await _call(url, requests)


def relay(corpus: Path, folder: Path, requests: list[ReplayRequest]) -> list[RelayedAnswer]:
    """Make calls through a gateway, stop it, and read its ledger."""
    log = folder / "sent.jsonl"
    with _replay(corpus, log) as upstream:
        answers = asyncio.run(_relay(folder, upstream, requests))
    sent: dict[str, list[bytes]] = {}
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            body = json.loads(line)["body"]
            sent.setdefault(json.loads(body)["user"], []).append(body.encode())
    rows = [
        row
        for path in journal.list_segments(folder / "ledger")
        for row, _ in journal.read_rows(path)
    ]
    entries = {row.id: row for row in rows if isinstance(row, FinalRow)}
    assert len(entries) == len([row for row in rows if isinstance(row, FinalRow)]) == len(requests)
    return [
        RelayedAnswer(request, status, body, entries[call], sent[json.loads(request.body)["user"]])
        for request, status, call, body in answers
    ]
