"""The simulated Redis answers as a real one: every command of simulations, and what scripts return.

Scripts of both run on the simulation's clock, and with the run id of the simulated server.
"""

import hashlib
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
import redis
from redis.exceptions import ResponseError

from tests.simulation import simulation
from tests.simulation.redis_server import RedisServer, Value

_SCRIPTS = Path(__file__).parents[2] / "gateway/state/redis"
_OF_A_CONNECTION = (b"CLIENT", b"INFO", b"PING", b"SELECT")
_BEFORE_SCRIPT = """
local real, redis = redis, {}
function redis.call(name, ...)
  return name == 'INFO' and '%s' or name == 'TIME' and {'%d', '%d'} or real.call(name, ...)
end
"""


class ComparedServer(RedisServer):
    """A simulated server that asks a real one too, and fails where their answers differ."""

    url = ""
    seen: ClassVar[set[bytes]] = set()
    """The names of commands that both have answered, and the sources of scripts."""

    def _open(self) -> None:
        super()._open()
        self._real = redis.Redis.from_url(
            self.url, db=9, protocol=2
        ).connection_pool.get_connection()
        self._ask_real([b"FLUSHDB"])
        self._sources: dict[bytes, bytes] = {}

    def execute(self, words: list[bytes]) -> Value:
        reply: Any
        try:
            reply = super().execute(words)
        except ResponseError as error:
            reply = error
        if words[0] not in _OF_A_CONNECTION:
            self._compare(words, reply)
        if isinstance(reply, ResponseError):
            raise reply
        return reply  # type: ignore[no-any-return]  # it is the server's

    def _compare(self, words: list[bytes], reply: Any) -> None:
        """Ask the real server too; a script sees the time and the run id of the simulated one."""
        name, real_words = words[0], words
        if name == b"EVAL":
            self._sources[hashlib.sha1(words[1]).hexdigest().encode()] = words[1]  # noqa: S324
        elif name == b"EVALSHA" and words[1] not in self._sources:
            return
        if name.startswith(b"EVAL"):
            source = words[1] if name == b"EVAL" else self._sources[words[1]]
            now = round(self._clock() * 1_000_000)
            before = _BEFORE_SCRIPT % (self._info.decode(), now // 1_000_000, now % 1_000_000)
            real_words = [b"EVAL", before.encode() + source, *words[2:]]
            self.seen.add(source)
        self.seen.add(name)
        assert _read(self._ask_real(real_words)) == _read(reply), words

    def _ask_real(self, words: list[bytes]) -> Any:
        self._real.send_command(*words)  # type: ignore[no-untyped-call]  # redis-py's
        try:
            return self._real.read_response(disable_decoding=True)
        except ResponseError as error:
            return error


def _read(reply: Any) -> Any:
    """Return an answer in a form that both servers share: one marks strings as bytes."""
    if isinstance(reply, ResponseError):
        return ResponseError
    if isinstance(reply, bytes):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):  # a cached answer is no message
            return _encode_strings(msgspec.msgpack.decode(reply))
    return reply


def _encode_strings(value: Any) -> Any:
    match value:
        case str():
            return value.encode()
        case list():
            return [_encode_strings(item) for item in value]
        case dict():
            return {_encode_strings(name): _encode_strings(item) for name, item in value.items()}
        case _:
            return value


