"""A provider on loopback that answers by a script, sees everything, and bills by its own count.

Nothing here imports the gateway.
"""

import asyncio
import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson

type Pieces = tuple[bytes | None, ...]
"""Pieces that are written one by one; None waits for `Upstream.release`."""
type End = Literal["clean", "cut", "stall"]
"""After the pieces: end as HTTP ends, abort the connection, or stay silent until it is closed."""

PATIENCE = 20.0
"""Seconds after which a waiting test has failed."""


@dataclass(frozen=True)
class Answer:
    """One scripted answer. With status 0 nothing is sent: only the end happens."""

    pieces: Pieces = ()
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    end: End = "clean"
    length: int | None = None
    """Content-Length; None is chunked."""
    bill: tuple[int, int] | None = None
    """Input and output tokens that are billed once the answer begins."""
    delay: float = 0.0
    """Seconds until the first byte."""

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} Scripted", *(f"{k}: {v}" for k, v in self.headers)]
        how = (
            "transfer-encoding: chunked"
            if self.length is None
            else f"content-length: {self.length}"
        )
        return "\r\n".join([*lines, how, "", ""]).encode("latin-1")


class Request:
    """A request that arrived, and the fate of its connection."""

    def __init__(self, line: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        method, path, _ = line.split(b" ", 2)
        self.method, self.path = method.decode(), path.decode()
        self.headers = headers
        self.body = body
        self.left = threading.Event()
        """Set if the gateway closed the connection before the answer had ended."""
        self.left_at = 0.0
        """Seconds on the monotonic clock."""
        self.connection = 0
        """The number of its connection, from 1."""

    def header(self, name: str) -> str | None:
        values = [v for k, v in self.headers if k.lower() == name.encode()]
        assert len(values) < 2, f"{name} was sent twice"
        return values[0].decode("latin-1") if values else None

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


type Script = Answer | Callable[[Request], Answer]


def tokens(request: Request) -> int:
    """Count the prompt's tokens as this provider does: by words."""
    return sum(len(str(message.get("content")).split()) for message in request.json["messages"])


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """Build one stream frame in a provider's own spacing, with a member that no dialect knows."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    value = {"id": "up-1", "object": "chat.completion.chunk", "created": 1, "model": "served-1"}
    data = orjson.dumps({**value, "choices": [choice], "x_unknown": 1.5, **more})
    return b"data: " + data.replace(b'"x_unknown":1.5', b'"x_unknown": 1.50') + b"\n\n"


def usage(prompt: int, completion: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


ROLE = chunk({"role": "assistant", "content": ""})
DONE = b"data: [DONE]\n\n"
SSE = (("content-type", "text/event-stream"),)
WORDS = ("Hel", "lo ", "you.")


def whole(
    text: str = "".join(WORDS), *, counts: tuple[int, int] | None = (7, 3), finish: str = "stop"
) -> Answer:
    """Build a whole answer with a number that a re-encode changes; `counts` None omits usage."""
    value: dict[str, Any] = {
        "id": "up-1", "object": "chat.completion", "created": 1, "model": "served-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "x_unknown": 1.5,
    }  # fmt: skip
    if counts is not None:
        value["usage"] = usage(*counts)
    body = orjson.dumps(value).replace(b'"x_unknown":1.5', b'"x_unknown": 1.50')
    return Answer(pieces=(body,), length=len(body), bill=counts)


def frames(
    words: Iterable[str] = WORDS,
    *,
    counts: tuple[int, int] | None = (7, 3),
    finish: str | None = "stop",
    done: bool = True,
) -> tuple[bytes, ...]:
    """Return the frames of a streamed answer, from its role to its end."""
    out = [ROLE, *(chunk({"content": word}) for word in words)]
    if finish is not None:
        out.append(chunk({}, finish))
    if counts is not None:
        last = {"id": "up-1", "object": "chat.completion.chunk", "created": 1, "model": "served-1"}
        out.append(
            b"data: " + orjson.dumps({**last, "choices": [], "usage": usage(*counts)}) + b"\n\n"
        )
    if done:
        out.append(DONE)
    return tuple(out)


def stream(
    *pieces: bytes | None, end: End = "clean", bill: tuple[int, int] | None = None
) -> Answer:
    """Build a streamed answer, by default a complete one."""
    if not pieces:
        pieces, bill = frames(), (7, 3)
    return Answer(pieces=pieces, headers=SSE, end=end, bill=bill)


def failing(status: int, body: bytes | None = None, /, **headers: str) -> Answer:
    """Build an error answer: `retry_after="3"` becomes that header."""
    if body is None:
        body = orjson.dumps({"error": {"message": "No.", "type": "made_up", "code": None}})
    more = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    kind = (("content-type", "application/json"),)
    return Answer(pieces=(body,), status=status, headers=(*kind, *more), length=len(body))


SILENT = Answer(status=0, end="stall")
DROPPED = Answer(status=0, end="cut")
HTML = Answer(pieces=(b"<html>maintenance</html>",), headers=(("content-type", "text/html"),))


def answering(request: Request) -> Answer:
    """Answer as an honest provider: with as many words as the prompt has, and bill both."""
    count = tokens(request)
    words = [f"word{at} " for at in range(count)]
    if not request.json.get("stream"):
        return whole("".join(words), counts=(count, count))
    wants_usage = (request.json.get("stream_options") or {}).get("include_usage")
    stream_frames = frames(words, counts=(count, count) if wants_usage else None)
    return replace(stream(*stream_frames), bill=(count, count))


@dataclass
class Upstream:
    """The provider. `scripts` are its answers by path prefix: each once, and the last again."""

    scripts: dict[str, deque[Script]] = field(default_factory=lambda: defaultdict(deque))
    requests: list[Request] = field(default_factory=list)
    bills: list[tuple[int, int]] = field(default_factory=list)
    url: str = ""
    connections: int = 0
    open: int = 0
    """Connections that are open now."""

    def __post_init__(self) -> None:
        self._arrived: queue.Queue[Request] = queue.Queue()
        self._go = asyncio.Semaphore(0)
        self._tasks: set[asyncio.Task[None]] = set()

    def on(self, prefix: str, *scripts: Script) -> None:
        """Answer requests below a path with these, in order."""
        self.scripts[prefix] = deque(scripts)

    def arrived(self) -> Request:
        """Wait for the next request, and return it."""
        return self._arrived.get(timeout=PATIENCE)

    @property
    def called(self) -> list[str]:
        """The first parts of the paths that were asked, in order: the providers of a `World`."""
        return [request.path.split("/")[1] for request in self.requests]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"http://{host}:{port}"

    async def release(self) -> None:
        """Let the waiting answer go on by one piece."""
        self._go.release()

    def renew(self) -> None:
        """Forget all requests, scripts, and releases that no answer used."""
        self.requests.clear()
        self.scripts.clear()
        self._go = asyncio.Semaphore(0)

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        number, first = self.connections, b""
        try:
            while (request := await _read(reader, first)) is not None:
                request.connection = number
                self.requests.append(request)
                self._arrived.put(request)
                next_byte = await self._answer(request, reader, writer)
                if not next_byte:
                    return
                first = next_byte
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        """Answer; return the first byte of the next request, or nothing if there is none."""
        script = self._script(request.path)
        answer = script if isinstance(script, Answer) else script(request)
        answering = asyncio.ensure_future(self._write(answer, writer))
        next_byte = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({answering, next_byte}, return_when=asyncio.FIRST_COMPLETED)
            broken = answering.exception() if answering.done() else None
            if not answering.done() or isinstance(broken, ConnectionError | RuntimeError):
                request.left_at = time.monotonic()
                request.left.set()
                return b""
            await answering
            return b"" if answer.end == "cut" else await next_byte
        finally:
            for task in (answering, next_byte):
                task.cancel()
            await asyncio.gather(answering, next_byte, return_exceptions=True)

    def _script(self, path: str) -> Script:
        for prefix, scripts in self.scripts.items():
            if path.startswith(prefix) and scripts:
                return scripts.popleft() if len(scripts) > 1 else scripts[0]
        return answering

    async def _write(self, answer: Answer, writer: asyncio.StreamWriter) -> None:
        if answer.bill is not None:
            self.bills.append(answer.bill)
        if answer.delay:
            await asyncio.sleep(answer.delay)
        if answer.status:
            writer.write(answer.head())
        for piece in answer.pieces:
            if piece is None:
                await self._go.acquire()
                continue
            writer.write(
                piece if answer.length is not None else b"%x\r\n%b\r\n" % (len(piece), piece)
            )
            with suppress(ConnectionError):
                await writer.drain()
        if answer.end == "stall":
            await asyncio.Event().wait()
        if answer.status and answer.end == "clean" and answer.length is None:
            writer.write(b"0\r\n\r\n")
        with suppress(ConnectionError):
            await writer.drain()


async def _read(reader: asyncio.StreamReader, first: bytes) -> Request | None:
    try:
        head = first + await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    line, *lines = head[:-4].split(b"\r\n")
    headers = [(name, value.strip()) for name, _, value in (item.partition(b":") for item in lines)]
    length = next((int(value) for name, value in headers if name.lower() == b"content-length"), 0)
    return Request(line, headers, await reader.readexactly(length))
