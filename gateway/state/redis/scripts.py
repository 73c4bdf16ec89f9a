"""Scripts run in Redis over the keys of one owner: a tenant, or all tenants together.

All keys of an owner have one hash tag, so one call sees them all, in a Cluster too.

Scripts that a server of the Redis protocol runs, beside this file as `.lua`.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from gateway.state.redis.client import RedisClient
from gateway.state.redis.connection import RedisError, Reply, encode_command
from gateway.state.redis.topology import find_slot


class Script:
    """One script: its source, and the name under which a server that has run it knows it."""

    def __init__(self, name: str) -> None:
        self.source = (Path(__file__).parent / f"{name}.lua").read_bytes()
        self.sha = hashlib.sha1(self.source).hexdigest().encode()  # noqa: S324 - the protocol's name


KEY_VERSION = b"1"
"""Of what is kept: another one never meets what this one wrote."""
KEY_NAMES = (b"spent", b"rate", b"running", b"holds", b"ends", b"told")
_MAX_HEADS = 4096
"""Owners whose requests are kept half made."""
_ALL_TENANTS_TAG = b"*"
"""The hash tag of what counts all tenants: no tenant's, for in theirs a * is written as %2A."""


class ScriptHead(NamedTuple):
    """A request that runs a script for an owner, but for its argument."""

    key: bytes
    """A key of the owner."""
    slot: int
    prefix: bytes
    """What stands before the argument."""


class ScriptRunner(RedisClient):
    """The counters of all owners. An owner is the name of a tenant, or None for all tenants."""

    async def run(self, script: Script, owner: str | None, argument: bytes) -> Reply:
        """What a script answers for an owner. Raises StoreUnavailable."""
        script_head = make_head(script, owner)
        data = b"%b$%d\r\n%b\r\n" % (script_head.prefix, len(argument), argument)
        reply = await self.execute_raw(script_head.key, script_head.slot, data)
        return (
            await self.retry_with_source(script, owner, data, reply)
            if type(reply) is RedisError
            else reply
        )

    async def retry_with_source(
        self, script: Script, owner: str | None, data: bytes, reply: RedisError
    ) -> Reply:
        """What it answers that has failed: its source is sent where it is not known there.

        `data` is the request, from `make_head` and an argument. Raises StoreUnavailable.
        """
        script_head = make_head(script, owner)
        if reply.code != "NOSCRIPT":
            raise self.handle_error(script_head.key, reply)
        words = encode_command(b"EVAL", script.source, b"%d" % len(KEY_NAMES), *make_keys(owner))
        command = _add_word(words, len(KEY_NAMES) + 3) + data[len(script_head.prefix) :]
        return await self.execute(script_head.key, command)

    def tell_script(self, script: Script, owner: str | None, argument: bytes) -> None:
        """Run a script for an owner, for whose answer nobody waits; it may be lost.

        Its source is sent along: nobody would hear that it is not known there.
        """
        names = make_keys(owner)
        words = (b"%d" % len(names), *names, argument)
        self.send_nowait(names[0], encode_command(b"EVAL", script.source, *words))

    async def run_on_key(self, script: Script, redis_key: bytes, argument: bytes) -> Reply:
        """What a script answers on one key. Raises StoreUnavailable."""
        words = (b"1", redis_key, argument)
        reply = await self.execute_raw(
            redis_key, find_slot(redis_key), encode_command(b"EVALSHA", script.sha, *words)
        )
        if type(reply) is RedisError:
            if reply.code != "NOSCRIPT":
                raise self.handle_error(redis_key, reply)
            reply = await self.execute(redis_key, encode_command(b"EVAL", script.source, *words))
        return reply

    async def run_command(
        self, owner: str | None, command: bytes, name: bytes, *words: bytes
    ) -> Reply:
        """What a plain command on one of an owner's keys answers. Raises StoreUnavailable."""
        redis_key = make_key(make_tag(owner), name)
        return await self.execute(redis_key, encode_command(command, redis_key, *words))


_HEADS: dict[tuple[bytes, str | None], ScriptHead] = {}


def make_head(script: Script, owner: str | None) -> ScriptHead:
    """What a request begins with that runs a script for an owner."""
    script_head = _HEADS.get((script.sha, owner))
    if script_head is None:
        if len(_HEADS) >= _MAX_HEADS:
            _HEADS.clear()
        names = make_keys(owner)
        words = encode_command(b"EVALSHA", script.sha, b"%d" % len(names), *names)
        start = _add_word(words, len(names) + 3)
        script_head = _HEADS[script.sha, owner] = ScriptHead(names[0], find_slot(names[0]), start)
    return script_head


def _add_word(words: bytes, count: int) -> bytes:
    """A request of so many words, to which one is added."""
    return words.replace(b"*%d\r\n" % count, b"*%d\r\n" % (count + 1), 1)


def make_keys(owner: str | None) -> tuple[bytes, ...]:
    """All keys of an owner."""
    tag = make_tag(owner)
    return tuple(make_key(tag, name) for name in KEY_NAMES)


def make_tag(owner: str | None) -> bytes:
    """What stands between the braces of an owner's keys: no braces, and never nothing."""
    return _ALL_TENANTS_TAG if owner is None else quote(owner, safe="").encode() or b"%"


def make_key(tag: bytes, name: bytes) -> bytes:
    """One key of an owner."""
    return b"tiergate:{%b}:%b:%b" % (tag, KEY_VERSION, name)
