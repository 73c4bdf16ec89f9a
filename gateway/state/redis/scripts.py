"""Scripts run in Redis over the keys of one owner: a tenant, or all tenants together.

All keys of an owner have one hash tag, so one call sees them all, in a Cluster too.

Scripts that a server of the Redis protocol runs, beside this file as `.lua`.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from gateway.state.redis.client import RedisClient
from gateway.state.redis.connection import RedisError, Reply, request
from gateway.state.redis.topology import slot_of


class Script:
    """One script: its source, and the name under which a server that has run it knows it."""

    def __init__(self, name: str) -> None:
        self.source = (Path(__file__).parent / f"{name}.lua").read_bytes()
        self.sha = hashlib.sha1(self.source).hexdigest().encode()  # noqa: S324 - the protocol's name


VERSION = b"1"
"""Of what is kept: another one never meets what this one wrote."""
NAMES = (b"spent", b"rate", b"running", b"holds", b"ends", b"told")
_MOST = 4096
"""Owners whose requests are kept half made."""
_ALL = b"*"
"""The hash tag of what counts all tenants: no tenant's, for in theirs a * is written as %2A."""


class ScriptHead(NamedTuple):
    """A request that runs a script for an owner, but for its argument."""

    name: bytes
    """A key of the owner."""
    slot: int
    start: bytes
    """What stands before the argument."""


class ScriptRunner(RedisClient):
    """The counters of all owners. An owner is the name of a tenant, or None for all tenants."""

    async def run(self, script: Script, owner: str | None, argument: bytes) -> Reply:
        """What a script answers for an owner. Raises Away."""
        made = head(script, owner)
        data = b"%b$%d\r\n%b\r\n" % (made.start, len(argument), argument)
        reply = await self.try_(made.name, made.slot, data)
        return await self.known(script, owner, data, reply) if type(reply) is RedisError else reply

    async def known(
        self, script: Script, owner: str | None, data: bytes, reply: RedisError
    ) -> Reply:
        """What it answers that has failed: its source is sent where it is not known there.

        `data` is the request, from `head` and an argument. Raises Away.
        """
        made = head(script, owner)
        if reply.word != "NOSCRIPT":
            raise self.refused(made.name, reply)
        words = request(b"EVAL", script.source, b"%d" % len(NAMES), *keys(owner))
        whole = _longer(words, len(NAMES) + 3) + data[len(made.start) :]
        return await self.ask(made.name, whole)

    def tell_script(self, script: Script, owner: str | None, argument: bytes) -> None:
        """Run a script for an owner, for whose answer nobody waits; it may be lost.

        Its source is sent along: nobody would hear that it is not known there.
        """
        names = keys(owner)
        words = (b"%d" % len(names), *names, argument)
        self.tell(names[0], request(b"EVAL", script.source, *words))

    async def on(self, script: Script, name: bytes, argument: bytes) -> Reply:
        """What a script answers on one key. Raises Away."""
        words = (b"1", name, argument)
        reply = await self.try_(name, slot_of(name), request(b"EVALSHA", script.sha, *words))
        if type(reply) is RedisError:
            if reply.word != "NOSCRIPT":
                raise self.refused(name, reply)
            reply = await self.ask(name, request(b"EVAL", script.source, *words))
        return reply

    async def command(self, owner: str | None, command: bytes, name: bytes, *words: bytes) -> Reply:
        """What a plain command on one of an owner's keys answers. Raises Away."""
        at = key(tag_of(owner), name)
        return await self.ask(at, request(command, at, *words))


_HEADS: dict[tuple[bytes, str | None], ScriptHead] = {}


def head(script: Script, owner: str | None) -> ScriptHead:
    """What a request begins with that runs a script for an owner."""
    made = _HEADS.get((script.sha, owner))
    if made is None:
        if len(_HEADS) >= _MOST:
            _HEADS.clear()
        names = keys(owner)
        words = request(b"EVALSHA", script.sha, b"%d" % len(names), *names)
        start = _longer(words, len(names) + 3)
        made = _HEADS[script.sha, owner] = ScriptHead(names[0], slot_of(names[0]), start)
    return made


def _longer(words: bytes, count: int) -> bytes:
    """A request of so many words, to which one is added."""
    return words.replace(b"*%d\r\n" % count, b"*%d\r\n" % (count + 1), 1)


def keys(owner: str | None) -> tuple[bytes, ...]:
    """All keys of an owner."""
    tag = tag_of(owner)
    return tuple(key(tag, name) for name in NAMES)


def tag_of(owner: str | None) -> bytes:
    """What stands between the braces of an owner's keys: no braces, and never nothing."""
    return _ALL if owner is None else quote(owner, safe="").encode() or b"%"


def key(tag: bytes, name: bytes) -> bytes:
    """One key of an owner."""
    return b"tiergate:{%b}:%b:%b" % (tag, VERSION, name)
