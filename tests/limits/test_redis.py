"""The counter store in Redis believes only answers that its own scripts give."""

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.limits.counters import (
    ALL_SCOPES,
    AdmissionRequest,
    Admitted,
    Answer,
    CounterDemand,
    DrawnCall,
    LeaseGrant,
    MissingCounter,
    RateState,
    Refusal,
)
from gateway.limits.redis import RedisCounters, _encode, _parse_reply
from gateway.state.errors import StoreUnavailable
from gateway.state.redis.replies import Reply
from gateway.state.redis.scripts import Script, ScriptRunner

NEED = CounterDemand(kind="usd", name="all", field="usd|total", limit=9, amount=1)
LOWER = CounterDemand(kind="usd", name="all", field="usd|fast|total", limit=9, amount=1)
ASK = AdmissionRequest(
    id="c1", tenant="default", demands=(NEED,), expires_at=60.0, fallbacks=(("fast", (LOWER,)),)
)
WIDE = msgspec.structs.replace(NEED, field="usd|wide|total", all_tenants=True)
PAIR = AdmissionRequest(id="c1", tenant="default", demands=(WIDE, NEED), expires_at=60.0)


def test_the_store_reads_the_answers_of_its_scripts() -> None:
    assert _parse_reply(ASK.options, _encode((0, 0, 0, 1))) == Admitted((NEED,))
    assert _parse_reply(ASK.options, _encode((0, 1, 1, 0, 1))) == Admitted((), 1, (NEED,))
    assert _parse_reply(ASK.options, _encode((0, 2, 1, 0, 1))) == Admitted()
    assert _parse_reply(ASK.options, _encode((1, 0, 0, 1, 2_500_000, 0, -1))) == Refusal(NEED, 2.5)
    busy = Refusal(NEED, 1.0, busy=True, left=7)
    assert _parse_reply(ASK.options, _encode((1, 0, 0, 1, 1_000_000, 1, 7))) == busy
    assert _parse_reply(ASK.options, _encode((1, 0, 0, 1, -1, 0, 0))) == Refusal(NEED, left=0)
    spent = Refusal(LOWER, None, 1, (NEED,), left=3)
    assert _parse_reply(ASK.options, _encode((1, 1, 1, 0, 1, 1, -1, 0, 3))) == spent
    early = MissingCounter(NEED, (), 0.5, may_lack_calls=True)
    assert _parse_reply(ASK.options, _encode((2, 0, 500_000, 1))) == early
    soon_after = MissingCounter(NEED, may_lack_calls=True)
    assert _parse_reply(ASK.options, _encode((2, 0, -3_599_999_999, 1))) == soon_after
    assert _parse_reply(ASK.options, _encode((2, 0, -3_600_000_000, 1))) == MissingCounter(NEED)


@pytest.mark.parametrize(
    "reply",
    [5, None, [1], b"", b"x", b"half of it", b"\xc1", _encode("no"), _encode(()), _encode((1,)), _encode((1, 0, 0, 1, 1, 0)), _encode((1, 0, 0, 9, 1, 0, 0))],
    ids=repr,
)  # fmt: skip
def test_an_unknown_answer_counts_as_an_unavailable_store(reply: object) -> None:
    """The answer may come from a proxy or another program: nothing is counted."""
    with pytest.raises(StoreUnavailable):
        _parse_reply(ASK.options, reply)  # type: ignore[arg-type]  # what may come


