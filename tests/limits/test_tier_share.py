"""Thresholds from a key's own traffic: within its bounds, apart from others, over processes."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from gateway.core.call import Call, Key
from gateway.core.decision import Decision
from gateway.core.decision_context import Score, Thresholds
from gateway.core.target import TIERS, Tier
from gateway.limits.tier_share import (
    REFRESH_SECONDS,
    REFRESH_TURNS,
    LoweredTurns,
    RedisTurnPool,
    TurnCounter,
    TurnPool,
    _parse_turns,
)
from gateway.routing.classifier import heuristic
from gateway.routing.tier_share import (
    BOUNDED_INDEX,
    CELL_COUNT,
    COUNTER_COUNT,
    MIN_TURNS,
    RecentTurns,
    ShareBounds,
    choose_tier,
    compute_cut,
    find_cell,
)
from gateway.state.errors import StoreUnavailable
from gateway.state.redis.replies import Reply
from gateway.state.redis.scripts import Script

OWN = Thresholds(0.5, 0.6, "own-1")
MOST = ShareBounds(reasoning=0.10, smart=0.40)
ANN, BOB, EVE = (Key(name=name) for name in ("ann", "bob", "eve"))
OTHER = Key(name="ann", tenant="other")
HARD, PLAIN, EASY = Score(0.1, 0.2), Score(0.3, 0.9), Score(0.9, 1.0)
type Draw = Callable[[random.Random], Score]


def decided(score: Score, tier: Tier, used: Thresholds = OWN) -> Decision:
    return Decision(
        lab="a", tier=tier, source="classifier", classified_tier=tier, score=score, thresholds=used
    )


def call(key: Key, operation: str = "generate") -> Call:
    return Call(
        id="c", dialect="openai-chat", operation=operation, body=b"", key=key,
        received_at=0.0, started_at=0.0,
    )  # fmt: skip


class ShareProcess:
    """One gateway process: decides turns as `classify` does, counts them and renews thresholds."""

    def __init__(self, pool: TurnPool | None = None, most: ShareBounds = MOST) -> None:
        self.traffic = TurnCounter(pool)
        self.traffic.adopt(most, OWN)
        self.at = 1.7e9

    def turn(self, key: Key, score: Score) -> Tier:
        self.at += 0.31
        used, tier = self.traffic.find_thresholds(key), heuristic.choose_tier(score, OWN)
        if used is not None and used.cut is not None:
            tier = choose_tier(score, OWN, used.cut, self.at)
        self.traffic.count_turn(call(key), decided(score, tier, used or OWN))
        return tier

    async def many(self, key: Key, scores: Sequence[Score], every: int = 200) -> Counter[Tier]:
        result = Counter[Tier]()
        for at, score in enumerate(scores):
            if at % every == 0:
                await self.traffic.refresh()
            result[self.turn(key, score)] += 1
        await self.traffic.refresh()
        return result


async def test_a_key_gets_its_own_thresholds_after_min_turns() -> None:
    """Until then it has those of its tenant's turns, and before that none."""
    process = ShareProcess()
    assert (process.traffic.find_thresholds(ANN), process.traffic.find_thresholds(OTHER)) == (
        None,
        None,
    )
    await process.many(ANN, [HARD] * (MIN_TURNS - 1))
    assert process.traffic.find_thresholds(ANN) is None
    await process.many(BOB, [EASY])
    tenant = process.traffic.find_thresholds(ANN)
    assert tenant is not None
    assert tenant.id.startswith("tenant-")
    assert process.traffic.find_thresholds(BOB) == tenant
    await process.many(ANN, [HARD])
    own = process.traffic.find_thresholds(ANN)
    assert own is not None
    assert (own.id.startswith("key-"), own.fast, own.smart) == (True, OWN.fast, OWN.smart)
    assert process.traffic.find_thresholds(BOB) != own
    assert process.traffic.find_thresholds(OTHER) is None


async def test_one_key_does_not_move_the_thresholds_of_another() -> None:
    """Nor does one tenant move the thresholds of another."""
    process = ShareProcess()
    await process.many(ANN, [HARD, PLAIN, EASY, EASY] * 1_000)
    before = process.traffic.find_thresholds(ANN)
    await process.many(EVE, [HARD] * 20_000, every=2_000)
    await process.many(Key(name="eve", tenant="other"), [EASY] * 20_000, every=2_000)
    assert process.traffic.find_thresholds(ANN) == before


