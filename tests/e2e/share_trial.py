"""The trial of shares: two gateways on one Redis, keys of mixed traffic, and their turns' tiers.

`python -m tests.e2e.share_trial TURNS [SEED]` is the long form, in which each turn has its own
text. It prints its findings.
"""

import asyncio
import hashlib
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from gateway.core import jsonio
from gateway.core.target import TIERS, Tier
from gateway.routing.classifier import heuristic
from gateway.routing.classifier.text_signals import TextScan
from gateway.routing.tier_share import MIN_TURNS
from gateway.runtime.build import build_config
from gateway.settings.loader import load
from tests.conftest import redis_program
from tests.e2e.budget_trial import TrialGateway
from tests.e2e.redis_port import Place
from tests.e2e.upstream import PATIENCE

MOST = {"reasoning": 0.10, "smart": 0.40}
CLOSE = 0.02
"""The largest distance of a share from its bound."""
KEYS = {
    name: f"tg-{hashlib.sha256(name.encode()).hexdigest()}" for name in ("hard", "mixed", "easy")
}
_OFTEN: dict[str, tuple[int, ...]] = {
    "hard": (1, 1, 3, 5),
    "mixed": (3, 3, 2, 2),
    "easy": (18, 1, 1, 0),
}
"""The weights of talk, questions, tasks and proofs among each key's turns."""
_ANSWER = jsonio.dumps(
    {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8},
    }
)  # fmt: skip
_CLIENTS = 8
"""Concurrent calls to each gateway."""


class ShareTrialResult(NamedTuple):
    """The tiers that the turns of one key went to."""

    key: str
    turns: int
    free: dict[Tier, float]
    """Shares of the tiers without bounds."""
    shares: dict[Tier, float]
    ids: int
    """The number of threshold snapshots that were seen meanwhile."""

    def wrong(self) -> Iterator[str]:
        """Yield shares over two points from their bound, or from all turns that were below it."""
        free, actual = self.free, self.shares
        reasoning = min(free["reasoning"], MOST["reasoning"])
        smart = min(free["smart"] + free["reasoning"] - actual["reasoning"], MOST["smart"])
        wants: dict[Tier, float] = {"reasoning": reasoning, "smart": smart}
        for tier, expected in wants.items():
            if abs(actual[tier] - expected) > CLOSE:
                yield f"{self.key}: {tier} has {actual[tier]:.3f} in place of {expected:.3f}"

    def __str__(self) -> str:
        shares = ", ".join(
            f"{tier} {self.shares[tier]:.3f} of {self.free[tier]:.3f}" for tier in TIERS
        )
        return f"{self.key:6} {self.turns} turns: {shares}; {self.ids} thresholds"


def text(key: str, chance: random.Random) -> str:
    """Return one turn of a key's traffic."""
    (kind,) = chance.choices(range(4), _OFTEN[key])
    number = chance.randint(2, 10**6)
    words = " ".join(chance.choices("the team has a long report on costs and plans of it".split(), k=chance.randint(0, 60)))  # noqa: SIM905  # fmt: skip
    return (
        chance.choice(("Hello", "Thanks a lot", "Good morning")) + f", {number}!",
        f"What is {number}? {words}",
        f"Write a {chance.choice(('letter', 'function in python', 'plan'))} for {number}. {words}",
        f"{chance.choice(('Prove', 'Derive', 'Show why'))} that {number} is prime, step by step. {words}",
    )[kind]


def free(config: Path, texts: Sequence[str]) -> dict[Tier, float]:
    """Return the shares of the tiers without any bounds."""
    classifier, features = (
        build_config(load(config, {}), datetime.now(UTC)).router.classifier,
        Counter[str](),
    )
    assert classifier is not None
    for text in texts:
        score = classifier.score(text, TextScan(text).signals())
        features[heuristic.choose_tier(score, classifier.thresholds)] += 1
    return {tier: features[tier] / len(texts) for tier in TIERS}


