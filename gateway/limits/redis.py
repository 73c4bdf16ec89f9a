"""A counter store in Redis, for several processes and machines.

Admit, extend and settle each run one script for each owner whose counters a call needs. If a call
needs counters of both owners, the store sends both scripts at once. One server runs them in the
order in which they are sent. The calls of one process share one connection.

Redis's own clock counts, so machines with different clocks fill and drain the same buckets. Of the
callers' times only the lifetime of a call counts. The caller chooses the window of a budget by the
counter's name. Near midnight two machines may charge different days, but neither day's limit is
exceeded.

If an answer is lost, Redis may have run the request. A repeated request with the same id takes
nothing twice. `extend` is the exception: it always adds.
"""

import math
from collections.abc import Callable, Coroutine, Iterable, Sequence
from itertools import batched
from typing import Any, Literal, Self
from urllib.parse import quote

import msgspec

from gateway.limits import window
from gateway.limits.counter_epochs import CounterEpochs
from gateway.limits.counters import (
    ALL_SCOPES,
    OPEN_CALL_SECONDS,
    PASSED,
    AdmissionRequest,
    Admitted,
    Answer,
    CounterDemand,
    DrawnCall,
    EndedCall,
    FindRunning,
    LeaseGrant,
    LeaseStore,
    MissingCounter,
    Owner,
    RateState,
    Refusal,
    RunningCall,
    Scopes,
    is_user_counter,
    merge_answers,
)
from gateway.limits.leases import LEASE_SECONDS
from gateway.limits.window import Window
from gateway.state.eager_gather import await_sent
from gateway.state.errors import StoreUnavailable
from gateway.state.redis.health import DEADLINE_SECONDS
from gateway.state.redis.replies import Reply
from gateway.state.redis.scripts import Script, ScriptRunner, make_key, make_keys, make_tag

MAX_NUMBER = 2**53
"""The largest number that a script represents exactly: as micro-USD 9 billion USD."""
_OVER_ANY_LIMIT = 2 * MAX_NUMBER
_MICROS_PER_SECOND = 1_000_000
_HOLD_TTL_MICROS = 2 * 86_400 * _MICROS_PER_SECOND
"""Microseconds in which an expired reservation can still be corrected."""
_SETTLE_BATCH = 256
"""Calls that one script settles at most: Redis serves nobody else meanwhile."""
_ADMIT_SCRIPT, _SETTLE_SCRIPT, _SWEEP_SCRIPT = Script("meter"), Script("settle"), Script("sweep")
_RELEASE_SCRIPT, _CLAIM_SCRIPT = Script("release"), Script("claim")
_CLAIM_GRACE_SECONDS = 86_400.0
"""Seconds after the end of a window in which its users stay known."""
_SCAN_COUNT = b"500"
"""The counters of end users that one step of a scan looks at."""
_LEASE_SCRIPT, _DRAW_SCRIPT, _RECLAIM_SCRIPT = Script("lease"), Script("draw"), Script("reclaim")
_encode = msgspec.msgpack.Encoder().encode
_decode_packed = msgspec.msgpack.Decoder(list[int]).decode
_OTHER_EPOCH = _encode((3,))
"""The answer to a request that names another epoch than that of the counters."""
_MAX_EPOCHS = 3
"""Times that the gateway asks while one epoch ends after another."""
QUIET_SECONDS = 3.0
"""Seconds after Redis may have forgotten something in which no budget's counter begins.

Until then each gateway that runs has restored what its calls have reserved, and the ledger has the
calls that ended before.
"""


