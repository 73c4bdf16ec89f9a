"""Scripts run in Redis over the keys of one tenant.

All keys of a tenant have one hash tag, so one call sees them all, in a Cluster too.
"""

from typing import NamedTuple
from urllib.parse import quote

from gateway.state.link import slot_of
from gateway.state.script import Script
from gateway.state.server import Server
from gateway.state.wire import Failure, Reply, request

VERSION = b"1"
"""Of what is kept: another one never meets what this one wrote."""
NAMES = (b"spent", b"rate", b"running", b"holds", b"ends", b"told", b"reserved")
_MOST = 4096
"""Tenants whose requests are kept half made."""


class Head(NamedTuple):
    """A request that runs a script for a tenant, but for its argument."""

    name: bytes
    """A key of the tenant."""
    slot: int
    start: bytes
    """What stands before the argument."""


class Counters(Server):
    """The counters of all tenants."""

    async def run(self, script: Script, tenant: str, argument: bytes) -> Reply:
        """What a script answers for a tenant. Raises Away."""
        made = head(script, tenant)
        data = b"%b$%d\r\n%b\r\n" % (made.start, len(argument), argument)
        reply = await self.try_(made.name, made.slot, data)
        return await self.known(script, tenant, data, reply) if type(reply) is Failure else reply

    async def known(self, script: Script, tenant: str, data: bytes, reply: Failure) -> Reply:
        """What it answers that has failed: its source is sent where it is not known there.

        `data` is the request, from `head` and an argument. Raises Away.
        """
        made = head(script, tenant)
        if reply.word != "NOSCRIPT":
            raise self.refused(made.name, reply)
        words = request(b"EVAL", script.source, b"%d" % len(NAMES), *keys(tenant))
        whole = _longer(words, len(NAMES) + 3) + data[len(made.start) :]
        return await self.ask(made.name, whole)

    async def on(self, script: Script, name: bytes, argument: bytes) -> Reply:
        """What a script answers on one key. Raises Away."""
        words = (b"1", name, argument)
        reply = await self.try_(name, slot_of(name), request(b"EVALSHA", script.sha, *words))
        if type(reply) is Failure:
            if reply.word != "NOSCRIPT":
                raise self.refused(name, reply)
            reply = await self.ask(name, request(b"EVAL", script.source, *words))
        return reply

    async def command(self, tenant: str, command: bytes, name: bytes, *words: bytes) -> Reply:
        """What a plain command on one of a tenant's keys answers. Raises Away."""
        at = key(tag_of(tenant), name)
        return await self.ask(at, request(command, at, *words))


_HEADS: dict[tuple[bytes, str], Head] = {}


def head(script: Script, tenant: str) -> Head:
    """What a request begins with that runs a script for a tenant."""
    made = _HEADS.get((script.sha, tenant))
    if made is None:
        if len(_HEADS) >= _MOST:
            _HEADS.clear()
        names = keys(tenant)
        words = request(b"EVALSHA", script.sha, b"%d" % len(names), *names)
        start = _longer(words, len(names) + 3)
        made = _HEADS[script.sha, tenant] = Head(names[0], slot_of(names[0]), start)
    return made


def _longer(words: bytes, count: int) -> bytes:
    """A request of so many words, to which one is added."""
    return words.replace(b"*%d\r\n" % count, b"*%d\r\n" % (count + 1), 1)


def keys(tenant: str) -> tuple[bytes, ...]:
    """All keys of a tenant."""
    tag = tag_of(tenant)
    return tuple(key(tag, name) for name in NAMES)


def tag_of(tenant: str) -> bytes:
    """What stands between the braces of a tenant's keys: no braces, and never nothing."""
    return quote(tenant, safe="").encode() or b"%"


def key(tag: bytes, name: bytes) -> bytes:
    """One key of a tenant."""
    return b"tiergate:{%b}:%b:%b" % (tag, VERSION, name)
