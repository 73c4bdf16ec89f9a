"""What of a Redis would break a promise: how it evicts, what it keeps on its disk, what it is."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from gateway.settings.errors import Mistake
from gateway.state.errors import RedisAway, RedisUnanswered
from gateway.state.redis import sync_client
from gateway.state.redis.scripts import Script, keys
from gateway.state.redis.store import RedisStore
from gateway.state.redis.url import RedisAddress, checks_name, context, read

_VECTORS = 8
"""The version of Redis that brought vector sets."""
_OLDEST = (6, 2)
"""Versions before it were never tried."""
_SKEW = 2.0
"""Seconds that two clocks may be apart."""
_TRIED = "doctor"
_NOTHING = b"\x91\x93\xa6doctor\xff\xff"
"""The end of a call that holds nothing, as settle.lua takes it."""
_FORGET = b"\x93\x00\xa10\x91\xa6doctor"
"""Of the counter that was tried, as sweep.lua takes it."""
_FORMS = "Write redis+cluster://host:port,host:port in place of redis://host:port."


class RedisAdvice(msgspec.Struct, frozen=True):
    """What was found of a Redis."""

    mistakes: list[Mistake]
    lacking: tuple[Mistake, ...] = ()
    """What near questions would lack there."""
    about: str = ""
    """What it is and how it answers; empty where it does not."""


def advise(
    url: str, *, counts: bool, near: bool = False, deadline: float = 1.0, verify: bool = True
) -> list[Mistake]:
    """Return what is wrong with the Redis of a URL, asked now, within `deadline` seconds.

    `counts` tells whether limits or budgets are counted there, beside what is cached; `near`
    whether near questions are to be found; `verify` whether certificates are checked. In a Cluster
    the node of the default tenant answers for all. Runs an event loop of its own.
    """
    found = _run(url, deadline, time.time, counts=counts, tries=False, verify=verify)
    return [*found.mistakes, *(found.lacking if near else ())]


def examine(
    url: str,
    *,
    counts: bool,
    deadline: float = 1.0,
    wall: Callable[[], float] = time.time,
    verify: bool = True,
) -> RedisAdvice:
    """Return the same, and whether it does all that a gateway asks: a value is put for a second.

    `wall` tells seconds since the epoch.
    """
    return _run(url, deadline, wall, counts=counts, tries=True, verify=verify)


def _run(
    url: str,
    deadline: float,
    wall: Callable[[], float],
    *,
    counts: bool,
    tries: bool,
    verify: bool,
) -> RedisAdvice:
    try:
        address = read(url, verify=verify)
        context(address)
    except ValueError as error:
        return RedisAdvice([_mistake(f"{error}.", level="error")])
    found = _asked(address, deadline, wall, counts=counts)
    if not (tries and found.about):
        return found
    tried = asyncio.run(_tried(url, deadline, counts=counts, verify=verify))
    return msgspec.structs.replace(found, mistakes=[*found.mistakes, *tried])


class _Said(NamedTuple):
    """What a server says of itself."""

    info: object
    saves: object
    moment: object
    passed: float
    """Seconds that the last answer took."""
    now: float
    """Seconds since the epoch, on this machine, in its middle."""


def _asked(
    address: RedisAddress, deadline: float, wall: Callable[[], float], *, counts: bool
) -> RedisAdvice:
    def questions(redis: sync_client.SyncRedis) -> _Said:
        said = redis.execute_command("INFO")
        try:
            saves = redis.execute_command("CONFIG GET", "save")
        except sync_client.Refused:
            saves = None
        begun, before = time.perf_counter(), wall()
        moment = redis.execute_command("TIME")
        return _Said(said, saves, moment, time.perf_counter() - begun, (before + wall()) / 2)

    try:
        found = sync_client.ask(address, keys("default")[0], deadline, questions)
    except RedisUnanswered as error:
        return RedisAdvice([_gone(str(error), address, counts=counts)])
    if not isinstance(found.info, bytes):
        return RedisAdvice([_gone("it answers something else", address, counts=counts)])
    lines = found.info.decode("utf-8", "replace").splitlines()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    points = _points(found.saves)
    mistakes = [*_place(facts, address), *(_kept(facts, points=points) if counts else ())]
    kind, version = _version(facts)
    about = f"{kind} {version} ({address.where}) answers in {found.passed * 1000:.1f} ms"
    ahead = _ahead(found.moment, found.now)
    if counts and ahead is not None and abs(ahead) > _SKEW:
        side = "ahead of" if ahead > 0 else "behind"
        message = f"its clock is {abs(ahead):.0f} s {side} this machine's: one of them is wrong."
        hint = "Let both follow a time server: budgets begin and end their windows by the clock."
        mistakes.append(_mistake(message, hint))
    return RedisAdvice(mistakes, about=about, lacking=tuple(_vectors(kind, version)))


def _ahead(moment: object, now: float) -> float | None:
    """Seconds that its clock is ahead; None where it does not tell."""
    if not isinstance(moment, tuple) or len(moment) != 2:
        return None
    whole, part = moment
    return int(whole) + int(part) / 1e6 - now


async def _tried(url: str, deadline: float, *, counts: bool, verify: bool) -> list[Mistake]:
    """Return whether values and counters work, by what the gateway itself does."""
    notes: list[str] = []
    redis = RedisStore(
        url, note=notes.append, clock=time.monotonic, deadline=deadline, verify=verify
    )
    try:
        await redis.put(_TRIED, b"well", 1.0)
        kept = await redis.get(_TRIED) == b"well"
        counted = not counts
        if counts:
            try:
                await redis.command(_TRIED, b"HSETNX", b"spent", b"doctor", b"0")
                await redis.run(Script("settle"), _TRIED, _NOTHING)
                await redis.run(Script("sweep"), _TRIED, _FORGET)
                counted = True
            except RedisAway:
                pass
    finally:
        await redis.close()
    said = f" ({notes[0].partition(' (')[0]})" if notes else ""
    hint = "Give it the commands that docs/operating.md names, and room."
    return [
        _mistake(f"{text}{said}.", hint, level="error")
        for well, text in ((kept, "keeps no value"), (counted, "counts nothing"))
        if not well
    ]


def _version(facts: dict[str, str]) -> tuple[str, str]:
    if version := facts.get("valkey_version"):
        return "Valkey", version
    return "Redis", facts.get("redis_version", "")


def _place(facts: dict[str, str], address: RedisAddress) -> list[Mistake]:
    """Whether it is what the URL says, and takes writes."""
    found = []
    if address.tls and address.verify and not checks_name(address):
        message = "ssl_check_hostname=false takes a trusted certificate of any server."
        found.append(_mistake(message, "Leave it out, and name Redis as its certificate does."))
    if address.kind == "single" and facts.get("cluster_enabled") == "1":
        message = f"{address.where} is a node of a Cluster and sends most keys elsewhere."
        found.append(_mistake(message, _FORMS, level="error"))
    if facts.get("role") == "slave" and address.kind == "single":
        message = f"{address.where} is a replica and takes no writes."
        found.append(_mistake(message, "Name its primary, or the sentinels.", level="error"))
    _, version = _version(facts)
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers and numbers < _OLDEST:
        oldest = ".".join(str(one) for one in _OLDEST)
        found.append(_mistake(f"version {version} was never tried.", f"Use {oldest} or later."))
    return found


def _vectors(kind: str, version: str) -> Iterator[Mistake]:
    """Whether it can find near questions for all that share it."""
    number = re.match(r"\d+", version)
    if kind != "Redis" or number is None or int(number[0]) < _VECTORS:
        message = f"{kind} {version} has no vector sets: each process finds its own near questions."
        yield _mistake(message, f"Use Redis {_VECTORS} or later, or leave `cache.near` out.")


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


def _points(saves: object) -> bool | None:
    """Whether snapshots are taken; None where it does not tell."""
    if isinstance(saves, dict) and saves:
        return any(saves.values())
    return None


def _gone(said: str, address: RedisAddress, *, counts: bool) -> Mistake:
    parts = "Limits and budgets follow on_redis_loss" if counts else "Nothing is shared"
    return _mistake(f"cannot be asked: {said} ({address.where}).", f"{parts} until it can.")


def _mistake(message: str, hint: str = "", level: str = "warning") -> Mistake:
    if level == "error":
        return Mistake(file="REDIS_URL", message=message, hint=hint)
    return Mistake(level="warning", file="REDIS_URL", message=message, hint=hint)