class RedisCounters:
    """A counter store in Redis or Valkey, single, Sentinel or Cluster."""

    def __init__(
        self,
        scripts: ScriptRunner,
        *,
        time: Literal["server", "caller"] = "server",
        quiet_seconds: float = QUIET_SECONDS,
        claim_first: Callable[[], bool] = bool,
    ) -> None:
        """Use a connection that others may use too; `time` says whose clock counts.

        For `quiet_seconds` after Redis may have forgotten something, no budget's counter begins.
        `claim_first` is as in CounterEpochs.
        """
        self._scripts = scripts
        self._uses_caller_clock = time == "caller"
        self._epochs = CounterEpochs(scripts, self._script_time, quiet_seconds, claim_first)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        note: Callable[[str], None],
        clock: Callable[[], float],
        deadline: float = DEADLINE_SECONDS,
        time: Literal["server", "caller"] = "server",
        quiet_seconds: float = QUIET_SECONDS,
    ) -> Self:
        """Open a connection of its own, as `ScriptRunner` does. Raises ValueError for a bad URL."""
        scripts = ScriptRunner(url, note=note, clock=clock, deadline=deadline)
        return cls(scripts, time=time, quiet_seconds=quiet_seconds)

    def admit(self, request: AdmissionRequest, now: float) -> Coroutine[Any, Any, Answer]:
        """Take all demands or none."""
        return self._admit(request, now, 0)

    def extend(self, request: AdmissionRequest, now: float) -> Coroutine[Any, Any, Answer]:
        """Reserve more for a call that has passed; it then expires at `request.expires_at`."""
        return self._admit(request, now, 1)

    def follow(self, find_running: FindRunning) -> None:
        """Take the function that finds running calls, to restore what Redis has forgotten."""
        self._epochs.find_running = find_running

    @property
    def lease_store(self) -> LeaseStore:
        """The store itself."""
        return self

    async def lease(
        self, owner: Owner, demand: CounterDemand, id: str, amount: int, least: int, now: float
    ) -> LeaseGrant:
        """Lease a slice of a counter, at least `least`, or nothing."""
        epoch = self._epochs.find(owner) or await self._epochs.open(owner, now)
        gateway = id.rpartition(" ")[0]
        life = round(LEASE_SECONDS * _MICROS_PER_SECOND)
        argument = _encode(
            (
                self._script_time(now), gateway, id, demand.field, demand.limit,
                min(amount, MAX_NUMBER), max(1, min(least, MAX_NUMBER)), life, demand.soft, epoch,
            )
        )  # fmt: skip
        keys = (*make_keys(owner), make_key(make_tag(owner), b"gateways"))
        reply = await self._scripts.run_on_keys(_LEASE_SCRIPT, keys, argument)
        if not isinstance(reply, bytes):
            raise StoreUnavailable
        try:
            granted, crosses_soft = msgspec.msgpack.decode(reply, type=tuple[int, int])
        except msgspec.MsgspecError:  # no answer of our script
            raise StoreUnavailable from None
        return LeaseGrant(granted, crosses_soft == 1, epoch)

    async def draw(
        self,
        owner: Owner,
        lease_id: str,
        field: str,
        calls: Sequence[DrawnCall],
        epoch: str,
        now: float,
    ) -> None:
        """Split the reservations of calls off a lease of an epoch."""
        rows = [
            (call.id, max(0, round((call.expires_at - now) * _MICROS_PER_SECOND)), call.amount)
            for call in calls
        ]
        argument = _encode((self._script_time(now), lease_id, field, rows, epoch))
        if await self._scripts.run(_DRAW_SCRIPT, owner, argument) == -1:
            await self._epochs.open(owner, now)  # ends the leases of that epoch
            raise StoreUnavailable

    async def reclaim(self, owner: Owner, lease_id: str, drawn: int) -> bool:
        """Return a dead gateway's lease, except for the micro-USD that its calls have drawn.

        Return False if the counter has not begun: try again later.
        """
        return await self._scripts.run(_RECLAIM_SCRIPT, owner, _encode((lease_id, drawn))) == 1

    async def confirm(self, owner: Owner, now: float) -> None:
        """Restore what running calls have reserved of an owner, if Redis has forgotten it."""
        await self._epochs.open(owner, now)

    async def find_loss_age(self, owner: Owner, now: float) -> float | None:
        """Return the seconds since counters may begin after a loss; None if there was none."""
        seed_at = await self._scripts.run_command(owner, b"HGET", b"told", b"!seed_at")
        if not isinstance(seed_at, bytes):
            return None
        time = self._script_time(now) or await self._read_time(owner)
        return (time - int(seed_at)) / _MICROS_PER_SECOND

    async def _read_time(self, owner: Owner) -> int:
        """Return the time of the server in microseconds."""
        match await self._scripts.execute(make_keys(owner)[0], b"TIME"):
            case [bytes(seconds), bytes(micros)]:
                return int(seconds) * _MICROS_PER_SECOND + int(micros)
        raise StoreUnavailable

    async def restore(self, owner: Owner, calls: Iterable[RunningCall], now: float) -> None:
        """Reserve what running calls have reserved of an owner, where Redis has forgotten it."""
        await self._epochs.restore(owner, calls, now)

    async def seed(self, owner: Owner, field: str, value: int) -> None:
        """Start a missing counter at the amount spent; leave an existing one alone."""
        amount = b"%d" % min(max(0, value), MAX_NUMBER)
        name = b"users" if is_user_counter(field) else b"spent"
        await self._scripts.run_command(owner, b"HSETNX", name, field.encode(), amount)

    async def settle(self, tenant: str, id: str, tokens: int | None, micro_usd: int | None) -> bool:
        """Replace what a call of a tenant reserved with what it used."""
        argument = _encode(((id, _to_script_amount(tokens), _to_script_amount(micro_usd)),))
        replies = [
            await self._scripts.run(_SETTLE_SCRIPT, owner, argument) for owner in (None, tenant)
        ]
        return 1 in replies

    async def settle_all(
        self, tenant: str, ended_calls: Sequence[EndedCall], scopes: Scopes = ALL_SCOPES
    ) -> None:
        """Settle several calls at once; they have reserved nothing of owners outside `scopes`."""
        # `batched` allocates a whole batch even for one call, as most settlements have.
        for start in range(0, len(ended_calls), _SETTLE_BATCH):
            batch = ended_calls[start : start + _SETTLE_BATCH]
            rows = _encode(
                [
                    (id, _to_script_amount(tokens), _to_script_amount(micro_usd))
                    for id, tokens, micro_usd in batch
                ]
            )
            owners = [None if all_tenants else tenant for all_tenants in scopes]
            running = [self._scripts.run(_SETTLE_SCRIPT, owner, rows) for owner in owners]
            await await_sent(*running)

    async def claim_user(
        self, tenant: str, key: str, user: str, window: Window, max_users: int, now: float
    ) -> bool:
        """Return True if an end user of a key has counters of its own in a window."""
        group = f"users:{quote(key, safe='')}|{window.name}".encode()
        lifetime = 0 if window.end is None else math.ceil(window.end - now + _CLAIM_GRACE_SECONDS)
        redis_key = make_key(make_tag(tenant), group)
        argument = _encode((user, max_users, lifetime))
        return await self._scripts.run_on_keys(_CLAIM_SCRIPT, (redis_key,), argument) == 1

    async def read_counters(self, owner: Owner) -> dict[str, int]:
        """Return each counter of money and shares, by field, without those of end users."""
        reply = await self._scripts.run_command(owner, b"HGETALL", b"spent")
        items = reply if isinstance(reply, list) else []
        texts = [item.decode() for item in items if isinstance(item, bytes)]
        return {field: int(value) for field, value in zip(texts[::2], texts[1::2], strict=True)}

    async def sweep(self, owner: Owner, now: float) -> None:
        """Remove the counters of ended windows, and rates that have given all back."""
        counters = await self.read_counters(owner)
        ended_fields = [
            field for field in counters if window.has_ended(field.rpartition("|")[2], now)
        ]
        cursor = "0"
        while True:
            reply = await self._scripts.run(
                _SWEEP_SCRIPT, owner, _encode((self._script_time(now), cursor, ended_fields))
            )
            if not isinstance(reply, bytes) or reply == b"0":
                break
            cursor, ended_fields = reply.decode(), []
        await self._sweep_users(owner, now)

    async def _sweep_users(self, owner: Owner, now: float) -> None:
        """Remove the counters of end users for ended windows, some at a time."""
        cursor = b"0"
        while True:
            reply = await self._scripts.run_command(
                owner, b"HSCAN", b"users", cursor, b"COUNT", _SCAN_COUNT
            )
            match reply:
                case [bytes(next_cursor), list(items)]:
                    fields = [item.decode() for item in items[::2] if isinstance(item, bytes)]
                case _:
                    return
            ended_fields = [
                field for field in fields if window.has_ended(field.rpartition("|")[2], now)
            ]
            if ended_fields:
                argument = _encode((self._script_time(now), "0", ended_fields))
                await self._scripts.run(_SWEEP_SCRIPT, owner, argument)
            if next_cursor == b"0":
                return
            cursor = next_cursor

    async def close(self) -> None:
        """Close the connection."""
        await self._scripts.close()

    async def _admit(self, request: AdmissionRequest, now: float, extends: int) -> Answer:
        if not request.demands:
            return PASSED
        options = request.options
        demands = [demand for option in options for demand in option]
        if max([demand.amount for demand in demands]) > MAX_NUMBER:
            request = _clamp_amounts(request)
            options = request.options
        scopes = [*request.held_scopes, *[demand.all_tenants for demand in demands]]
        if not (True in scopes and False in scopes):
            owner = None if True in scopes else request.tenant
            return await self._admit_for_owner(request, options, owner, now, extends)
        if request.fallbacks:
            return await self._admit_by_option(request, now, extends)
        return await self._admit_option(request, request.demands, now, extends)

    async def _admit_by_option(self, request: AdmissionRequest, now: float, extends: int) -> Answer:
        """Ask for each option by itself, since no script sees the counters of both owners."""
        choice = 0
        exhausted: list[CounterDemand] = []
        while True:
            answer = await self._admit_option(request, request.options[choice], now, extends)
            if isinstance(answer, MissingCounter):
                return answer
            if isinstance(answer, Admitted):
                return Admitted(answer.warnings, choice, tuple(exhausted), answer.rates)
            next_choice = request.next_choice(choice, answer.demand)
            if next_choice is None:
                return Refusal(
                    answer.demand,
                    answer.retry_after,
                    choice,
                    tuple(exhausted),
                    answer.busy,
                    answer.left,
                    answer.rates,
                )
            if not answer.busy:
                exhausted.append(answer.demand)
            choice = next_choice

    async def _admit_option(
        self, request: AdmissionRequest, demands: Sequence[CounterDemand], now: float, extends: int
    ) -> Answer:
        """Take the demands of one option: those of all tenants, and those of the call's tenant.

        If one owner refuses, give back what the other has granted. No caller waits for that: the
        server runs it before later commands of this connection.
        """
        shared_demands = tuple([demand for demand in demands if demand.all_tenants])
        own_demands = tuple([demand for demand in demands if not demand.all_tenants])
        has_shared = bool(shared_demands) or True in request.held_scopes
        has_own = bool(own_demands) or False in request.held_scopes
        if not (has_own and has_shared):
            if has_shared:
                return await self._admit_for_owner(request, (shared_demands,), None, now, extends)
            if has_own:
                return await self._admit_for_owner(
                    request, (own_demands,), request.tenant, now, extends
                )
            return PASSED
        shared_answer, own_answer = await await_sent(
            self._admit_for_owner(request, (shared_demands,), None, now, extends),
            self._admit_for_owner(request, (own_demands,), request.tenant, now, extends),
        )
        if isinstance(shared_answer, Admitted) and isinstance(own_answer, Admitted):
            warnings = (*shared_answer.warnings, *own_answer.warnings)
            rates = (*shared_answer.rates, *own_answer.rates)
            return Admitted(warnings, rates=rates) if warnings or rates else PASSED
        rates = tuple[RateState, ...]()
        for owner, owner_demands, answer in (
            (None, shared_demands, shared_answer),
            (request.tenant, own_demands, own_answer),
        ):
            if isinstance(answer, Admitted):
                self._release(request, owner_demands, owner, answer)
                rates += tuple([state.give_back() for state in answer.rates])
            elif isinstance(answer, Refusal):
                rates += answer.rates
        merged = merge_answers(shared_answer, own_answer)
        if rates and isinstance(merged, Refusal):
            return msgspec.structs.replace(merged, rates=rates)
        return merged

    def _release(
        self,
        request: AdmissionRequest,
        demands: Sequence[CounterDemand],
        owner: Owner,
        answer: Admitted,
    ) -> None:
        """Give back what an owner has granted to a call."""
        warned_fields = [demand.field for demand in answer.warnings]
        ends_hold = 0 if (owner is None) in request.held_scopes else 1
        argument = _encode((request.id, ends_hold, demands, warned_fields))
        self._scripts.tell_script(_RELEASE_SCRIPT, owner, argument)

    def _admit_for_owner(
        self,
        request: AdmissionRequest,
        options: tuple[tuple[CounterDemand, ...], ...],
        owner: Owner,
        now: float,
        extends: int,
    ) -> Coroutine[Any, Any, Answer]:
        """Take the demands of one option on the counters of one owner; return the answer to await.

        If the epoch of the owner is known, this sends the request before it returns. The second
        option belongs to the first of `request.fallbacks`, and so on.
        """
        needs_epoch = True in [demand.needs_seed for option in options for demand in option]
        # Nothing waits between this look and the sending on the same connection.
        epoch = self._epochs.find(owner) if needs_epoch else ""
        lifetime_micros = max(0, round((request.expires_at - now) * _MICROS_PER_SECOND))
        seeds = [
            (field, spent) for seed_owner, field, spent in request.seeds if seed_owner == owner
        ]

        parts = (
            request.id,
            self._script_time(now),
            lifetime_micros,
            extends,
            _HOLD_TTL_MICROS,
            options[0],
            request.fallbacks if len(options) > 1 else (),
            seeds,
        )
        replying = None if epoch is None else self._send(owner, parts, epoch)
        return self._read_answer(options, owner, now, parts, replying)

    def _send(
        self, owner: Owner, parts: tuple[object, ...], epoch: str
    ) -> Coroutine[Any, Any, Reply]:
        """Send a request whose argument has these parts before the epoch."""
        return self._scripts.run(_ADMIT_SCRIPT, owner, _encode((*parts, epoch)))

    async def _read_answer(
        self,
        options: tuple[tuple[CounterDemand, ...], ...],
        owner: Owner,
        now: float,
        parts: tuple[object, ...],
        replying: Coroutine[Any, Any, Reply] | None,
    ) -> Answer:
        """Read the answer of an owner; send the request (again) once an epoch is opened."""
        for _ in range(_MAX_EPOCHS):
            if replying is None:
                replying = self._send(owner, parts, await self._epochs.open(owner, now))
            reply = await replying
            if reply == 0:
                return PASSED
            if reply != _OTHER_EPOCH:
                return _parse_reply(options, reply)
            replying = None
        await self._epochs.open(owner, now)
        raise StoreUnavailable

    def _script_time(self, now: float) -> int:
        """Return the time for scripts in microseconds; 0 is Redis's own clock."""
        return round(now * _MICROS_PER_SECOND) if self._uses_caller_clock else 0


