"""A lost Redis costs one request at most 100 ms, later requests nothing, and returns without a restart.

The gateway, Redis and its stand-ins are processes and sockets as they are in production. No test
judges how fast the machine is: a request that waits for Redis takes a whole deadline, so the tests
count such requests. A busy machine slows a few; a gateway that goes on waiting slows them all.
TIERGATE_CHAOS=1 makes each number ten times as large.
"""

import os
import pickle
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.child import until
from tests.e2e.redis_faults import FAULTS, Fault, full, replica
from tests.e2e.redis_gateway import CANARY, RedisGateway, TimedReply, echo
from tests.e2e.redis_port import Place
from tests.e2e.upstream import Upstream
from tests.e2e.world import SECRET, Loop
from tests.pace import tried, within

_TIMES = 10 if "TIERGATE_CHAOS" in os.environ else 1
_DEADLINE = 0.1
"""Seconds that the first request may wait."""
_BACK = 30.0
"""Seconds until the cache answers again. The gateway asks every second or two; the rest is patience."""
_GROWTH = 16_000_000
"""Bytes of memory that a process may still take once, while it warms up."""
_PASSWORD = "canary-in-a-url"
_SILENT = "no answer in time"


@pytest.fixture(scope="module")
def provider(loop: Loop) -> Iterator[Upstream]:
    upstream = Upstream()
    loop.run(upstream.start())
    upstream.on("/", echo)
    yield upstream
    loop.run(upstream.stop())


class Pair:
    """A gateway and the place of its Redis."""

    def __init__(self, program: str, folder: Path, upstream: str, form: str) -> None:
        self.place = Place(program, folder)
        self.gateway = RedisGateway(folder / "gateway", upstream, form.format(port=self.place.port))

    def stop(self) -> None:
        self.gateway.stop()
        self.place.kill()
        for secret in (CANARY, SECRET, _PASSWORD):
            assert secret not in self.gateway.child.err
            assert secret not in self.gateway.child.out


_FORMS = {
    "plain": "redis://127.0.0.1:{port}/0",
    "secret": f"redis://:{_PASSWORD}@127.0.0.1:{{port}}/0",
    "tls": f"rediss://:{_PASSWORD}@127.0.0.1:{{port}}/0",
}

type Paired = Callable[[str], AbstractContextManager[Pair]]