@pytest.fixture
def compared(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> type[ComparedServer]:
    """Let each simulated server ask a real one too."""
    monkeypatch.setattr(ComparedServer, "url", redis_url)
    monkeypatch.setattr(simulation, "RedisServer", ComparedServer)
    ComparedServer.seen.clear()
    return ComparedServer


@pytest.mark.parametrize("seed", [1, 7, 20])
def test_a_real_redis_gives_the_same_answers_in_a_simulation(
    compared: type[ComparedServer], seed: int
) -> None:
    report = simulation.simulate(str(seed))
    assert not report.wrong, report.describe()
    names = {path.stem for path in _SCRIPTS.glob("*.lua") if path.read_bytes() in compared.seen}
    assert names >= ({"draw", "lease"} if seed == 7 else {"meter"}) | {"open", "settle"}


_COMMANDS = """
SET s abc ; SET s other NX ; GET s ; GETRANGE s 0 1 ; EXISTS s ; EXISTS none ; GET none ; DEL s none
SET s abc EX 100 ; SET s abc PX 100000 ; PEXPIRE s 100000 ; EXPIRE none 5 ; HGET s a
SET gone x ; PEXPIRE gone 0 ; EXISTS gone ; SET gone x NX
HSET h a 1 b x ; HSET h a 2 c 3 ; HSETNX h a 9 ; HSETNX h d 4 ; HGET h a ; HGET h none ; HMGET h b none a
HEXISTS h a ; HEXISTS h none ; HINCRBY h a 40 ; HINCRBY h new -5 ; HINCRBY h b 1 ; HINCRBY h a 1e3
HGETALL h ; HVALS h ; HSCAN h 0 COUNT 500 ; HDEL h a none ; HDEL h b c d new ; EXISTS h ; HGETALL h
ZADD z 5 a ; ZADD z 3 b ; ZADD z 7 a ; ZADD z 5 c ; ZCARD z ; ZRANGEBYSCORE z -inf 5 LIMIT 0 1
ZRANGEBYSCORE z 4 +inf ; ZREM z a none ; ZREMRANGEBYSCORE z -inf 4 ; ZCARD z ; ZREM z c ; EXISTS z
GET ; UNKNOWN x ; HSET h a ; EVALSHA 0123456789012345678901234567890123456789 0
"""
_SOURCES = (
    "return cmsgpack.pack({1, -1, 2.5, 'a', {}, {x = 1}, 2^53, 1e300, true, false})",
    "return cmsgpack.unpack(ARGV[1])",
    "local list = cmsgpack.unpack(ARGV[1]) return {#list, list[2], list[4] == nil}",
    "return {1, 2.9, -2.9, 'a', true, false, nil, 5}",
    "return redis.call('HGET', KEYS[1], 'none') == false and 1 or 0",
    "return redis.call('HMGET', KEYS[1], 'none', 'a')[1]",
    "redis.call('HSET', KEYS[1], 'a', 10, 'b', 2^40, 'c', '7') return redis.call('HGETALL', KEYS[1])",
    "return redis.call('HINCRBY', KEYS[1], 'a', string.format('%.0f', 0 - 0))",
    "return redis.call('HSCAN', KEYS[1], 0, 'COUNT', 500)",
    "return redis.call('TIME')",
    "return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')",
    "return redis.call('HGET', KEYS[1])",
    "return redis.call('ZCARD', KEYS[1])",
    "return {unpack(KEYS)}",
    "error('broken')",
    "no Lua",
)


def test_a_real_redis_gives_the_same_answers_to_each_command(
    compared: type[ComparedServer],
) -> None:
    """All commands of the gateway's scripts are among them."""
    now = time.time()
    server = compared(lambda: now, "commands")
    commands = [text.split() for line in _COMMANDS.splitlines() for text in line.split(" ; ")]
    requests = [[word.encode() for word in words] for words in commands if words]
    packed = msgspec.msgpack.encode([1, "two", [3, {"x": None}], None, 2**40])
    for source in map(str.encode, _SOURCES):
        sha = hashlib.sha1(source).hexdigest().encode()  # noqa: S324 - the protocol's name
        requests += [
            [*script, b"2", b"hash", b"other", packed]
            for script in ([b"EVAL", source], [b"EVALSHA", sha])
        ]
    for request in requests:
        now += 0.001
        with suppress(ResponseError):
            server.execute(request)
    sources = "".join([*_SOURCES, *[path.read_text() for path in _SCRIPTS.glob("*.lua")]])
    called = set(re.findall(r"redis\.call\('([A-Z]+)'", sources)) - {"INFO", "TIME"}
    assert called <= {name.decode() for name in compared.seen}