async def test_only_classified_turns_are_counted() -> None:
    """Pins, rules and defaults do not count; a turn that keeps its tier is not lowered."""
    process = ShareProcess()
    for tier in TIERS:
        process.traffic.count_turn(call(ANN), Decision(lab="a", tier=tier, source="pin"))
    process.traffic.count_turn(
        call(ANN), Decision(lab="a", tier="fast", source="default", score=EASY)
    )
    unchanged = Decision(lab="a", tier="fast", source="seat", classified_tier="fast", score=EASY)
    process.traffic.count_turn(call(ANN), unchanged)
    process.traffic.count_turn(call(ANN, "count_tokens"), decided(HARD, "reasoning"))
    assert sum(process.traffic.turns_by_tier.values()) == 0
    process.traffic.count_turn(call(ANN), decided(HARD, "reasoning"))
    process.traffic.count_turn(call(ANN), decided(HARD, "smart"))
    assert process.traffic.turns_by_tier == {"fast": 0, "smart": 1, "reasoning": 1}
    assert process.traffic.lowered_count == 1
    process.traffic.count_turn(call(ANN), decided(HARD, "smart"))
    metrics = [
        (metric.name, metric.help, metric.read()) for metric in process.traffic.build_metrics()
    ]
    assert metrics == [
        ("turns_fast", "Classified turns that went to fast.", 0),
        ("turns_smart", "Classified turns that went to smart.", 2),
        ("turns_reasoning", "Classified turns that went to reasoning.", 1),
        ("turns_lowered", "Those that a bound sent lower.", 2),
    ]


async def test_the_gateway_alerts_once_an_hour_that_it_lowers_a_keys_turns() -> None:
    """The alert names the last call, and how many turns were lowered since the alert before."""
    alerts: list[LoweredTurns] = []
    traffic = TurnCounter(alert=alerts.append)
    traffic.adopt(MOST, OWN)

    def note(at: float, key: Key = ANN, tier: Tier = "smart") -> None:
        process = msgspec.structs.replace(call(key), id=f"c{at:g}", received_at=at)
        traffic.count_turn(process, decided(HARD, tier))

    note(100, tier="reasoning")
    assert alerts == []
    for at in (101.0, 102.0, 3_700.0, 3_701.0):
        note(at)
    note(102, OTHER)
    first_alert = LoweredTurns(tenant="default", key="ann", call="c101", wanted="reasoning", tier="smart", turns=1)  # fmt: skip
    second_alert = msgspec.structs.replace(first_alert, call="c3701", turns=3)
    other = msgspec.structs.replace(first_alert, tenant="other", call="c102")
    assert alerts == [first_alert, second_alert, other]
    assert traffic.lowered_count == 5


async def test_the_gateway_also_alerts_when_a_bound_refuses_a_higher_tier() -> None:
    """The bound keeps the conversation on its tier, and the operator hears of it.

    If the conversation is on a higher tier anyway, the bound has moved nothing. Neither case counts
    as a turn that the classifier decided.
    """
    alerts: list[LoweredTurns] = []
    traffic = TurnCounter(alert=alerts.append)
    traffic.adopt(MOST, OWN)
    stays = msgspec.structs.replace(decided(HARD, "smart"), source="seat")
    traffic.count_turn(call(ANN), msgspec.structs.replace(stays, tier="reasoning"))
    assert (alerts, traffic.lowered_count) == ([], 0)
    traffic.count_turn(call(ANN), stays)
    assert [(process.wanted, process.tier) for process in alerts] == [("reasoning", "smart")]
    assert (traffic.lowered_count, sum(traffic.turns_by_tier.values())) == (1, 0)


async def test_a_new_configuration_takes_effect_at_once() -> None:
    """New bounds apply to earlier turns; another classifier starts anew.

    Without bounds or a classifier's thresholds there are none.
    """
    process = ShareProcess()
    await process.many(ANN, [HARD] * MIN_TURNS)
    before = process.traffic.find_thresholds(ANN)
    process.traffic.adopt(ShareBounds(reasoning=0.5), OWN)
    await process.traffic.refresh()
    other = process.traffic.find_thresholds(ANN)
    assert other is not None
    assert before is not None
    assert other.id != before.id
    process.traffic.adopt(MOST, Thresholds(0.5, 0.6, "own-2"))
    assert process.traffic.find_thresholds(ANN) is None
    for most, own in ((None, OWN), (MOST, None)):
        process.traffic.adopt(most, own)
        await process.many(ANN, [HARD] * MIN_TURNS)
        assert process.traffic.find_thresholds(ANN) is None


