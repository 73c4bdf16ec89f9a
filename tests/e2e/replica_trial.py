"""The trial of replicas: one gateway before four of them, each with a prefix cache of its own.

    python -m tests.e2e.replica_trial CONVERSATIONS

Conversations run in four rounds, some answers streamed: with all replicas, while one is killed
(SIGKILL), while it is out, and after its return. Then a gateway with `p2c` gets calls of their own
before a slow replica. It prints its findings.
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.free_port import find_free_port
from gateway.core import jsonio
from tests.e2e.child import Child, GatewayChild, until
from tests.e2e.upstream import PATIENCE

_ROOT = Path(__file__).parents[2]
NAMES = ("a", "b", "c", "d")
_VICTIM = "b"
_CLIENTS = 8
"""Calls at a time: so few that no replica is over its bound by chance."""
_SECONDS = 0.02
"""Seconds that a replica takes for an answer."""
_SLOWNESS = 4
"""How much longer the slow replica takes."""
_TURNS = 3
"""Turns of each conversation in the first round."""


class Replica:
    """A replica's process, which a kill ends and `start` begins again on the same port."""

    def __init__(self, folder: Path, name: str, seconds: float = _SECONDS) -> None:
        self.name, self.port = name, find_free_port()
        self._stem, self._seconds, self._starts = folder / f"replica-{name}", seconds, 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        self._starts += 1
        module = "tests.e2e.replica_server"
        self._child = Child(
            [sys.executable, "-m", module, self.name, str(self.port), str(self._seconds)],
            self._stem.with_name(f"{self._stem.name}-{self._starts}"),
            PYTHONPATH=str(_ROOT),
        )
        until(lambda: "ready" in self._child.out, f"{self.name} listens: {self._child.err}")

    def kill(self) -> None:
        """Send SIGKILL, and wait until the process is gone."""
        self._child.stop()

    async def counts(self) -> Counter[str]:
        """Return what it has counted since its last start."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /counts HTTP/1.1\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        counts = jsonio.loads(await reader.readexactly(length))
        writer.close()
        return Counter(counts)


@dataclass
class Chat:
    """A conversation, and who has answered each of its turns."""

    name: str
    messages: list[dict[str, str]] = field(default_factory=list)
    servers: list[str] = field(default_factory=list)

    async def take_turn(self, client: httpx.AsyncClient) -> str:
        """Ask once more; return what was wrong, or nothing."""
        text = f"Question {len(self.servers) + 1} of {self.name}."
        self.messages.append({"role": "user", "content": text})
        stream = len(self.name) % 2 == 0
        body = {"model": "smart", "messages": self.messages, "stream": stream}
        response = await client.post("/v1/chat/completions", content=jsonio.dumps(body))
        server = _read_server(response, stream=stream)
        self.servers.append(server)
        self.messages.append({"role": "assistant", "content": server})
        return "" if server in NAMES else f"{self.name}: {response.status_code} {response.text!r}"


def _read_server(response: httpx.Response, *, stream: bool) -> str:
    """Return the text of an answer: the replica's name. Return nothing if it has failed."""
    if response.status_code != 200:
        return ""
    if not stream:
        return str(response.json()["choices"][0]["message"]["content"])
    lines = [line[len("data: ") :] for line in response.text.splitlines() if line]
    if lines[-1:] != ["[DONE]"]:
        return ""
    frames = [jsonio.loads(line.encode()) for line in lines[:-1] if line.startswith("{")]
    deltas = [choice["delta"] for frame in frames for choice in frame.get("choices", ())]
    return "".join(delta.get("content") or "" for delta in deltas)


@dataclass
class ReplicaTrialResult:
    """What four replicas have counted, and what their clients have seen."""

    conversations: int
    calls: dict[str, int]
    """Calls of each replica in the first round."""
    most: dict[str, int]
    """The most calls at a time of each replica, until the kill."""
    later: int
    hits: int
    """Turns after the first of a conversation, and those whose last turn the replica had cached."""
    failed: list[str]
    own: int
    """Conversations whose home was killed."""
    moved: list[str]
    """Other conversations that another replica answered, at any time."""
    lost: list[str]
    """Conversations of the killed replica that did not return to it."""
    returned_after: float
    """Seconds from its restart to its next answer."""
    slow_calls: dict[str, int]
    """Calls of each replica by p2c; the first one is slow."""

    @property
    def imbalance(self) -> float:
        """The most calls of a replica, as a multiple of the mean."""
        return max(self.calls.values()) * len(self.calls) / sum(self.calls.values())

    @property
    def hit_rate(self) -> float:
        return self.hits / self.later

    @property
    def wrong(self) -> list[str]:
        """What should not be."""
        slow, *others = self.slow_calls.values()
        checks = {
            f"the load is uneven: {self.calls}": self.imbalance > 1.25,
            f"caches were missed: {self.hits} of {self.later}": self.hit_rate < 0.95,
            "no conversation had its home at the replica that was killed": not self.own,
            f"a slow replica got as much: {self.slow_calls}": slow * 2 > min(others),
        }
        findings = [text for text, is_wrong in checks.items() if is_wrong]
        return [*findings, *self.failed, *self.moved, *self.lost]

    def __str__(self) -> str:
        return (
            f"{self.conversations} conversations; calls {self.calls}, most at a time {self.most}: "
            f"max/mean {self.imbalance:.3f}; {self.hit_rate:.1%} of {self.later} later turns hit\n"
            f"{self.own} conversations of {_VICTIM} when it was killed, {len(self.failed)} failed "
            f"calls, {len(self.moved)} others moved, {len(self.lost)} did not return; "
            f"first answer {self.returned_after:.1f} s after the restart\n"
            f"p2c with a slow {NAMES[0]}: {self.slow_calls}"
        )


