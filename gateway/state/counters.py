"""Scripts run in Redis over the keys of one tenant.

All keys of a tenant have one hash tag, so one call sees them all, in a Cluster too.
"""

from urllib.parse import quote

from gateway.state.link import slot_of
from gateway.state.script import Script
from gateway.state.server import Server
from gateway.state.wire import Failure, Reply, request

VERSION = b"1"
"""Of what is kept: another one never meets what this one wrote."""
_NAMES = (b"spent", b"rate", b"running", b"holds", b"ends", b"told")
_MOST = 4096
"""Tenants whose requests are kept half made."""


class Counters(Server):
    """The counters of all tenants."""

    async def run(self, script: Script, tenant: str, argument: bytes) -> Reply:
        """What a script answers for a tenant. Raises Away."""
        name, slot, start = _HEADS.get((script.sha, tenant)) or _head(script, tenant)
        data = b"%b$%d\r\n%b\r\n" % (start, len(argument), argument)
        reply = await self.try_(name, slot, data)
        if type(reply) is Failure:
            if reply.word != "NOSCRIPT":
                raise self.refused(name, reply)
            words = (b"EVAL", script.source, b"%d" % len(_NAMES), *keys(tenant), argument)
            reply = await self.ask(name, request(*words))
        return reply

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


_HEADS: dict[tuple[bytes, str], tuple[bytes, int, bytes]] = {}


def _head(script: Script, tenant: str) -> tuple[bytes, int, bytes]:
    """A key of a tenant, its slot, and all of a request but its argument."""
    if len(_HEADS) >= _MOST:
        _HEADS.clear()
    names = keys(tenant)
    words = (b"EVALSHA", script.sha, b"%d" % len(names), *names)
    count = b"*%d\r\n" % len(words)
    start = request(*words).replace(count, b"*%d\r\n" % (len(words) + 1), 1)
    _HEADS[script.sha, tenant] = made = (names[0], slot_of(names[0]), start)
    return made


def keys(tenant: str) -> tuple[bytes, ...]:
    """All keys of a tenant."""
    tag = tag_of(tenant)
    return tuple(key(tag, name) for name in _NAMES)


def tag_of(tenant: str) -> bytes:
    """What stands between the braces of a tenant's keys: no braces, and never nothing."""
    return quote(tenant, safe="").encode() or b"%"


def key(tag: bytes, name: bytes) -> bytes:
    """One key of a tenant."""
    return b"tiergate:{%b}:%b:%b" % (tag, VERSION, name)
