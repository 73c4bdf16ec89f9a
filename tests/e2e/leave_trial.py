"""Clients leave at random moments: each call has one final row, and no provider goes on.

`python -m tests.e2e.leave_trial CALLS [SEED]` is the long form; it prints its findings.
"""

import asyncio
import random
import socket
import struct
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from gateway.core import jsonio
from gateway.core.call import Call
from gateway.core.ledger_rows import FinalRow, IntentRow
from gateway.pipeline.response import Response
from tests.e2e.child import until
from tests.e2e.upstream import (
    DROPPED,
    HTML,
    PATIENCE,
    ROLE,
    SILENT,
    Answer,
    Request,
    Upstream,
    chunk,
    failing,
    frames,
    stream,
    whole,
)
from tests.e2e.world import Config, Loop, World, chat, config

MOMENTS = ("head", "body", "sent", "asked", "later", "reading", "end")
"""Within the head or body of the request, right after it, when the provider has it, a while later,
within the answer, and after it."""
UNREAD = ("head", "body")
"""Moments that make no call, since the gateway never read the whole request."""
_CLIENTS = 8
_WORDS = tuple(f"word{at} " for at in range(8))
_HALF = Answer(pieces=(b'{"choices":[{"ind',), end="stall", length=99)


class Pace(asyncio.Semaphore):
    """Lets a piece of an answer go after a while."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(0)
        self._chance = chance

    async def acquire(self) -> Literal[True]:
        await asyncio.sleep(self._chance.uniform(0, 0.01))
        return True


class Paced(Upstream):
    """A provider that takes its time; some of its answers fail, and some never end."""

    def __init__(self, seed: str) -> None:
        super().__init__()
        self._chance = random.Random(seed)
        self._go = Pace(self._chance)
        self.ended: set[int] = set()
        """Requests, by identity, whose answer is no longer being written."""
        self._answered: dict[asyncio.StreamWriter, Request] = {}
        self.on("/", self._drawn)

    def _drawn(self, request: Request) -> Answer:
        streamed = bool(request.json.get("stream"))
        good = stream(*frames(_WORDS)) if streamed else whole()
        half = stream(ROLE, chunk({"content": "Hi"}), end="stall") if streamed else _HALF
        answers = [good] * 6 + [SILENT, half]
        if request.path.startswith("/acme"):  # another host takes over
            cut = stream(ROLE, end="cut") if streamed else HTML
            answers += [failing(500), cut, DROPPED]
        answer = self._chance.choice(answers)
        pieces = [piece for data in answer.pieces for piece in (None, data)]
        return replace(answer, pieces=(*pieces, None))

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        self._answered[writer] = request
        return await super()._answer(request, reader, writer)

    async def _write(self, answer: Answer, writer: asyncio.StreamWriter) -> None:
        try:
            await super()._write(answer, writer)
        except RuntimeError as error:  # uvloop raises this for a closed connection
            raise ConnectionResetError from error
        finally:
            self.ended.add(id(self._answered[writer]))


@dataclass(frozen=True)
class LeavingClient:
    """One client: its request, and when and how it leaves."""

    number: int
    moment: str
    streamed: bool
    rude: bool
    """True if it leaves with a reset: the kernel throws away all bytes that were not read yet."""
    share: float
    """The share of the request that it sends, or of the answer that it reads."""
    pause: float

    @property
    def marker(self) -> str:
        return f"c{self.number}"


@dataclass
class LeaveTrialResult:
    """The records of a trial."""

    clients: list[LeavingClient]
    served: dict[str, str]
    """The marker, by id, of each call whose key and body the gateway read."""
    entries: dict[str, list[FinalRow]] = field(default_factory=lambda: defaultdict(list))
    left: list[float] = field(default_factory=list)
    """Seconds from a client's leaving until its provider noticed."""
    wrong: list[str] = field(default_factory=list)
    """Disagreements, one a line."""


def drawn(count: int, seed: str) -> list[LeavingClient]:
    chance = random.Random(seed)
    return [
        LeavingClient(
            number,
            MOMENTS[number % len(MOMENTS)],
            chance.random() < 0.5,
            chance.random() < 0.5,
            chance.random(),
            chance.uniform(0, 0.1),
        )
        for number in range(count)
    ]


def trial(folder: Path, count: int, seed: str) -> LeaveTrialResult:
    """Let clients call and leave, and compare all their records."""
    loop, upstream = Loop(), Paced(seed)
    result = LeaveTrialResult(drawn(count, seed), {})
    try:
        loop.run(upstream.start())
        world = World(loop, folder, upstream, _spared(config(upstream.url)), {})
        try:
            _watched(world, result)
            with ThreadPoolExecutor(_CLIENTS) as pool:
                leaving = list(
                    pool.map(lambda client: _run(world, upstream, client), result.clients)
                )
            result.left = _let_go(upstream, dict(leaving), result)
            rows = world.rows()  # the gateway is stopped
        finally:
            world.close()
        _audit(result, world, rows)
    finally:
        loop.run(upstream.stop())
        loop.close()
    return result


def _spared(value: Config) -> Config:
    value["labs"]["acme"]["smart"].append({"model": "able-1", "provider": "spare"})
    return value


def _watched(world: World, result: LeaveTrialResult) -> None:
    """Record each call that reaches the engine: the gateway read its key and body."""
    engine = world.gateway.engine
    serve = engine.serve

    def noted(call: Call, *rest: Any) -> Coroutine[Any, Any, Response]:
        result.served[call.id] = call.options.tags[0]
        return serve(call, *rest)

    engine.serve = noted  # type: ignore[method-assign,assignment]  # records the calls that go in


