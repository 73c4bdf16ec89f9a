"""A server of the Redis protocol in memory: fakeredis, which runs the gateway's own Lua scripts.

fakeredis takes the time from `time.time` alone; here each command sees the clock of the simulation.
It knows neither INFO nor `cmsgpack`, so a few lines around each script bring both. Tests hold this
server to a real one: the contracts of the counter stores, and `test_redis_server.py`.
"""

import asyncio
import hashlib
import random
import time
from collections.abc import Callable
from typing import Any, cast

import hiredis
import msgspec
from fakeredis import FakeServer, FakeStrictRedis
from lupa import lua51
from redis.exceptions import ResponseError

type Value = bytes | int | list[Any] | None
_LARGEST_INTEGER = 2**63
_SCRIPT = b"""
local bridge = python.eval("__import__('sys').modules['tests.simulation.redis_server']")
local cmsgpack = { pack = bridge.pack }
function cmsgpack.unpack(data)
  return bridge.unpack(data, function() return {} end)
end
local real, redis = redis, {}
function redis.call(name, ...)
  return name == 'INFO' and '%(info)s' or real.call(name, ...)
end
real.scripts = real.scripts or {}
real.scripts['%(sha)s'] = function()
%(source)s
end
real.collect = real.collect or collectgarbage
collectgarbage = function() end
"""
"""Makes a function of a script, so that Lua reads it once. fakeredis also collects all garbage after
each script; Lua does so by itself."""
_END = b"""
local collect = redis.collect or collectgarbage
for _, api in ipairs({redis, cjson}) do
  for name in pairs(api) do api[name] = nil end
end
collect()
"""
"""Lets Lua forget the functions of Python. They know Lua, so neither would ever be collected."""


class RedisServer:
    """The data of one server, and its scripts."""

    def __init__(self, clock: Callable[[], float], seed: str) -> None:
        """`clock` returns seconds since the epoch."""
        self._clock = clock
        self._chance = random.Random(f"{seed} run id")
        self._open()

    def forget(self) -> None:
        """Start anew without any data, as a server that was restarted."""
        self.close()
        self._open()

    def _open(self) -> None:
        self._info = b"# Server\\r\\nrun_id:%040x\\r\\n" % self._chance.getrandbits(160)
        self._scripts: set[bytes] = set()
        """The SHA-1 of scripts that are functions now."""
        client = FakeStrictRedis(server=FakeServer(), protocol=2)
        self._connection = client.connection_pool.get_connection()

    def close(self) -> None:
        """Forget everything, also what Python does not collect by itself."""
        self._run([b"EVAL", _END, b"0"])

    async def listen(self, port: int) -> asyncio.Server:
        """Serve connections to a port of this machine, or of a simulated network."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: _Client(self), "127.0.0.1", port)

    def execute(self, words: list[bytes]) -> Value:
        """Execute a command. Raises redis.ResponseError."""
        name = words[0].upper()
        if name == b"INFO":
            return self._info.replace(b"\\r\\n", b"\r\n")
        if name in (b"EVAL", b"EVALSHA"):
            words = [b"EVAL", self._find_script(name, words[1]), *words[2:]]
        return self._run(words)

    def _find_script(self, name: bytes, text: bytes) -> bytes:
        """Return a call of a script's function; make it if the text is a new script's source."""
        sha = text.lower()
        if name == b"EVAL":
            sha = hashlib.sha1(text).hexdigest().encode()  # noqa: S324 - the protocol's name
        if sha not in self._scripts:
            if name == b"EVALSHA":
                raise ResponseError("NOSCRIPT No matching script. Please use EVAL.")
            parts = {b"info": self._info, b"sha": sha, b"source": text}
            self._run([b"EVAL", _SCRIPT % parts, b"0"])
            self._scripts.add(sha)
        return b"return redis.scripts['%b']()" % sha

    def _run(self, words: list[bytes]) -> Value:
        real_clock, time.time = time.time, self._clock
        try:
            self._connection.send_command(*words)  # type: ignore[no-untyped-call]  # redis-py's
            return cast("Value", self._connection.read_response(disable_decoding=True))
        finally:
            time.time = real_clock


def pack(value: Any) -> bytes:
    """Return a value of a script in MessagePack, as `cmsgpack.pack` does.

    It marks the strings of a script as bytes, so that both sides can read any string.
    """
    return msgspec.msgpack.encode(_from_lua(value))


def unpack(data: bytes, make_table: Callable[[], Any]) -> Any:
    """Return what MessagePack holds as a value of a script, as `cmsgpack.unpack` does."""
    return _to_lua(msgspec.msgpack.decode(data), make_table)


def _to_lua(value: Any, make_table: Callable[[], Any]) -> Any:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, list | dict):
        return value
    table = make_table()
    for name, item in value.items() if isinstance(value, dict) else enumerate(value, 1):
        table[_to_lua(name, make_table)] = _to_lua(item, make_table)
    return table


def _from_lua(value: Any) -> Any:
    """Return a value of a script; a table whose keys are 1, 2, 3... is a list, also an empty one."""
    if lua51.lua_type(value) == "table":
        items = {key: _from_lua(item) for key, item in value.items()}
        if items.keys() == set(range(1, len(items) + 1)):
            return [items[at] for at in range(1, len(items) + 1)]
        return items
    if isinstance(value, float):
        is_whole = value.is_integer() and abs(value) < _LARGEST_INTEGER
        return int(value) if is_whole else value
    return value


class _Client(asyncio.Protocol):
    """A connection of a client."""

    _transport: asyncio.Transport

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._reader = hiredis.Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        replies: list[bytes] = []
        while (words := self._reader.gets()) is not False:
            try:
                replies.append(_encode(self._server.execute(cast("list[bytes]", words))))
            except ResponseError as error:
                replies.append(b"-%b\r\n" % " ".join(str(error).split()).encode())
        self._transport.write(b"".join(replies))


def _encode(reply: Value) -> bytes:
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case _:
            return b"*%d\r\n" % len(reply) + b"".join(map(_encode, reply))