@pytest.fixture(scope="module")
def paired(
    redis_server: str, provider: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Paired:
    """Return a function that starts a gateway whose Redis URL, of one form, leads nowhere yet."""

    @contextmanager
    def make(name: str) -> Iterator[Pair]:
        new_pair = Pair(redis_server, tmp_path_factory.mktemp(name), provider.url, _FORMS[name])
        try:
            yield new_pair
        finally:
            new_pair.stop()

    return make


@pytest.fixture(scope="module")
def pair(paired: Paired) -> Iterator[Pair]:
    """A gateway whose Redis needs no password."""
    with paired("plain") as new_pair:
        yield new_pair


def is_mostly_fast(seconds: list[float]) -> bool:
    """True if fewer than half of the requests took as long as the deadline of Redis."""
    return sum(each >= _DEADLINE for each in seconds) < len(seconds) / 2


def test_the_gateway_starts_without_redis_and_finds_it_later(paired: Paired) -> None:
    with paired("plain") as pair:
        gateway = pair.gateway
        lost = gateway.misses(40 * _TIMES)
        pair.place.start()
        gateway.known(_BACK)
        place = f"127.0.0.1:{pair.place.port}"
        assert gateway.notes() == [
            f"redis is gone: no connection ({place})",
            f"redis is back ({place})",
        ]
    assert is_mostly_fast(lost)


def wait_for_puts(pair: Pair) -> None:
    """Return once the gateway puts nothing any more: else a put may learn of a loss first.

    A hit is no proof: before an answer is stored, equal requests share it.
    """
    pair.gateway.known()
    with pair.place.admin() as admin:
        stored, before = admin.dbsize(), None
        while stored != before:
            time.sleep(0.03)  # a real Redis: puts are on their way
            stored, before = admin.dbsize(), stored


@pytest.mark.parametrize("name", FAULTS)
def test_losing_redis_costs_one_deadline_and_it_comes_back(pair: Pair, name: str) -> None:
    """The log has one line for the loss and one for the return, and nothing grows meanwhile."""
    fault, why = FAULTS[name]
    gateway, place = pair.gateway, pair.place

    def trial() -> None:
        place.start_again()
        gateway.known()
        wait_for_puts(pair)
        line_count = len(gateway.notes())
        with fault(place):
            first, *later = gateway.misses(50 * _TIMES)
            sockets, resident = gateway.child.sockets, gateway.child.resident
            later += gateway.misses(50 * _TIMES)
            until(lambda: gateway.child.sockets <= sockets + 2, "no connection is left behind")
            assert gateway.child.resident <= resident + _GROWTH
            until(
                lambda: gateway.notes()[line_count:], "told"
            )  # a quick machine asks all in one deadline
        place.start_again()
        gateway.known(_BACK)
        where = f"(127.0.0.1:{place.port})"
        lost_line, back = gateway.notes()[line_count:]
        assert lost_line.startswith("redis is gone: " + why)
        assert (lost_line.endswith(where), back) == (True, f"redis is back {where}")
        assert is_mostly_fast(later)
        if why == _SILENT:
            within(_DEADLINE / 2, first, "no other has learnt of it, so the first waited")

    tried(trial)


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


@pytest.mark.parametrize(
    "answer",
    [
        b"$-1\r\n",
        b"$2\r\nno\r\n",
        b"+OK\r\n",
        b":5\r\n",
        b"*1\r\n:1\r\n",
        b"*-1\r\n",
        b"-ERR no\r\n",
    ],
)
def test_redis_replies_of_the_wrong_type_are_cache_misses(pair: Pair, answer: bytes) -> None:
    with pair.place.instead(lambda data: answer * len(commands(data))):
        pair.gateway.misses(5)


def test_a_redis_reply_to_another_command_is_a_cache_miss(pair: Pair) -> None:
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

    gateway = pair.gateway
    with pair.place.instead(answer_all):
        for text in [gateway.known(_BACK), gateway.known()] * 10:
            assert gateway.ask(text).cache == "miss"
            until(lambda text=text: gateway.ask(text).cache == "hit", "it was the last")  # type: ignore[misc]


@pytest.mark.parametrize("fault", [full, replica])
def test_the_gateway_still_reads_a_redis_that_refuses_writes(pair: Pair, fault: Fault) -> None:
    gateway, place = pair.gateway, pair.place
    place.start_again()
    cached_prompt = gateway.known()
    wait_for_puts(pair)
    line_count = len(gateway.notes())
    with fault(place):
        seconds = gateway.misses(50 * _TIMES)
        assert gateway.ask(cached_prompt).cache == "hit"
        sockets = gateway.child.sockets
        seconds += gateway.misses(50 * _TIMES)
        until(lambda: gateway.child.sockets <= sockets + 2, "no connection is left behind")
    gateway.known(_BACK)
    assert len(gateway.notes()) <= line_count + 1
    assert is_mostly_fast(seconds)


def test_an_operator_can_correct_a_wrong_redis_password_without_a_restart(paired: Paired) -> None:
    """The operator mends it without a restart, and no log line shows the password."""
    with paired("secret") as pair:
        gateway, place = pair.gateway, pair.place
        place.start("--requirepass", "another")
        seconds = gateway.misses(40 * _TIMES)
        with place.admin("another") as admin:
            admin.config_set("requirepass", _PASSWORD)
        gateway.known(_BACK)
        lost, back = gateway.notes()
        assert "it does not accept the credentials" in lost
        assert back == f"redis is back (127.0.0.1:{place.port})"
    assert is_mostly_fast(seconds)


def test_tls_to_a_plain_redis_port_counts_as_a_loss(paired: Paired) -> None:
    with paired("tls") as lost:
        lost.place.start()
        seconds = lost.gateway.misses(40 * _TIMES)
        until(lost.gateway.notes, "a word of the loss")
        seconds += lost.gateway.misses(40 * _TIMES)
        assert len(lost.gateway.notes()) == 1
    assert is_mostly_fast(seconds)


def test_no_answer_fails_or_is_wrong_while_redis_dies_and_returns_under_load(pair: Pair) -> None:
    """The test kills and stops Redis at any moment while four clients ask."""
    gateway, place = pair.gateway, pair.place

    def traffic(number: int, texts: list[str], ended: threading.Event) -> list[TimedReply]:
        chance, replies = random.Random(number), []
        while not ended.is_set():
            replies.append(gateway.ask(chance.choice([*texts, gateway.fresh()])))
        return replies

    def trial() -> None:
        place.start_again()
        texts = [gateway.known() for _ in range(4)]
        ended = threading.Event()
        with ThreadPoolExecutor(4) as threads:
            running = [threads.submit(traffic, number, texts, ended) for number in range(4)]
            try:
                place.kill()
                gateway.misses(20)
                place.start()
                gateway.known(_BACK)
                with place.stopped():
                    gateway.ask(gateway.fresh())
                    gateway.misses(20)
                gateway.known(_BACK)
            finally:
                ended.set()
            replies = [each for future in running for each in future.result()]
        assert {each.cache for each in replies} == {"hit", "miss"}
        assert is_mostly_fast([each.seconds for each in replies])

    for _ in range(_TIMES):
        trial()


def test_clients_that_leave_pass_no_answer_to_others(pair: Pair) -> None:
    """SEC-CACHE 8: No answer crosses from one key to another, whenever a command was cancelled."""
    gateway = pair.gateway
    pair.place.start_again()
    first, second = gateway.known(), gateway.known()

    def leaving(number: int) -> int:
        chance = random.Random(number)
        texts = (chance.choice([first, second, gateway.fresh()]) for _ in range(200 * _TIMES))
        return sum(gateway.leave(text, chance.uniform(0, 0.004)) for text in texts)

    hits = 0
    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(leaving, number) for number in range(4)]
        count = 0
        while not all(each.done() for each in running):
            hits += sum(gateway.ask(text).cache == "hit" for text in (first, second))
            gateway.ask(gateway.fresh())
            count += 2
        left_count = sum(each.result() for each in running)
    assert left_count > 100
    assert hits > count / 2
    gateway.known(_BACK)


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


def test_a_foreign_value_in_redis_is_a_cache_miss(pair: Pair, tmp_path: Path) -> None:
    """SEC-CACHE 4: the gateway replaces any foreign value with the right answer.

    The values are garbage, cut, sealed for another key, a pickle, or too long.
    """
    gateway, place = pair.gateway, pair.place
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
            assert gateway.ask(text).cache == "miss"
            until(partial(is_replaced, gateway, text, admin, name, poison), "it is stored")
            until(lambda: gateway.ask(text).cache == "hit", "a hit again")
        admin.delete(name)
        admin.lpush(name, "a list")
        assert gateway.ask(text).cache == "miss"
        until(lambda: gateway.ask(text).cache == "hit", "a hit again")
    assert not (tmp_path / "read").exists()