def _clamp_amounts(request: AdmissionRequest) -> AdmissionRequest:
    """Return a request with amounts that a script can represent.

    An amount above every limit stays above it.
    """

    def clamp(demands: tuple[CounterDemand, ...]) -> tuple[CounterDemand, ...]:
        amounts = [min(demand.amount, _OVER_ANY_LIMIT) for demand in demands]
        pairs = zip(demands, amounts, strict=True)
        return tuple(msgspec.structs.replace(demand, amount=amount) for demand, amount in pairs)

    fallbacks = tuple((tier, clamp(needs)) for tier, needs in request.fallbacks)
    return msgspec.structs.replace(request, demands=clamp(request.demands), fallbacks=fallbacks)


def _to_script_amount(value: int | None) -> int:
    return -1 if value is None else min(max(0, value), MAX_NUMBER)


def _parse_reply(options: Sequence[Sequence[CounterDemand]], reply: Reply) -> Answer:
    """Read an answer that has a message. Raises StoreUnavailable if it is not in our format."""
    try:
        if isinstance(reply, list):  # an answer with rates
            answer_reply, states = reply
            rates = _decode_numbers(states)
            if answer_reply == 0:
                return Admitted(rates=_parse_rates(options[0], rates))
            answer = _parse_answer(options, *_decode_numbers(answer_reply))
            if isinstance(answer, MissingCounter):
                return answer
            return msgspec.structs.replace(
                answer, rates=_parse_rates(options[answer.choice], rates)
            )
        return _parse_answer(options, *_decode_numbers(reply))
    except (msgspec.MsgspecError, TypeError, ValueError, IndexError):  # no answer of our scripts
        raise StoreUnavailable from None


