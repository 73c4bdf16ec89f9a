"""A server of the Redis protocol in memory that runs the gateway's own Lua scripts.

It knows the commands that the gateway sends, and those of its scripts. The contract tests of the
counter stores run on it as on a real Redis. Lua is 5.1, as in Redis. `cmsgpack` differs in one way:
it marks the strings of a script as bytes, so that both sides can read any string.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, cast

import hiredis
import msgspec
from lupa import lua51

_LARGEST_INTEGER = 2**63
type Value = bytes | int | list[Any] | None


class CommandError(Exception):
    """The server refuses a command."""


class RedisServer:
    """The data of one server, and its scripts."""

    def __init__(self, clock: Callable[[], float], seed: str) -> None:
        """`clock` returns seconds since the epoch."""
        self._clock = clock
        self._chance = random.Random(f"{seed} run id")
        self._lua = lua51.LuaRuntime(encoding=None)
        self._scripts: dict[bytes, Any] = {}
        self._lua.globals()[b"redis"] = self._table({b"call": self._call})
        self._lua.globals()[b"cmsgpack"] = self._table(
            {b"pack": self._pack, b"unpack": self._unpack}
        )
        self.forget()

    def forget(self) -> None:
        """Start anew without any data, as a server that was restarted."""
        self._run_id = b"%040x" % self._chance.getrandbits(160)
        self._hashes: dict[bytes, dict[bytes, bytes]] = {}
        self._sorted_sets: dict[bytes, dict[bytes, float]] = {}
        self._strings: dict[bytes, bytes] = {}
        self._expiries: dict[bytes, float] = {}
        self._scripts.clear()

    async def listen(self, port: int) -> asyncio.Server:
        """Serve connections to a port of this machine, or of a simulated network."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: _Client(self), "127.0.0.1", port)

    def execute(self, words: list[bytes]) -> Value:
        """Execute a command. Raises CommandError."""
        name = words[0].decode().lower()
        method = getattr(self, f"_do_{name}", None)
        if method is None:
            raise CommandError(f"ERR unknown command '{name}'")
        self._expire()
        return cast("Value", method(*words[1:]))

    def _expire(self) -> None:
        now = self._clock()
        for key in [key for key, at in self._expiries.items() if at <= now]:
            self._do_del(key)

    # of a server

    def _do_ping(self) -> bytes:
        return b"PONG"

    def _do_client(self, *_: bytes) -> bytes:
        return b"OK"

    _do_select = _do_client

    def _do_info(self, *_: bytes) -> bytes:
        return b"# Server\r\nrun_id:%b\r\n" % self._run_id

    def _do_time(self) -> list[bytes]:
        micros = round(self._clock() * 1_000_000)
        return [b"%d" % (micros // 1_000_000), b"%d" % (micros % 1_000_000)]

    # of any key

    def _do_del(self, *keys: bytes) -> int:
        kinds: tuple[dict[bytes, Any], ...] = (self._hashes, self._sorted_sets, self._strings)
        for key in keys:
            self._expiries.pop(key, None)
        return sum(kind.pop(key, None) is not None for key in keys for kind in kinds)

    def _do_exists(self, key: bytes) -> int:
        return int(any(key in kind for kind in (self._hashes, self._sorted_sets, self._strings)))

    def _do_expire(self, key: bytes, seconds: bytes) -> int:
        self._expiries[key] = self._clock() + float(seconds)
        return self._do_exists(key)

    def _do_pexpire(self, key: bytes, millis: bytes) -> int:
        return self._do_expire(key, b"%f" % (float(millis) / 1000))

    # of strings

    def _do_get(self, key: bytes) -> bytes | None:
        return self._strings.get(key)

    def _do_getrange(self, key: bytes, first: bytes, last: bytes) -> bytes:
        return self._strings.get(key, b"")[int(first) : int(last) + 1]

    def _do_set(self, key: bytes, value: bytes, *options: bytes) -> bytes | None:
        words = [option.upper() for option in options]
        if b"NX" in words and key in self._strings:
            return None
        self._strings[key] = value
        self._expiries.pop(key, None)
        for word, number in pairwise(words):
            if word in (b"PX", b"EX"):
                self._expiries[key] = self._clock() + int(number) / (1000 if word == b"PX" else 1)
        return b"OK"

    # of hashes

    def _do_hget(self, key: bytes, field: bytes) -> bytes | None:
        return self._hashes.get(key, {}).get(field)

    def _do_hmget(self, key: bytes, *fields: bytes) -> list[bytes | None]:
        return [self._do_hget(key, field) for field in fields]

    def _do_hset(self, key: bytes, *items: bytes) -> int:
        fields = self._hashes.setdefault(key, {})
        count = len(fields)
        fields.update(zip(items[::2], items[1::2], strict=True))
        return len(fields) - count

    def _do_hsetnx(self, key: bytes, field: bytes, value: bytes) -> int:
        return 0 if field in self._hashes.get(key, {}) else self._do_hset(key, field, value)

    def _do_hdel(self, key: bytes, *fields: bytes) -> int:
        values = self._hashes.get(key, {})
        count = sum(values.pop(field, None) is not None for field in fields)
        if not values:
            self._hashes.pop(key, None)
        return count

    def _do_hexists(self, key: bytes, field: bytes) -> int:
        return int(field in self._hashes.get(key, {}))

    def _do_hincrby(self, key: bytes, field: bytes, amount: bytes) -> int:
        try:
            value = int(self._do_hget(key, field) or 0) + int(amount)
        except ValueError:
            raise CommandError("ERR value is not an integer or out of range") from None
        self._do_hset(key, field, b"%d" % value)
        return value

    def _do_hgetall(self, key: bytes) -> list[bytes]:
        return [word for item in self._hashes.get(key, {}).items() for word in item]

    def _do_hkeys(self, key: bytes) -> list[bytes]:
        return list(self._hashes.get(key, {}))

    def _do_hvals(self, key: bytes) -> list[bytes]:
        return list(self._hashes.get(key, {}).values())

    def _do_hscan(self, key: bytes, *_: bytes) -> list[Any]:
        return [b"0", self._do_hgetall(key)]

    # of sorted sets

    def _do_zadd(self, key: bytes, score: bytes, member: bytes) -> int:
        members = self._sorted_sets.setdefault(key, {})
        count = len(members)
        members[member] = float(score)
        return len(members) - count

    def _do_zrem(self, key: bytes, *members: bytes) -> int:
        scores = self._sorted_sets.get(key, {})
        count = sum(scores.pop(member, None) is not None for member in members)
        if not scores:
            self._sorted_sets.pop(key, None)
        return count

    def _do_zrangebyscore(self, key: bytes, low: bytes, high: bytes, *limit: bytes) -> list[bytes]:
        first, last = float(low), float(high)
        found = sorted(
            (score, member)
            for member, score in self._sorted_sets.get(key, {}).items()
            if first <= score <= last
        )
        start, count = (int(limit[1]), int(limit[2])) if limit else (0, len(found))
        return [member for _, member in found[start : start + count]]

    # of scripts

    def _do_eval(self, source: bytes, key_count: bytes, *words: bytes) -> Value:
        sha = hashlib.sha1(source).hexdigest().encode()  # noqa: S324 - the protocol's name
        if sha not in self._scripts:
            function = b"return function(KEYS, ARGV)\n" + source + b"\nend"
            self._scripts[sha] = self._lua.execute(function)
        return self._do_evalsha(sha, key_count, *words)

    def _do_evalsha(self, sha: bytes, key_count: bytes, *words: bytes) -> Value:
        script = self._scripts.get(sha)
        if script is None:
            raise CommandError("NOSCRIPT No matching script. Please use EVAL.")
        keys, arguments = words[: int(key_count)], words[int(key_count) :]
        try:
            return _to_reply(script(self._table(keys), self._table(arguments)))
        except lua51.LuaError as error:
            raise CommandError(f"ERR {error}") from None

    def _call(self, *words: bytes | float) -> Any:
        """Execute a command of a script; nil is false there."""
        reply = self.execute(
            [word if isinstance(word, bytes) else b"%.17g" % word for word in words]
        )
        return self._to_lua(reply, nil=False)

    def _pack(self, value: Any) -> bytes:
        return msgspec.msgpack.encode(_from_lua(value))

    def _unpack(self, data: bytes) -> Any:
        return self._to_lua(msgspec.msgpack.decode(data))

    def _to_lua(self, value: Any, *, nil: Any = None) -> Any:
        match value:
            case list():
                return self._table(self._to_lua(item, nil=nil) for item in value)
            case dict():
                items = ((self._to_lua(name), self._to_lua(item)) for name, item in value.items())
                return self._lua.table_from(dict(items))
            case str():
                return value.encode()
            case None:
                return nil
            case _:
                return value

    def _table(self, items: Iterable[Any]) -> Any:
        return self._lua.table_from(items if isinstance(items, dict) else list(items))


def _from_lua(value: Any) -> Any:
    """Return a value of a script; a table whose keys are 1, 2, 3... is a list, also an empty one."""
    if lua51.lua_type(value) == "table":
        items = {key: _from_lua(item) for key, item in value.items()}
        if items.keys() == set(range(1, len(items) + 1)):
            return [items[at] for at in range(1, len(items) + 1)]
        return items
    if isinstance(value, int | float) and not isinstance(value, bool):
        is_whole = value == int(value) and abs(value) < _LARGEST_INTEGER
        return int(value) if is_whole else float(value)
    return value


def _to_reply(value: Any) -> Value:
    """Return the result of a script as Redis does: numbers lose their fraction."""
    if lua51.lua_type(value) == "table":
        return [_to_reply(value[at]) for at in range(1, len(value) + 1)]
    if isinstance(value, bool):
        return 1 if value else None
    return int(value) if isinstance(value, float) else cast("Value", value)


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
            except CommandError as error:
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
