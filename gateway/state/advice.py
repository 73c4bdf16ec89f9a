"""What of a Redis would break a promise: how it evicts, what it keeps on its disk, what it is."""

import asyncio
import re

from gateway.settings.mistake import Mistake
from gateway.state.address import Address, read
from gateway.state.counters import keys
from gateway.state.link import Link, slot_of
from gateway.state.server import why
from gateway.state.wire import Broken, Failure, Reply, request

_OLDEST = (6, 2)
"""Versions before it were never tried."""
_FORMS = "Write redis+cluster://host:port,host:port in place of redis://host:port."


def advise(url: str, *, counts: bool, deadline: float = 1.0) -> list[Mistake]:
    """What is wrong with the Redis of a URL, asked now, within `deadline` seconds.

    `counts` tells whether limits or budgets are counted there, beside what is cached. In a Cluster
    the node of the default tenant answers for all. Runs an event loop of its own.
    """
    try:
        address = read(url)
    except ValueError as error:
        return [_mistake(f"{error}.", level="error")]
    return asyncio.run(_ask(address, deadline, counts=counts))


async def _ask(address: Address, deadline: float, *, counts: bool) -> list[Mistake]:
    try:
        link = Link(address, deadline)
    except ValueError as error:
        return [_mistake(f"{error}.", level="error")]
    slot = slot_of(keys("default")[0])
    try:
        async with asyncio.timeout(deadline):
            said = await link.find(slot, request(b"INFO"))
            saves = await link.find(slot, request(b"CONFIG", b"GET", b"save"))
    except (Broken, OSError, ValueError) as error:
        return [_gone(why(error), address, counts=counts)]
    finally:
        await link.close()
    if not isinstance(said, bytes):
        word = said.word if isinstance(said, Failure) else "something else"
        return [_gone(f"it answers {word}", address, counts=counts)]
    facts = dict(line.split(":", 1) for line in said.decode().splitlines() if ":" in line)
    return [*_place(facts, address), *(_kept(facts, points=_points(saves)) if counts else ())]


def _place(facts: dict[str, str], address: Address) -> list[Mistake]:
    """Whether it is what the URL says, and takes writes."""
    found = []
    if address.kind == "single" and facts.get("cluster_enabled") == "1":
        message = f"{address.where} is a node of a Cluster and sends most keys elsewhere."
        found.append(_mistake(message, _FORMS, level="error"))
    if facts.get("role") == "slave" and address.kind == "single":
        message = f"{address.where} is a replica and takes no writes."
        found.append(_mistake(message, "Name its primary, or the sentinels.", level="error"))
    version = facts.get("valkey_version") or facts.get("redis_version", "")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers and numbers < _OLDEST:
        oldest = ".".join(str(one) for one in _OLDEST)
        found.append(_mistake(f"version {version} was never tried.", f"Use {oldest} or later."))
    return found


def _kept(facts: dict[str, str], *, points: bool | None) -> list[Mistake]:
    """Whether counters stay; `points`: whether it takes snapshots, None where nobody knows."""
    found, policy = [], facts.get("maxmemory_policy", "")
    hint = "Set maxmemory-policy to volatile-lru: only what has a time to live is evicted then."
    if policy.startswith("allkeys-"):
        message = f"maxmemory-policy {policy} evicts counters of limits and budgets."
        found.append(_mistake(message, hint))
    elif policy == "noeviction" and facts.get("maxmemory", "0") != "0":
        message = (
            "maxmemory-policy noeviction: once cached answers fill it, nothing can be counted."
        )
        found.append(_mistake(message, hint))
    if facts.get("aof_enabled") != "0":
        return found
    hint = "Set appendonly to yes."
    if points:
        message = (
            "it keeps snapshots alone: after a crash counters are those of the last one, and "
            "budgets can be overspent by what was counted since."
        )
        found.append(_mistake(message, hint))
    elif points is False:
        message = (
            "it keeps nothing on its disk: a restart begins limits anew, and budgets must be "
            "rebuilt from the ledger."
        )
        found.append(_mistake(message, hint))
    return found


def _points(saves: Reply) -> bool | None:
    """Whether snapshots are taken; None where it does not tell."""
    if isinstance(saves, list) and len(saves) == 2:
        return bool(saves[1])
    return None


def _gone(said: str, address: Address, *, counts: bool) -> Mistake:
    parts = "Limits and budgets follow on_redis_loss" if counts else "Nothing is shared"
    return _mistake(f"cannot be asked: {said} ({address.where}).", f"{parts} until it can.")


def _mistake(message: str, hint: str = "", level: str = "warning") -> Mistake:
    if level == "error":
        return Mistake(file="REDIS_URL", message=message, hint=hint)
    return Mistake(level="warning", file="REDIS_URL", message=message, hint=hint)