def even(chance: random.Random) -> Score:
    fast = chance.random()
    return Score(fast, max(fast, chance.random()))


def judged(chance: random.Random) -> Score:
    """Draw one of three scores."""
    return chance.choices([HARD, PLAIN, EASY], [50, 40, 10])[0]


def bimodal(chance: random.Random) -> Score:
    if chance.random() < 0.5:
        return Score(chance.betavariate(30, 3), 1.0)
    fast = chance.betavariate(2, 30)
    return Score(fast, max(fast, chance.betavariate(2, 8)))


def easy(chance: random.Random) -> Score:
    return chance.choices([EASY, PLAIN, HARD], [80, 15, 5])[0]


def hard(chance: random.Random) -> Score:
    return Score(0.01 * chance.random(), 0.02 + 0.1 * chance.random())


async def shares(
    process: ShareProcess, key: Key, draw: Draw, seed: int, turns: int
) -> dict[Tier, float]:
    chance = random.Random(seed)
    result = await process.many(key, [draw(chance) for _ in range(turns)])
    return {tier: result[tier] / turns for tier in TIERS}


async def test_each_key_keeps_within_two_points_of_its_bounds() -> None:
    """The test uses new turns, and scores that are even, few, bimodal or low."""
    process = ShareProcess()
    cases = {"even": (even, 0.10, 0.40), "judged": (judged, 0.10, 0.40), "bimodal": (bimodal, 0.10, 0.40), "easy": (easy, 0.05, 0.15)}  # fmt: skip
    for name, (draw, reasoning, smart) in cases.items():
        key = Key(name=name)
        await shares(process, key, draw, 1, MIN_TURNS)
        result = await shares(process, key, draw, 2, 5_000)
        assert result["reasoning"] == pytest.approx(reasoning, abs=0.02), name
        assert result["smart"] == pytest.approx(smart, abs=0.02), name


async def test_after_the_traffic_changes_each_key_meets_its_bounds_again() -> None:
    """Traffic turns from easy to hard and back: two renewals of the counts are enough."""
    process = ShareProcess()
    await shares(process, ANN, easy, 1, 5_000)
    await shares(process, ANN, hard, 2, 2 * MIN_TURNS)
    result = await shares(process, ANN, hard, 3, 4_000)
    assert result["reasoning"] == pytest.approx(0.10, abs=0.02)
    assert result["smart"] == pytest.approx(0.40, abs=0.02)
    await shares(process, ANN, easy, 4, 2 * MIN_TURNS)
    assert (await shares(process, ANN, easy, 5, 4_000))["smart"] == pytest.approx(0.15, abs=0.02)


async def test_a_new_key_is_read_from_the_pool_at_once() -> None:
    """The gateway asks other processes for a new key at once, and otherwise every few seconds."""
    process, sleeps = ShareProcess(), list[float]()
    waiting = asyncio.Event()

    async def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        waiting.set()
        await asyncio.Event().wait()

    async def wait_for_sleep() -> None:
        """Wait until the task sleeps; fail if it has ended."""
        waiter = asyncio.ensure_future(waiting.wait())
        await asyncio.wait([waiter, task], return_when=asyncio.FIRST_COMPLETED)
        assert waiting.is_set()
        waiting.clear()

    task = asyncio.create_task(process.traffic.refresh_periodically(sleep))
    await wait_for_sleep()
    process.traffic.find_thresholds(ANN)
    await wait_for_sleep()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sleeps == [REFRESH_SECONDS, REFRESH_SECONDS]


class Hashes:
    """A turn pool in memory that tests can make unavailable."""

    def __init__(self) -> None:
        self.turns: dict[tuple[str, str], RecentTurns] = {}
        self.lost = False
        self.request_count = 0

    async def add(self, tenant: str, name: str, counts: Sequence[int]) -> RecentTurns:
        self.request_count += 1
        if self.lost:
            raise StoreUnavailable
        result = self.turns.setdefault((tenant, name), RecentTurns())
        result.add(counts)
        return RecentTurns(list(result.previous), list(result.current))