async def trial(folder: Path, conversations: int) -> ReplicaTrialResult:
    """Run all rounds, and return what came of them."""
    replicas = {name: Replica(folder, name) for name in NAMES}
    gateway = GatewayChild(_write_config(folder / "hash", replicas.values(), None))
    try:
        return await _run(folder, conversations, replicas, gateway)
    finally:
        gateway.stop()
        for replica in replicas.values():
            replica.kill()


async def _run(
    folder: Path, conversations: int, replicas: dict[str, Replica], gateway: GatewayChild
) -> ReplicaTrialResult:
    chats = [Chat(f"chat {number}") for number in range(conversations)]
    failed: list[str] = []
    async with _connect(gateway) as client:
        for _ in range(_TURNS):
            failed += await _take_turns(client, chats)
        counts = {name: await replica.counts() for name, replica in replicas.items()}
        homes = {chat.name: Counter(chat.servers).most_common(1)[0][0] for chat in chats}
        # The kill comes while all clients wait for answers.
        failed += await _take_turns(client, chats, between=replicas[_VICTIM].kill)
        failed += await _take_turns(client, chats)
        replicas[_VICTIM].start()
        restarted_at = time.monotonic()
        own_chats = [chat for chat in chats if homes[chat.name] == _VICTIM]
        while all(chat.servers[-1] != _VICTIM for chat in own_chats):
            failed += await _take_turns(client, own_chats[:4])
            assert time.monotonic() < restarted_at + PATIENCE, "it gets no call after its return"
        returned_after = time.monotonic() - restarted_at
        failed += await _take_turns(client, chats)
    own_names = {chat.name for chat in own_chats}
    moved = [
        f"{chat.name} moved: {chat.servers}"
        for chat in chats
        if chat.name not in own_names and len(set(chat.servers)) > 1
    ]
    lost = [
        f"{chat.name} did not return: {chat.servers}"
        for chat in own_chats
        if chat.servers[-1] != _VICTIM
    ]
    total = sum(counts.values(), Counter[str]())
    return ReplicaTrialResult(
        conversations=conversations,
        calls={name: item["calls"] for name, item in counts.items()},
        most={name: item["most"] for name, item in counts.items()},
        later=total["later"],
        hits=total["hits"],
        failed=failed,
        own=len(own_chats),
        moved=moved,
        lost=lost,
        returned_after=returned_after,
        slow_calls=await _draw_two(folder, conversations),
    )


async def _draw_two(folder: Path, calls: int) -> dict[str, int]:
    """Return the calls of four replicas by p2c, of which the first is slow."""
    replicas = [
        Replica(folder, f"p2c-{name}", _SECONDS * (_SLOWNESS if name == NAMES[0] else 1))
        for name in NAMES
    ]
    gateway = GatewayChild(_write_config(folder / "p2c", replicas, "p2c"))
    try:
        async with _connect(gateway) as client:
            await _take_turns(client, [Chat(f"call {number}") for number in range(calls)])
        return {replica.name: (await replica.counts())["calls"] for replica in replicas}
    finally:
        gateway.stop()
        for replica in replicas:
            replica.kill()


def _connect(gateway: GatewayChild) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=gateway.url, timeout=PATIENCE, trust_env=False)


async def _take_turns(
    client: httpx.AsyncClient, chats: Sequence[Chat], between: Any = None
) -> list[str]:
    """Let each conversation take a turn, a few at a time; return what was wrong.

    Call `between` once half of them have begun.
    """
    waiting, wrong = list(reversed(chats)), list[str]()

    async def work() -> None:
        nonlocal between
        while waiting:
            chat = waiting.pop()
            if between is not None and len(waiting) < len(chats) / 2:
                act, between = between, None
                await asyncio.to_thread(act)
            if problem := await chat.take_turn(client):
                wrong.append(problem)

    await asyncio.gather(*(work() for _ in range(_CLIENTS)))
    return wrong


def _write_config(folder: Path, replicas: Any, balance: str | None) -> Path:
    """Write the configuration of a gateway before replicas."""
    folder.mkdir()
    value: dict[str, Any] = {
        "version": 1,
        "default": {"lab": "vllm"},
        "cache": {"ttl": "0s"},
        "routing": {"complete": "hold"},
        "providers": {
            "vllm": {
                "replicas": [replica.url for replica in replicas],
                "dialects": {"openai-chat": "/chat/completions"},
                "auth": "none",
                **({} if balance is None else {"balance": balance}),
            }
        },
        "labs": {"vllm": {"smart": [{"model": "qwen"}]}},
        "models": {"qwen": {"context": 32768, "price": {"input": 0, "output": 0}}},
    }
    file = folder / "gateway.yaml"
    file.write_bytes(jsonio.dumps(value))
    return file


def main(conversations: int) -> int:
    """Run the long form and print it."""
    with tempfile.TemporaryDirectory(prefix="tiergate-replicas-") as folder:
        result = asyncio.run(trial(Path(folder), conversations))
    print("\n".join([str(result), *result.wrong]))
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
