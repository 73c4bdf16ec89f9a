"""Checks of a Redis for what would break a promise: its eviction, persistence, role and version."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import NamedTuple

import msgspec

from gateway.settings.errors import Mistake
from gateway.state.errors import StoreUnavailable
from gateway.state.redis.commands import encode_command
from gateway.state.redis.replies import Answer, RedisError
from gateway.state.redis.scripts import Script, list_script_commands, make_keys
from gateway.state.redis.server_connection import describe_error
from gateway.state.redis.servers import RedisServers
from gateway.state.redis.store import KEY_PREFIX, RedisStore
from gateway.state.redis.url import RedisAddress, checks_hostname, parse_url

_VECTOR_SETS_VERSION = 8
"""The first version of Redis with vector sets."""
_OLDEST_VERSION = (6, 2)
"""The oldest version that tiergate was tried with."""
_MAX_SKEW_SECONDS = 2.0
"""The most seconds that two clocks may differ."""
_PROBE_NAME = "doctor"
_SETTLE_ARGUMENT = b"\x91\x93\xa6doctor\xff\xff"
"""The argument of settle.lua for the end of a call without reservations."""
VALUE_COMMANDS = frozenset({b"GETRANGE", b"SET", b"EXISTS"})
"""The commands that the gateway sends for cached values."""
COUNTER_COMMANDS = frozenset(
    {b"EVALSHA", b"EVAL", b"HGET", b"HGETALL", b"HSCAN", b"HSETNX", b"TIME"}
)
"""The commands that the gateway sends for counters, without the commands of its scripts."""
_REMOVING_COMMANDS = frozenset({b"DEL", b"EXPIRE"})
"""Commands that remove what trials of the others have left, and so come last."""
_MAX_TRIAL_WORDS = 8
_WRONG_ARITY = "wrong number of arguments"
_RIGHTS_HINT = "Give it the rights that docs/operating.md names, and room."
_CLUSTER_HINT = "Write redis+cluster://host:port,host:port in place of redis://host:port."


class RedisAdvice(msgspec.Struct, frozen=True):
    """The findings about a Redis."""

    mistakes: list[Mistake]
    near_mistakes: tuple[Mistake, ...] = ()
    """The mistakes that matter only for near questions."""
    summary: str = ""
    """The kind, version and speed of the server; empty if it does not answer."""


def advise(
    url: str, *, has_counters: bool, near: bool = False, deadline: float = 1.0, verify: bool = True
) -> list[Mistake]:
    """Ask the Redis of a URL now, and return its mistakes; each step has `deadline` seconds.

    `has_counters` is True if Redis counts limits or budgets, beside cached values. `near` is True
    if the gateway finds near questions there. `verify` is True to check certificates. In a Cluster
    the node of the default tenant answers for all. The function runs an event loop of its own.
    """
    advice = _diagnose(
        url, deadline, time.time, has_counters=has_counters, probes_commands=False, verify=verify
    )
    return [*advice.mistakes, *(advice.near_mistakes if near else ())]


def examine(
    url: str,
    *,
    has_counters: bool,
    deadline: float = 1.0,
    wall: Callable[[], float] = time.time,
    verify: bool = True,
) -> RedisAdvice:
    """Return the same findings, after a trial of the commands that a gateway sends.

    The trial puts a value for one second. `wall` returns seconds since the epoch.
    """
    return _diagnose(
        url, deadline, wall, has_counters=has_counters, probes_commands=True, verify=verify
    )


def _diagnose(
    url: str,
    deadline: float,
    wall: Callable[[], float],
    *,
    has_counters: bool,
    probes_commands: bool,
    verify: bool,
) -> RedisAdvice:
    try:
        address = parse_url(url, verify=verify)
        servers = RedisServers(address, deadline, deadline)
    except ValueError as error:
        return RedisAdvice([_make_mistake(f"{error}.", level="error")])
    try:
        server_facts = asyncio.run(_read_facts(servers, wall))
    except Exception as error:  # noqa: BLE001 - garbage from a socket raises nearly anything
        reason = describe_error(error)
        return RedisAdvice([_make_unreachable(reason, address, has_counters=has_counters)])
    advice = _judge(server_facts, address, has_counters=has_counters)
    if not (probes_commands and advice.summary):
        return advice
    probe_mistakes = asyncio.run(
        _probe_commands(url, deadline, has_counters=has_counters, verify=verify)
    )
    return msgspec.structs.replace(advice, mistakes=[*advice.mistakes, *probe_mistakes])


class _ServerFacts(NamedTuple):
    """The answers of a server about itself."""

    info: Answer
    save_points: Answer
    server_time: Answer
    round_trip: float
    """The seconds that the last answer took."""
    now: float
    """The time on this machine in the middle of that round trip, in seconds since the epoch."""


async def _read_facts(servers: RedisServers, wall: Callable[[], float]) -> _ServerFacts:
    """Ask the server that has the keys of the default tenant. Raises any error that occurs."""

    async def ask(*words: bytes) -> Answer:
        return await servers.execute(make_keys("default")[0], encode_command(*words))

    try:
        info, save_points = await ask(b"INFO"), await ask(b"CONFIG", b"GET", b"save")
        if isinstance(info, RedisError):
            raise StoreUnavailable(info.describe())
        started_at, wall_start = time.perf_counter(), wall()
        server_time = await ask(b"TIME")
        round_trip = time.perf_counter() - started_at
        return _ServerFacts(info, save_points, server_time, round_trip, (wall_start + wall()) / 2)
    finally:
        await servers.close()


def _judge(server_facts: _ServerFacts, address: RedisAddress, *, has_counters: bool) -> RedisAdvice:
    if not isinstance(server_facts.info, bytes):
        return RedisAdvice(
            [_make_unreachable("it answers something else", address, has_counters=has_counters)]
        )
    lines = server_facts.info.decode("utf-8", "replace").splitlines()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    has_snapshots = _takes_snapshots(server_facts.save_points)
    mistakes = [
        *_check_role(facts, address),
        *(_check_persistence(facts, has_snapshots=has_snapshots) if has_counters else ()),
    ]
    kind, version = _find_version(facts)
    summary = (
        f"{kind} {version} ({address.location}) answers in {server_facts.round_trip * 1000:.1f} ms"
    )
    clock_offset = _compute_clock_offset(server_facts.server_time, server_facts.now)
    if has_counters and clock_offset is not None and abs(clock_offset) > _MAX_SKEW_SECONDS:
        direction = "ahead of" if clock_offset > 0 else "behind"
        message = (
            f"its clock is {abs(clock_offset):.0f} s {direction} this machine's:"
            " one of them is wrong."
        )
        hint = "Let both follow a time server: budgets begin and end their windows by the clock."
        mistakes.append(_make_mistake(message, hint))
    return RedisAdvice(
        mistakes, summary=summary, near_mistakes=tuple(_check_vector_sets(kind, version))
    )


def _compute_clock_offset(server_time: Answer, now: float) -> float | None:
    """Return the seconds by which its clock is ahead; None if it gives no time."""
    match server_time:
        case [bytes(seconds), bytes(micros)]:
            return int(seconds) + int(micros) / 1e6 - now
    return None


async def _probe_commands(
    url: str, deadline: float, *, has_counters: bool, verify: bool
) -> list[Mistake]:
    """Try values and counters as the gateway uses them, and return what does not work."""
    notes: list[str] = []
    redis = RedisStore(
        url, note=notes.append, clock=time.monotonic, deadline=deadline, verify=verify
    )
    needed = VALUE_COMMANDS | (
        COUNTER_COMMANDS | list_script_commands() if has_counters else frozenset()
    )
    refused: list[str] = []
    try:
        with suppress(StoreUnavailable):
            refused = await _list_refused(redis, needed)
        await redis.put(_PROBE_NAME, b"well", 1.0)  # over what the trial of SET has left
        if refused:
            return [_make_mistake(f"refuses {', '.join(refused)}.", _RIGHTS_HINT, level="error")]
        keeps_values = await redis.get(_PROBE_NAME) == b"well"
        counts_calls = not has_counters
        if has_counters:
            with suppress(StoreUnavailable):
                await redis.run(Script("settle"), _PROBE_NAME, _SETTLE_ARGUMENT)
                counts_calls = True
    finally:
        await redis.close()
    note = f" ({notes[0].partition(' (')[0]})" if notes else ""
    return [
        _make_mistake(f"{text}{note}.", _RIGHTS_HINT, level="error")
        for works, text in ((keeps_values, "keeps no value"), (counts_calls, "counts nothing"))
        if not works
    ]


async def _list_refused(redis: RedisStore, commands: AbstractSet[bytes]) -> list[str]:
    """Return the commands that this user may not send. Raises StoreUnavailable.

    The trial writes the key of the probe.
    """
    key = KEY_PREFIX + _PROBE_NAME.encode()
    refused: list[str] = []
    for group in (sorted(commands - _REMOVING_COMMANDS), sorted(commands & _REMOVING_COMMANDS)):
        may_send = await asyncio.gather(*(_may_send(redis, key, command) for command in group))
        refused += [
            command.decode()
            for command, is_allowed in zip(group, may_send, strict=True)
            if not is_allowed
        ]
    return refused


async def _may_send(redis: RedisStore, key: bytes, command: bytes) -> bool:
    """Return True if this user may send a command.

    A server looks for rights once a command has enough words, so the trial adds some.
    """
    words = [command]
    while len(words) < _MAX_TRIAL_WORDS:
        answer = await redis.execute_raw(key, *words)
        if not isinstance(answer, RedisError):
            return True
        if _WRONG_ARITY not in answer.text:
            return answer.code != "NOPERM"
        words.append(b"0" if len(words) > 1 else key)
    return True


def _find_version(facts: dict[str, str]) -> tuple[str, str]:
    if version := facts.get("valkey_version"):
        return "Valkey", version
    return "Redis", facts.get("redis_version", "")


def _check_role(facts: dict[str, str], address: RedisAddress) -> list[Mistake]:
    """Return the mistakes in its role, version and certificate check, compared with the URL."""
    mistakes = []
    if address.tls and address.verify and not checks_hostname(address):
        message = "ssl_check_hostname=false takes a trusted certificate of any server."
        mistakes.append(
            _make_mistake(message, "Leave it out, and name Redis as its certificate does.")
        )
    if address.kind == "single" and facts.get("cluster_enabled") == "1":
        message = f"{address.location} is a node of a Cluster and sends most keys elsewhere."
        mistakes.append(_make_mistake(message, _CLUSTER_HINT, level="error"))
    if facts.get("role") == "slave" and address.kind == "single":
        message = f"{address.location} is a replica and takes no writes."
        mistakes.append(
            _make_mistake(message, "Name its primary, or the sentinels.", level="error")
        )
    _, version = _find_version(facts)
    version_numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if version_numbers and version_numbers < _OLDEST_VERSION:
        oldest = ".".join(str(number) for number in _OLDEST_VERSION)
        mistakes.append(
            _make_mistake(
                f"tiergate is not tested with version {version}.", f"Use {oldest} or later."
            )
        )
    return mistakes


def _check_vector_sets(kind: str, version: str) -> Iterator[Mistake]:
    """Yield a mistake if it cannot find near questions for all gateways that share it."""
    major = re.match(r"\d+", version)
    if kind != "Redis" or major is None or int(major[0]) < _VECTOR_SETS_VERSION:
        message = f"{kind} {version} has no vector sets: each process finds its own near questions."
        yield _make_mistake(
            message, f"Use Redis {_VECTOR_SETS_VERSION} or later, or leave `cache.near` out."
        )


def _check_persistence(facts: dict[str, str], *, has_snapshots: bool | None) -> list[Mistake]:
    """Return the mistakes that can lose counters; `has_snapshots` is None if unknown."""
    mistakes, policy = [], facts.get("maxmemory_policy", "")
    hint = "Set maxmemory-policy to volatile-lru: then Redis evicts only keys with a time to live."
    if policy.startswith("allkeys-"):
        message = f"maxmemory-policy {policy} evicts counters of limits and budgets."
        mistakes.append(_make_mistake(message, hint))
    elif policy == "noeviction" and facts.get("maxmemory", "0") != "0":
        message = (
            "maxmemory-policy noeviction: once cached answers fill Redis, the gateway cannot "
            "count limits."
        )
        mistakes.append(_make_mistake(message, hint))
    if facts.get("aof_enabled") != "0":
        return mistakes
    hint = "Set appendonly to yes."
    if has_snapshots:
        message = (
            "Redis keeps only snapshots: a crash resets counters to the last one, and clients "
            "can overspend budgets by what came later."
        )
        mistakes.append(_make_mistake(message, hint))
    elif has_snapshots is False:
        message = (
            "Redis keeps nothing on disk: after a restart limits begin at zero, and the "
            "gateway rebuilds budgets from the ledger."
        )
        mistakes.append(_make_mistake(message, hint))
    return mistakes


def _takes_snapshots(save_points: Answer) -> bool | None:
    """Return True if it takes snapshots; None if it does not say."""
    match save_points:
        case [bytes(), bytes(text)]:
            return bool(text)
    return None


def _make_unreachable(reason: str, address: RedisAddress, *, has_counters: bool) -> Mistake:
    effect = "Limits and budgets follow on_redis_loss" if has_counters else "Nothing is shared"
    return _make_mistake(
        f"does not answer: {reason} ({address.location}).", f"{effect} until it answers."
    )


def _make_mistake(message: str, hint: str = "", level: str = "warning") -> Mistake:
    if level == "error":
        return Mistake(file="REDIS_URL", message=message, hint=hint)
    return Mistake(level="warning", file="REDIS_URL", message=message, hint=hint)
