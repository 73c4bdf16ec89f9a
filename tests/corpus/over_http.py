"""Law 3 over HTTP: official SDKs call a gateway on a socket, in front of a provider that replays.

One call at a time: the provider answers each request with the recording in progress.
"""

import asyncio
import json
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from gateway.dialects import DIALECTS
from tests.corpus import exceptions, law3, mutations, translated_requests
from tests.corpus.decoded_answers import Clients, shorten
from tests.corpus.gateway_relay import serve
from tests.corpus.oracle import CHAT, GEMINI, MESSAGES, RESPONSES, Row, read_meanings, read_usage
from tests.corpus.sdk_clients import KNOWS_GEMINI, SdkClients
from tests.corpus.sdk_oracle import make_oracle
from tests.corpus.verdict import Difference, Failure

_PATHS = {
    CHAT: "/v1/chat/completions",
    RESPONSES: "/v1/responses",
    MESSAGES: "/v1/messages",
    GEMINI: "/v1beta",
}
_START_SECONDS = 60


class ReplayProvider:
    """An ASGI app that answers every request with one recording."""

    def __init__(self) -> None:
        self.row: Row | None = None
        self.requests = 0
        """Number of requests that it got."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, in the pieces that were recorded."""
        if scope["type"] != "http" or self.row is None:
            return
        while (await receive()).get("more_body"):
            pass
        self.requests += 1
        kind = b"text/event-stream" if self.row.stream else b"application/json"
        headers = [(b"content-type", kind)]
        await send({"type": "http.response.start", "status": self.row.status, "headers": headers})
        for piece in self.row.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class RequestTransport(httpx2.BaseTransport):
    """A transport that sends another body, and names another model, than the SDK does."""

    def __init__(self) -> None:
        self._transport = httpx2.HTTPTransport()
        self.body, self.model = b"", ""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the body in place of the SDK's."""
        url = str(request.url).replace("/models/m:", f"/models/{self.model}:")
        headers = [
            (name, value)
            for name, value in request.headers.items()
            if name.lower() not in ("content-length", "transfer-encoding")
        ]
        return self._transport.handle_request(
            httpx2.Request(request.method, url, headers=headers, content=self.body)
        )

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


class HttpJudge:
    """Official SDKs at a gateway, and the provider behind it."""

    def __init__(self, url: str, provider: ReplayProvider) -> None:
        self._provider = provider
        self._transport = RequestTransport()
        self._clients = Clients(url, self._transport)
        self._direct = SdkClients()

    def close(self) -> None:
        """Close the connections to the gateway."""
        self._clients.close()

    def judge(self, row: Row, client: str) -> list[Difference] | None:
        """List how the client's answer differs from the provider's;

        None if the client cannot ask.
        """
        self._provider.row = row
        for least in (False, True):
            before = self._provider.requests
            self._set_request(row, client, least=least)
            differences = [*(self._judge_native(row) if client == row.dialect else self._judge_translated(row, client))]  # fmt: skip
            if self._provider.requests > before:
                return differences  # else the gateway refused the request itself
        return None

    def _judge_native(self, row: Row) -> Iterator[Difference]:
        """Compare what an SDK decodes behind the gateway with what it decodes from the recording."""
        direct = make_oracle(self._direct, row.dialect, row.body, stream=row.stream)
        behind_gateway = make_oracle(self._clients, row.dialect, row.body, stream=row.stream)
        for name in direct.keys() | behind_gateway.keys():
            if direct.get(name) != behind_gateway.get(name):
                text = f"{shorten(behind_gateway.get(name))}, not {shorten(direct.get(name))}"
                yield Difference(name, text)

    def _judge_translated(self, row: Row, client: str) -> Iterator[Difference]:
        what = f"SDK {'stream' if row.stream else 'whole'}"
        try:
            decoded = self._clients.hear(client, b"", stream=row.stream)
        except Exception as error:  # noqa: BLE001 - each exception of an SDK is a failure
            yield Difference("problem", f"{type(error).__name__} {str(error)[:200]}")
        else:
            if decoded is not None:
                yield from law3.compare(
                    what, read_meanings(row), read_usage(row), decoded, client, beyond=False
                )

    def _set_request(self, row: Row, client: str, *, least: bool) -> None:
        model = f"recorded-{row.dialect}"
        body, _ = translated_requests.make_client_request(row, DIALECTS[client], least=least)
        value = body.value if client == GEMINI else {**body.value, "model": model}
        self._transport.model = model
        self._transport.body = json.dumps(value).encode()


def judge_rows(
    rows: Iterable[Row], report: Callable[[Failure], None] | None = None
) -> tuple[int, int, list[Failure]]:
    """Judge answers for clients of each dialect over HTTP.

    Return how many calls were judged, how many a client could not ask for, and the failures.
    `report` gets each failure as soon as it is found.
    """
    judged, unasked, failures = 0, 0, list[Failure]()
    clients = [name for name in DIALECTS if name != GEMINI or KNOWS_GEMINI]
    with run_gateway() as judge:
        for row in filter(mutations.can_mutate, rows):
            for client in clients:
                differences = judge.judge(row, client)
                if differences is None:
                    unasked += 1
                    continue
                judged += 1
                failed = [
                    f"{difference.kind}: {difference.text}"
                    for difference in differences
                    if exceptions.find_rule(row, client, difference.kind) is None
                ]
                if failed:
                    failures.append(Failure(row.file, row.id, client, f"HTTP {'; '.join(failed)}"))
                    if report is not None:
                        report(failures[-1])
    return judged, unasked, failures


@contextmanager
def run_gateway() -> Iterator[HttpJudge]:
    """Run a gateway and its provider in a thread of their own."""
    provider, started, stop = ReplayProvider(), threading.Event(), threading.Event()
    urls: list[str] = []
    errors: list[BaseException] = []

    async def run(folder: Path) -> None:
        config = uvicorn.Config(provider, port=0, log_config=None, lifespan="off")
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        upstream = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        async with serve(folder, make_config(upstream)) as url:
            urls.append(url)
            started.set()
            while not stop.is_set():  # noqa: ASYNC110 - the event belongs to another thread
                await asyncio.sleep(0.05)
        await server.shutdown()

    def work() -> None:
        try:
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(run(Path(folder)))
        except BaseException as error:  # noqa: BLE001 - the waiting thread raises it again
            errors.append(error)
            started.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        started.wait(_START_SECONDS)
        if errors or not urls:
            raise RuntimeError("the gateway did not start") from next(iter(errors), None)
        judge = HttpJudge(urls[0], provider)
        try:
            yield judge
        finally:
            judge.close()
    finally:
        stop.set()
        thread.join()


def make_config(upstream: str) -> dict[str, Any]:
    """Return a configuration with a provider and a model for each dialect."""
    return {
        "version": 1,
        "default": {"lab": CHAT},
        "cache": {"ttl": "0s"},
        "providers": {
            name: {"auth": "none", "base_url": upstream, "dialects": {name: path}}
            for name, path in _PATHS.items()
        },
        "labs": {name: {"smart": [{"model": f"recorded-{name}"}]} for name in _PATHS},
    }