class ShareClient:
    """Connections to the gateways, with one call at a time on each."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self.ids: dict[str, set[str]] = {}

    async def tiers(self, key: str, texts: Sequence[str]) -> Counter[str]:
        """Send all texts, spread over the gateways, and count the tiers that they went to."""
        waiting, counts = list(reversed(texts)), Counter[str]()

        async def call(port: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while waiting:
                writer.write(_request("/v1/chat/completions", key, waiting.pop()))
                head, _ = await asyncio.wait_for(_answer(reader), PATIENCE)
                counts[head["x-tiergate-tier"]] += 1
            writer.close()

        await asyncio.gather(*(call(port) for port in self._ports for _ in range(_CLIENTS)))
        return counts

    async def ready(self, key: str) -> None:
        """Wait until every gateway has thresholds for the key."""
        for port in self._ports:
            end = time.monotonic() + PATIENCE
            while not (await self._id(port, key)).startswith("key-"):
                assert time.monotonic() < end, "no thresholds were made"

    async def _id(self, port: int, key: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_request("/v1/route", key, "Why?"))
        _, body = await asyncio.wait_for(_answer(reader), PATIENCE)
        writer.close()
        id: str = jsonio.loads(body)["thresholds"]["id"]
        self.ids.setdefault(key, set()).add(id)
        await asyncio.sleep(0.02)
        return id


def _request(path: str, key: str, content: str) -> bytes:
    data = jsonio.dumps({"model": "auto", "messages": [{"role": "user", "content": content}]})
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {KEYS[key]}\r\ncontent-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def _answer(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    fields = {
        name.lower(): value
        for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])
    }
    body = await reader.readexactly(int(fields["content-length"]))
    assert head.split(" ", 2)[1] == "200", body
    return fields, body


@asynccontextmanager
async def _provider() -> Any:
    """Serve a provider that answers yes."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                    % (len(_ANSWER), _ANSWER)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(connection, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def trial(
    folder: Path, keys: Sequence[str], turns: int, seed: str, *, pool: int, lost: str = ""
) -> list[ShareTrialResult]:
    """Send `turns` of each key after it has thresholds.

    They use each of `pool` texts equally often; with 0, every text is new. Redis is killed in the
    middle of the turns of the key `lost`.
    """
    program = redis_program()
    assert program is not None, "no server of the Redis protocol"
    place, gateways, results = (
        Place(program, folder),
        list[TrialGateway](),
        list[ShareTrialResult](),
    )
    async with _provider() as url:
        try:
            await asyncio.to_thread(place.start)
            config = _written(folder, url)
            for at in range(2):
                gateway = TrialGateway(
                    folder / f"gateway{at}", config, f"redis://127.0.0.1:{place.port}/0"
                )
                gateways.append(gateway)
                await asyncio.to_thread(gateway.start)
            client = ShareClient([gateway.port for gateway in gateways])
            for key in keys:
                before, after = _texts(key, seed, turns, pool)
                await client.tiers(key, before)
                await client.ready(key)
                counts = await client.tiers(key, after[: turns // 2])
                if key == lost:
                    place.kill()
                counts += await client.tiers(key, after[turns // 2 :])
                await client.ready(key)
                shares = {tier: counts[tier] / len(after) for tier in TIERS}
                results.append(
                    ShareTrialResult(
                        key, len(after), free(config, after), shares, len(client.ids[key])
                    )
                )
        finally:
            for gateway in gateways:
                gateway.close()
            place.kill()
    return results


def _texts(key: str, seed: str, turns: int, pool: int) -> tuple[list[str], list[str]]:
    """Return the turns to learn from, and the turns to measure."""
    chance = random.Random(f"{seed} {key}")
    if not pool:
        texts = [text(key, chance) for _ in range(MIN_TURNS + turns)]
        return texts[:MIN_TURNS], texts[MIN_TURNS:]
    earlier_texts = [text(key, chance) for _ in range(pool)]
    before, after = earlier_texts * (MIN_TURNS // pool), earlier_texts * (turns // pool)
    chance.shuffle(before)
    chance.shuffle(after)
    return before, after


def _written(folder: Path, provider: str) -> Path:
    value = {
        "version": 1,
        "keys": "keys.yaml",
        "default": {"lab": "acme"},
        "cache": {"ttl": "0s"},
        "routing": {"max_share": MOST},
        "providers": {
            "acme": {
                "base_url": provider,
                "dialects": {"openai-chat": "/chat/completions"},
                "auth": "none",
            }
        },
        "labs": {"acme": {tier: [{"model": "m"}] for tier in TIERS}},
    }
    hashed = {
        name: {"sha256": hashlib.sha256(key.encode()).hexdigest()} for name, key in KEYS.items()
    }
    (folder / "keys.yaml").write_bytes(jsonio.dumps(hashed))
    file = folder / "gateway.yaml"
    file.write_bytes(jsonio.dumps(value))
    return file


def main(turns: int, seed: str) -> int:
    """Run the long form and print it."""
    with tempfile.TemporaryDirectory() as folder:
        results = asyncio.run(trial(Path(folder), list(KEYS), turns, seed, pool=0))
    wrong = [line for result in results for line in result.wrong()]
    print("\n".join([*map(str, results), *wrong]))
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "1"))