def _run(world: World, upstream: Paced, client: LeavingClient) -> tuple[str, float]:
    """Send a request and leave at the client's moment; return the marker and the time."""
    body = jsonio.dumps(chat(client.marker, stream=client.streamed))
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nx-tiergate-tags: {client.marker}\r\n\r\n"
    ).encode()
    data = head + body
    if client.moment == "head":
        data = head[: int(client.share * (len(head) - 1))]
    elif client.moment == "body":
        data = head + body[: int(client.share * len(body))]
    with socket.create_connection(("127.0.0.1", world.port), PATIENCE) as connection:
        connection.sendall(data)
        if client.moment == "asked":
            _until(lambda: _has_arrived(upstream, client))
        elif client.moment == "later":
            time.sleep(client.pause)  # the client leaves later
        elif client.moment in ("reading", "end"):
            _read(connection, client)
        if client.rude:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        since = time.monotonic()
    return client.marker, since


def _has_arrived(upstream: Paced, client: LeavingClient) -> bool:
    return any(_marker(request) == client.marker for request in list(upstream.requests))


def _marker(request: Request) -> str:
    content: str = request.json["messages"][0]["content"]
    return content


def _read(connection: socket.socket, client: LeavingClient) -> None:
    """Read a share of an answer, or all of it; stop waiting for one that never ends."""
    connection.settimeout(0.5)
    received = b""
    try:
        while not _whole(received) and (
            client.moment == "end" or len(received) < client.share * 1500
        ):
            data = connection.recv(200)
            if not data:
                return
            received += data
    except TimeoutError:
        return


def _whole(received: bytes) -> bool:
    head, _, body = received.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")),
        None,
    )
    return length is not None and len(body) >= length


def _until(true: Callable[[], bool]) -> bool:
    with suppress(AssertionError):
        return until(true, "it holds")
    return False


def _let_go(upstream: Paced, leaving: dict[str, float], result: LeaveTrialResult) -> list[float]:
    """Return the seconds from each client's leaving until its unfinished provider saw it."""
    took = []
    for request in upstream.requests:
        if not _until(lambda r=request: r.left.is_set() or id(r) in upstream.ended):  # type: ignore[misc]  # each its own
            result.wrong.append(f"{_marker(request)}: its provider is still answering")
        elif request.left.is_set():
            took.append(request.left_at - leaving[_marker(request)])
    return took


def _audit(result: LeaveTrialResult, world: World, rows: Sequence[object]) -> None:
    wrong, intents = result.wrong, Counter[str]()
    for row in rows:
        if isinstance(row, FinalRow):
            result.entries[row.id].append(row)
        elif isinstance(row, IntentRow):
            intents[row.id] += 1
    for id in result.served.keys() | result.entries.keys() | intents.keys():
        marker, entries = result.served.get(id), result.entries.get(id, [])
        if marker is None or len(entries) != 1:
            wrong.append(f"{marker} {id}: {len(entries)} final rows")
        elif entries[0].attempts != intents[id]:
            wrong.append(f"{marker}: {entries[0].attempts} attempts, {intents[id]} intents")
    counts = Counter(map(_marker, world.upstream.requests))
    by_marker = {marker: id for id, marker in result.served.items()}
    if len(by_marker) < len(result.served):
        wrong.append("a client was served twice")
    for client in result.clients:
        id = by_marker.get(client.marker, "")
        if (client.moment in UNREAD) == bool(id) and client.moment != "sent":
            wrong.append(f"{client}: {'served' if id else 'not served'}")
        if counts[client.marker] > intents[id]:
            wrong.append(f"{client}: asked {counts[client.marker]} times, {intents[id]} intents")
    wrong += [f"the log has {row}" for row in world.log if row["event"] == "bug"]


def table(result: LeaveTrialResult) -> list[tuple[str, str]]:
    """Return the counts of the trial."""
    moments = Counter(item.moment for item in result.clients)
    served_ids = set(result.served.values())
    entries = [item for many in result.entries.values() for item in many]
    states = Counter((item.state, item.status) for item in entries)
    seconds = sorted(result.left) or [0.0]
    calls = {
        name: sum(item.marker in served_ids for item in result.clients if item.moment == name)
        for name in moments
    }
    return [
        *((f"left: {name}", f"{count:,}, of whom {calls[name]:,} had asked") for name, count in moments.items()),
        ("calls", f"{len(result.served):,}"),
        ("final rows", f"{len(entries):,}"),
        *((f"final rows, {state} {status}", f"{count:,}") for (state, status), count in sorted(states.items(), key=str)),
        ("providers let go before they had ended", f"{len(result.left):,}"),
        ("within", f"{seconds[len(seconds) // 2] * 1e3:.1f} ms (median), {seconds[-1] * 1e3:.1f} ms (longest)"),
    ]  # fmt: skip


def main(count: int, seed: str) -> int:
    """Let the given number of clients leave, and return the exit status."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tiergate-leave-") as folder:
        result = trial(Path(folder), count, seed)
    print(f"seed {seed}: {count} clients in {time.monotonic() - began:.0f} s")
    print("\n".join(f"{name:<44}{count}" for name, count in table(result)))
    print("\n".join([f"{len(result.wrong)} disagreements", *result.wrong]))
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *(sys.argv[2:3] or [f"{time.time_ns()}"])))