async def test_processes_share_their_counts() -> None:
    """Two processes count half of the turns each; a third has thresholds before its first turn."""
    pool = Hashes()
    process, two, three = ShareProcess(pool), ShareProcess(pool), ShareProcess(pool)
    chance = random.Random(3)
    await process.many(ANN, [even(chance) for _ in range(MIN_TURNS // 2)])
    assert process.traffic.find_thresholds(ANN) is None
    await two.many(ANN, [even(chance) for _ in range(MIN_TURNS // 2)])
    assert two.traffic.find_thresholds(ANN) is not None
    assert three.traffic.find_thresholds(ANN) is None
    await three.traffic.refresh()
    assert three.traffic.find_thresholds(ANN) == two.traffic.find_thresholds(ANN)


async def test_losing_the_pool_loses_no_turn() -> None:
    """The process goes on alone, asks the pool once per refresh, and reports its counts later."""
    pool = Hashes()
    process = ShareProcess(pool)
    await process.many(ANN, [EASY] * MIN_TURNS)
    await process.many(BOB, [EASY])
    before, pool.lost, pool.request_count = process.traffic.find_thresholds(ANN), True, 0
    for key in (ANN, BOB):
        process.turn(key, HARD)
    await process.traffic.refresh()
    assert pool.request_count == 1
    await process.many(ANN, [HARD] * MIN_TURNS)
    alone = process.traffic.find_thresholds(ANN)
    assert alone is not None
    assert alone != before
    pool.lost = False
    await process.many(ANN, [HARD])
    assert (
        pool.turns["default", "key|own-1|0.5|0.6|ann"].counts[find_cell(HARD, OWN)] == MIN_TURNS + 2
    )
    assert pool.turns["default", "key|own-1|0.5|0.6|bob"].turn_count == 2


async def test_a_turn_that_comes_during_a_refresh_is_sent_with_the_next() -> None:
    process = ShareProcess()

    class Late(Hashes):
        async def add(self, tenant: str, name: str, counts: Sequence[int]) -> RecentTurns:
            if not self.request_count:
                process.turn(ANN, HARD)
            return await super().add(tenant, name, counts)

    pool = Late()
    process.traffic = TurnCounter(pool)
    process.traffic.adopt(MOST, OWN)
    process.turn(ANN, HARD)
    for _ in range(2):
        await process.traffic.refresh()
    assert sorted(process.turn_count for process in pool.turns.values()) == [2, 2]


async def test_a_pool_that_lost_its_counts_removes_no_thresholds() -> None:
    pool = Hashes()
    process = ShareProcess(pool)
    await process.many(ANN, [HARD] * MIN_TURNS)
    before = process.traffic.find_thresholds(ANN)
    pool.turns.clear()
    await process.many(ANN, [EASY] * 10)
    assert process.traffic.find_thresholds(ANN) == before
    assert before is not None
    assert before.cut is not None
    result = (before.cut.reasoning, before.cut.smart)
    assert result == pytest.approx((0.332, 0.335), abs=0.01)


@pytest.mark.parametrize(
    "reply",
    [5, None, b"x", [b"1"], [b"1", 2], [1, b"2"], [b"x", b"1"], [b"1", b"x"], [b"999", b"1"], [b"-1", b"1"], [b"1", b"-1"], [b"before", b"\xc1"], [b"before", b"\x91\x01"]],
    ids=repr,
)  # fmt: skip
def test_an_unknown_reply_counts_as_an_unavailable_pool(reply: Reply) -> None:
    with pytest.raises(StoreUnavailable):
        _parse_turns(reply)


def test_a_reply_has_the_counts_of_this_generation_and_of_the_one_before() -> None:
    """The first cell counts, and a count may be 0."""
    before = msgspec.msgpack.encode([0, 3, 2, 0])
    turns = _parse_turns([b"size", b"9", b"0", b"5", b"1", b"0", b"before", before])
    assert (turns.current[:3], turns.previous[:3]) == ([5, 0, 0], [3, 0, 0])
    assert turns.turn_count == 8


class ScriptSpy:
    """Runs no script, and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[Script, tuple[bytes, ...], Any]] = []

    async def run_on_keys(self, script: Script, keys: tuple[bytes, ...], argument: bytes) -> Reply:
        self.requests.append((script, keys, msgspec.msgpack.decode(argument)))
        return [b"0", b"5"]


async def test_a_turn_pool_sends_the_cells_that_have_turns_to_the_hash_of_a_name() -> None:
    """The hash expires after 30 days in which no process adds to it."""
    spy = ScriptSpy()
    pool = RedisTurnPool(spy)  # type: ignore[arg-type]  # the only method that it calls
    counts = [0] * COUNTER_COUNT
    counts[0], counts[3] = 2, 7
    assert (await pool.add("acme", "key|ann", counts)).current[0] == 5
    await pool.add("acme", "key|bob", counts)
    await pool.add("other", "key|ann", counts)
    (script, keys, argument), *_ = spy.requests
    assert script.sha == Script("recent").sha
    assert argument == [MIN_TURNS, 30 * 86_400, CELL_COUNT, [0, 2, 3, 7]]
    names = [request[1][0] for request in spy.requests]
    assert (len(keys), len(set(names))) == (1, 3)
    for name, tenant in zip(names, (b"{acme}", b"{acme}", b"{other}"), strict=True):
        start, digest = name.split(b"turns:")
        assert start == b"tiergate:" + tenant + b":1:"
        assert len(digest) == 24


def test_before_there_are_bounds_nothing_is_counted() -> None:
    traffic = TurnCounter()
    assert traffic.find_thresholds(ANN) is None
    traffic.count_turn(call(ANN), decided(HARD, "smart"))
    assert sum(traffic.turns_by_tier.values()) == traffic.lowered_count == 0


def test_a_turn_is_lowered_if_the_classifiers_own_thresholds_say_more() -> None:
    """Evidence may have raised it again since; a default is no turn of the classifier."""
    process = ShareProcess()
    process.traffic.count_turn(call(ANN), decided(Score(0.51, 0.9), "fast"))
    default = Decision(lab="a", tier="fast", source="default", score=HARD)
    process.traffic.count_turn(call(ANN), default)
    assert process.traffic.lowered_count == 0
    raised = msgspec.structs.replace(decided(HARD, "smart"), tier="reasoning")
    process.traffic.count_turn(call(ANN), raised)
    assert process.traffic.lowered_count == 1


async def test_the_turns_that_a_keys_own_cut_bounds_are_counted_by_tier() -> None:
    """By them the gateway corrects the cut. Turns before the cut, or by that of the tenant, do not
    count.
    """
    pool = Hashes()
    process = ShareProcess(pool)
    await process.many(ANN, [HARD] * MIN_TURNS)
    counts = pool.turns["default", "key|own-1|0.5|0.6|ann"]
    assert counts.counts[BOUNDED_INDEX:] == [0, 0, 0]
    for tier in ("reasoning", "smart", "smart", "fast"):
        process.traffic.count_turn(call(ANN), decided(HARD, tier))
    process.traffic.count_turn(call(BOB), decided(HARD, "smart"))
    await process.traffic.refresh()
    assert counts.counts[BOUNDED_INDEX:] == [4, 1, 2]
    assert pool.turns["default", "key|own-1|0.5|0.6|bob"].counts[BOUNDED_INDEX:] == [0, 0, 0]
    assert pool.turns["default", "tenant|own-1|0.5|0.6"].turn_count == MIN_TURNS + 5


async def test_many_new_turns_of_a_key_start_a_refresh() -> None:
    process = ShareProcess()
    process.turn(ANN, EASY)
    for _ in range(2):
        await process.traffic.refresh()
        for _ in range(REFRESH_TURNS - 1):
            process.turn(ANN, EASY)
        assert not process.traffic._refresh_event.is_set()
        process.turn(ANN, EASY)
        assert process.traffic._refresh_event.is_set()


async def test_a_refresh_without_new_turns_or_calls_asks_no_pool() -> None:
    pool = Hashes()
    process = ShareProcess(pool)
    process.turn(ANN, EASY)
    await process.traffic.refresh()
    asked = pool.request_count
    await process.traffic.refresh()
    assert pool.request_count == asked == 2  # for the key and for its tenant
    process.traffic.find_thresholds(ANN)
    await process.traffic.refresh()
    assert pool.request_count == 4


async def test_thresholds_have_the_bounds_six_digits_and_a_short_id() -> None:
    process = ShareProcess()
    await process.many(ANN, [even(random.Random(9)) for _ in range(MIN_TURNS)])
    own = process.traffic.find_thresholds(ANN)
    assert own is not None
    assert own.cut is not None
    assert own.bounds == (MOST.reasoning, MOST.smart)
    assert (len(own.id), own.id[:4]) == (16, "key-")
    cut = compute_cut(process.traffic._key_scopes["default", "ann"].recent_turns.counts, MOST)
    assert (own.cut.reasoning, own.cut.smart) == (round(cut.reasoning, 6), round(cut.smart, 6))
    assert (own.cut.reasoning, own.cut.smart) != (cut.reasoning, cut.smart)