def _decode_numbers(data: Reply) -> list[int]:
    """Return packed numbers. Raises TypeError, MsgspecError."""
    if not isinstance(data, bytes):
        raise TypeError
    return _decode_packed(data)


def _parse_rates(demands: Sequence[CounterDemand], numbers: list[int]) -> tuple[RateState, ...]:
    """Read the position of each rate, what it has left, and microseconds until all is back."""
    return tuple(
        [
            RateState(
                demands[position - 1], left, None if micros < 0 else micros / _MICROS_PER_SECOND
            )
            for position, left, micros in batched(numbers, 3)
        ]
    )


def _parse_answer(
    options: Sequence[Sequence[CounterDemand]], status: int, choice: int, *values: int
) -> Answer:
    if choice >= len(options):  # a stored answer to a request with more options
        return PASSED
    demands = options[choice]
    if status == 2:
        opens_in, *positions = values
        demand, *other_demands = [demands[position - 1] for position in positions]
        opening = opens_in / _MICROS_PER_SECOND
        may_lack_calls = opening > -OPEN_CALL_SECONDS
        return MissingCounter(
            demand, tuple(other_demands), max(0.0, opening), may_lack_calls=may_lack_calls
        )
    end = 1 + 2 * values[0]
    exhausted = tuple(
        options[position][demand_number - 1]
        for position, demand_number in batched(values[1:end], 2)
    )
    if status == 0:
        warnings = tuple(
            demands[position - 1] for position in values[end:] if position <= len(demands)
        )
        return Admitted(warnings, choice, exhausted)
    position, wait, is_busy, left = values[end:]
    seconds = wait / _MICROS_PER_SECOND if wait >= 0 else None
    return Refusal(
        demands[position - 1],
        seconds,
        choice,
        exhausted,
        is_busy == 1,
        left if left >= 0 else None,
    )