class Answers(ScriptRunner):
    """A script runner that answers what a test says, or is unavailable."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.released: list[str | None] = []
        """Owners whose reservations were released again."""

    async def run(self, script: Script, owner: str | None, argument: bytes) -> Reply:
        return self._next()

    def tell_script(self, script: Script, owner: str | None, argument: bytes) -> None:
        self.released.append(owner)

    async def run_command(
        self, owner: str | None, command: bytes, name: bytes, *words: bytes
    ) -> Reply:
        return self._next()

    def _next(self) -> Reply:
        if not self.replies:
            raise StoreUnavailable
        return self.replies.pop(0)


async def test_every_operation_raises_while_redis_is_unavailable() -> None:
    meter = RedisCounters(Answers())
    for request in (meter.admit(ASK, 1.0), meter.extend(ASK, 1.0), meter.settle("t", "c1", 1, 1),
                  meter.admit(PAIR, 1.0),
                  meter.settle_all("t", [("c1", 1, 1)]), meter.seed("t", "f", 1), meter.read_counters("t")):  # fmt: skip
        with pytest.raises(StoreUnavailable):
            await request


class Connected(Answers):
    """A script runner whose connection changes as a test says."""

    is_cluster = True

    def __init__(self, *replies: Reply, connections: list[object]) -> None:
        super().__init__(*replies)
        self.connections = connections

    def find_connection(self, owner: str | None) -> Any:
        return self.connections.pop(0) if len(self.connections) > 1 else self.connections[0]

    async def run_on_keys(self, script: Script, keys: tuple[bytes, ...], argument: bytes) -> Reply:
        return self._next()


BUDGET = msgspec.structs.replace(NEED, needs_seed=True)


async def test_the_store_reads_the_answers_about_leases() -> None:
    connections: list[object] = [object()]
    granting = RedisCounters(Connected(b"e@1", _encode((5, 1)), connections=connections))
    grant = await granting.lease_store.lease("t", BUDGET, "lease g 1", 9, 3, 1.0)
    assert grant == LeaseGrant(5, True, "e@1")
    for reply in (7, b"x", _encode(())):
        broken = RedisCounters(Connected(b"e@1", reply, connections=connections))
        with pytest.raises(StoreUnavailable):
            await broken.lease("t", BUDGET, "lease g 1", 9, 3, 1.0)


async def test_a_draw_in_another_epoch_opens_the_owner() -> None:
    scripts = Connected(1, -1, b"e@2", connections=[object()])
    store = RedisCounters(scripts)
    call = DrawnCall("c1", 60.0, 9)
    await store.draw("t", "lease g 1", "f", [call], "e@1", 1.0)
    with pytest.raises(StoreUnavailable):
        await store.draw("t", "lease g 1", "f", [call], "e@1", 1.0)
    assert store._epochs.find("t") == "e@2"


async def test_an_owner_is_opened_on_the_connection_that_is_in_use() -> None:
    """If it breaks meanwhile, perhaps another server has answered."""
    request = msgspec.structs.replace(ASK, demands=(BUDGET,), fallbacks=())
    first, second = object(), object()
    scripts = Connected(*[b"e@1"] * 3, 0, connections=[None, first, second, second])
    assert await RedisCounters(scripts).admit(request, 1.0) == Admitted()
    assert scripts.replies == []
    for broken in (
        Connected(b"e@1", b"e@1", b"e@1", connections=[None]),
        Connected(7, connections=[first]),
        Connected(*[b"e@1", _encode((3,))] * 4, connections=[first]),
    ):
        with pytest.raises(StoreUnavailable):
            await RedisCounters(broken).admit(request, 1.0)


async def test_a_client_that_leaves_while_an_owner_is_opened_stops_nobody() -> None:
    opening = asyncio.Event()

    class Slow(Connected):
        async def run_on_keys(
            self, script: Script, keys: tuple[bytes, ...], argument: bytes
        ) -> Reply:
            await opening.wait()
            return await super().run_on_keys(script, keys, argument)

    store = RedisCounters(Slow(b"e@1", connections=[object()]))
    first, second = (asyncio.create_task(store.confirm("t", 1.0)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    opening.set()
    await second
    cancelled = asyncio.create_task(store.confirm("t", 1.0))
    opening.clear()
    await asyncio.sleep(0)
    (task,) = store._epochs._tasks.values()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_a_server_without_a_time_has_no_age_of_a_loss() -> None:
    class Timeless(Answers):
        async def execute(self, key: bytes, *words: bytes) -> Reply:
            assert (key.endswith(b"spent"), words) == (True, (b"TIME",))
            return self._next()

    store = RedisCounters(Timeless(b"1500000", [b"4", b"500000"], b"1500000", 7, None))
    assert await store.find_loss_age("t", 1.0) == 3.0
    with pytest.raises(StoreUnavailable):
        await store.find_loss_age("t", 1.0)
    assert await store.find_loss_age("t", 1.0) is None


async def test_a_sweep_continues_from_its_cursor_to_the_end() -> None:
    ended, kept = b"usd|x|user=a/b|2026-11-24", b"usd|x|user=a/b|total"
    counters = Answers(
        [], b"17", b"0", [b"9", [ended, b"1", kept, b"1"]], b"0", [b"0", [kept, b"1"]]
    )
    await RedisCounters(counters).sweep("t", 4e9)
    assert counters.replies == []


async def test_a_sweep_ends_at_an_unknown_answer() -> None:
    counters = Answers([], b"0", 7, b"left")
    await RedisCounters(counters).sweep("t", 1.0)
    assert counters.replies == [b"left"]


async def test_the_store_settles_many_ended_calls_in_batches() -> None:
    """A long script would hold up all other clients of Redis."""
    counters, ends = Answers(*[1] * 16), [(f"c{at}", 1, 1) for at in range(1_000)]
    meter = RedisCounters(counters)
    for scopes, remaining in (((True,), 12), ((False,), 8), (ALL_SCOPES, 0)):
        await meter.settle_all("t", ends, scopes)
        assert len(counters.replies) == remaining


async def test_the_store_sends_a_huge_amount_as_more_than_any_limit() -> None:
    """The bound holds for the tiers below too: a script has no larger number."""
    huge = msgspec.structs.replace(NEED, amount=10**30)
    ask = msgspec.structs.replace(ASK, fallbacks=(("fast", (huge,)),))
    assert await RedisCounters(Answers(0)).admit(ask, 1.0) == Admitted()


SHOWN = CounterDemand(kind="requests", name="n", field="r", limit=60, period=60.0, is_shown=True)
RATES = _encode((2, 59, 1_500_000))
"""What the script says of its second demand."""


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ([0, RATES], Admitted(rates=(RateState(SHOWN, 59, 1.5),))),
        ([_encode((0, 0, 0, 1)), RATES], Admitted((NEED,), rates=(RateState(SHOWN, 59, 1.5),))),
        ([0, _encode((2, 0, -1))], Admitted(rates=(RateState(SHOWN, 0, None),))),
        (
            [_encode((1, 0, 0, 1, -1, 0, 5)), RATES],
            Refusal(NEED, None, left=5, rates=(RateState(SHOWN, 59, 1.5),)),
        ),
        ([_encode((2, 0, 0, 1)), RATES], MissingCounter(NEED, may_lack_calls=True)),
    ],
    ids=repr,
)
async def test_the_store_reads_what_rates_have_left(reply: Reply, answer: Answer) -> None:
    ask = msgspec.structs.replace(ASK, demands=(NEED, SHOWN))
    assert await RedisCounters(Answers(reply)).admit(ask, 1.0) == answer


@pytest.mark.parametrize(
    "reply",
    [[], [0], [0, 0], [0, b"x"], [0, _encode((2, 59))], [0, _encode((9, 5, 9))], [None, RATES], [0, RATES, 0]],
    ids=repr,
)  # fmt: skip
async def test_other_answers_about_rates_are_none_of_the_script(reply: Reply) -> None:
    ask = msgspec.structs.replace(ASK, demands=(NEED, SHOWN))
    with pytest.raises(StoreUnavailable):
        await RedisCounters(Answers(reply)).admit(ask, 1.0)


@pytest.mark.parametrize(
    ("replies", "released"),
    [
        ((0, 0), []),
        ((0, _encode((1, 0, 0, 1, -1, 0, 5))), [None]),
        ((_encode((1, 0, 0, 1, -1, 0, 5)), 0), ["default"]),
        ((_encode((1, 0, 0, 1, -1, 0, 5)), _encode((1, 0, 0, 1, -1, 0, 5))), []),
    ],
    ids=repr,
)
async def test_the_store_releases_one_owners_reservation_if_the_other_owner_refuses(
    replies: tuple[Reply, ...], released: list[str | None]
) -> None:
    counters = Answers(*replies)
    answer = await RedisCounters(counters).admit(PAIR, 1.0)
    assert isinstance(answer, Refusal) is (replies[-1] != 0 or bool(released))
    assert (counters.released, counters.replies) == (released, [])


@pytest.mark.parametrize("replies", [(0,), (0, b"x"), (b"x", 0)], ids=repr)
async def test_a_call_fails_if_one_of_two_owners_is_unavailable(replies: tuple[Reply, ...]) -> None:
    """The other owner's reservation expires and stays charged: no limit has refused the call."""
    counters = Answers(*replies)
    with pytest.raises(StoreUnavailable):
        await RedisCounters(counters).admit(PAIR, 1.0)
    assert counters.released == []
