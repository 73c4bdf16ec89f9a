"""No client gets what Redis should not have given: crossed replies and foreign values.

The rows R-01 to R-15 of `make chaos` play the loss of Redis.
"""

import pickle
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.child import until
from tests.e2e.redis_gateway import CANARY, RedisGateway, echo
from tests.e2e.redis_port import Place
from tests.e2e.upstream import Upstream
from tests.e2e.world import SECRET, Loop

_BACK = 30.0
"""Seconds until the cache answers again. The gateway asks every second or two; the rest is patience."""


@pytest.fixture(scope="module")
def place(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The port where the gateway looks for Redis."""
    place = Place(redis_server, tmp_path_factory.mktemp("redis"))
    yield place
    place.kill()


@pytest.fixture(scope="module")
def gateway(
    place: Place, loop: Loop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisGateway]:
    upstream = Upstream()
    loop.run(upstream.start())
    upstream.on("/", echo)
    url = f"redis://127.0.0.1:{place.port}/0"
    gateway = RedisGateway(tmp_path_factory.mktemp("redis") / "gateway", upstream.url, url)
    yield gateway
    gateway.stop()
    loop.run(upstream.stop())
    for secret in (CANARY, SECRET):
        assert secret not in gateway.child.err
        assert secret not in gateway.child.out


def commands(data: bytes) -> list[list[bytes]]:
    """Split whole commands of the Redis protocol into words."""
    words_by_command: list[list[bytes]] = []
    while data:
        count, data = data.split(b"\r\n", 1)
        words: list[bytes] = []
        for _ in range(int(count[1:])):
            length, data = data.split(b"\r\n", 1)
            words.append(data[: int(length[1:])])
            data = data[int(length[1:]) + 2 :]
        words_by_command.append(words)
    return words_by_command


def test_a_redis_reply_to_another_command_is_a_cache_miss(
    gateway: RedisGateway, place: Place
) -> None:
    """Replies have crossed on a connection: each is the value that anybody put last."""
    last = [b""]

    def answer_all(data: bytes) -> bytes:
        return b"".join(map(answer_one, commands(data)))

    def answer_one(words: list[bytes]) -> bytes:
        name, _, *values = words
        if name == b"SET":
            last[0] = values[0]
            return b"+OK\r\n"
        return b"$%d\r\n%b\r\n" % (len(last[0]), last[0])

    with place.instead(answer_all):
        for text in [gateway.known(_BACK), gateway.known()] * 10:
            assert gateway.ask(text) == "miss"
            until(lambda text=text: gateway.ask(text) == "hit", "it was the last")  # type: ignore[misc]


class FileTouchingPickle:
    """A pickle that creates a file when somebody reads it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._path,)


def is_replaced(gateway: RedisGateway, text: str, admin: Any, name: str, poison: bytes) -> bool:
    """True if another value stands under the name, by its first thousand bytes.

    A hit is no proof: until the answer is stored, equal requests share it. Each check asks again,
    because the Redis of a busy machine may miss the deadline of one store.
    """
    gateway.ask(text)
    return bool(admin.getrange(name, 0, 999) != poison[:1000])


def test_a_foreign_value_in_redis_is_a_cache_miss(
    gateway: RedisGateway, place: Place, tmp_path: Path
) -> None:
    """SEC-CACHE 4: the gateway replaces any foreign value with the right answer.

    The values are garbage, cut, sealed for another key, a pickle, or too long.
    """
    place.start_again()
    with place.admin() as admin:
        admin.flushall()
        text = gateway.known()
        (name,) = admin.keys("tiergate:cache:*")
        value = admin.get(name)
        gateway.known()
        (other,) = set(admin.keys("tiergate:cache:*")) - {name}
        poisons = {
            "empty": b"",
            "garbage": bytes(range(256)),
            "cut": value[:-1],
            "longer": value + b" ",
            "one bit": value[:-2] + bytes([value[-2] ^ 1]) + value[-1:],
            "another's": admin.get(other),
            "a pickle": pickle.dumps(FileTouchingPickle(tmp_path / "read")),
            "sealed pickle": value[:16] + pickle.dumps(FileTouchingPickle(tmp_path / "read")),
            "long": b"x" * 50_000_000,
        }
        for poison in poisons.values():
            admin.set(name, poison)
            assert gateway.ask(text) == "miss"
            until(partial(is_replaced, gateway, text, admin, name, poison), "it is stored")
            until(lambda: gateway.ask(text) == "hit", "a hit again")
        admin.delete(name)
        admin.lpush(name, "a list")
        assert gateway.ask(text) == "miss"
        until(lambda: gateway.ask(text) == "hit", "a hit again")
    assert not (tmp_path / "read").exists()
