"""Scripts that run in Redis on the keys of one owner: a tenant, or all tenants together.

All keys of an owner have one hash tag, so one call reaches them all, even in a Cluster. The sources
are the `.lua` files beside this one.
"""

import hashlib
import re
from collections.abc import Coroutine
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.state.redis.client import RedisClient
from gateway.state.redis.commands import begin_command, finish_command
from gateway.state.redis.replies import Answer, RedisError, Reply
from gateway.state.redis.server_connection import ServerConnection


class Script:
    """One script: its source, and the hash by which a server that has run it knows it."""

    def __init__(self, name: str) -> None:
        self.source = (Path(__file__).parent / f"{name}.lua").read_bytes()
        self.sha = hashlib.sha1(self.source).hexdigest().encode()  # noqa: S324 - the protocol's name


KEY_VERSION = b"1"
"""The version of the stored form. A gateway never reads the keys of another version."""
KEY_NAMES = (b"spent", b"rate", b"running", b"holds", b"ends", b"told", b"users")
_CALLED_COMMAND = re.compile(rb"redis\.p?call\('(\w+)'")
_ALL_TENANTS_TAG = b"*"
"""The hash tag for all tenants. No tenant has it, as their tags write `*` as `%2A`."""


class ScriptRunner(RedisClient):
    """Runs scripts for owners. An owner is the name of a tenant, or None for all tenants."""

    def run(self, script: Script, owner: str | None, argument: bytes) -> Coroutine[Any, Any, Reply]:
        """Run a script for an owner, and return the answer to await, as `run_on_keys` does."""
        return self.run_on_keys(script, make_keys(owner), argument)

    def tell_script(self, script: Script, owner: str | None, argument: bytes) -> None:
        """Run a script for an owner without waiting for the answer; the call may be lost.

        The client sends the source too, as nobody would read that the server does not know it.
        """
        keys = make_keys(owner)
        self.send_nowait(keys[0], b"EVAL", script.source, b"%d" % len(keys), *keys, argument)

    def find_connection(self, owner: str | None) -> ServerConnection | None:
        """Return the open connection to the server of an owner's keys; None if there is none."""
        return self.find_open(make_keys(owner)[0])

    async def run_command(
        self, owner: str | None, command: bytes, name: bytes, *words: bytes
    ) -> Reply:
        """Run a command on one key of an owner and return the answer. Raises StoreUnavailable."""
        redis_key = make_key(make_tag(owner), name)
        return await self.execute(redis_key, command, redis_key, *words)

    def run_on_keys(
        self, script: Script, keys: tuple[bytes, ...], argument: bytes
    ) -> Coroutine[Any, Any, Reply]:
        """Run a script on keys of one slot, and return the answer to await.

        An open connection takes the call before this returns. The client calls the script by its
        hash, and sends the source if the server lacks it. Awaiting raises StoreUnavailable.
        """
        command = finish_command(_begin_call(script, keys), argument)
        answering = self.execute_encoded(keys[0], command)
        return self._read_reply(script, keys, argument, answering)

    async def _read_reply(
        self,
        script: Script,
        keys: tuple[bytes, ...],
        argument: bytes,
        answering: Coroutine[Any, Any, Answer],
    ) -> Reply:
        """Await the answer to a script's call by hash."""
        answer = await answering
        if not isinstance(answer, RedisError):
            return answer
        if answer.code != "NOSCRIPT":
            raise self.handle_error(keys[0], answer)
        return await self.execute(
            keys[0], b"EVAL", script.source, b"%d" % len(keys), *keys, argument
        )


def list_script_commands() -> frozenset[bytes]:
    """Return the commands that the scripts call."""
    sources = [path.read_bytes() for path in Path(__file__).parent.glob("*.lua")]
    return frozenset(name for source in sources for name in _CALLED_COMMAND.findall(source))


@lru_cache(maxsize=4096)
def _begin_call(script: Script, keys: tuple[bytes, ...]) -> bytes:
    """Return the words of a call by hash before its argument: they are the same for each call."""
    return begin_command(b"EVALSHA", script.sha, b"%d" % len(keys), *keys)


@lru_cache(maxsize=4096)
def make_keys(owner: str | None) -> tuple[bytes, ...]:
    """Return all keys of an owner."""
    tag = make_tag(owner)
    return tuple(make_key(tag, name) for name in KEY_NAMES)


def make_tag(owner: str | None) -> bytes:
    """Return the hash tag of an owner's keys: without braces, and never empty."""
    return _ALL_TENANTS_TAG if owner is None else quote(owner, safe="").encode() or b"%"


def make_key(tag: bytes, name: bytes) -> bytes:
    """Return one key of an owner."""
    return b"tiergate:{%b}:%b:%b" % (tag, KEY_VERSION, name)
