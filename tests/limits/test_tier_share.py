"""Thresholds from a key's own traffic: within its bounds, apart from others, over processes."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import pytest

from gateway.core.call import Call, Key
from gateway.core.decision import Decision
from gateway.core.decision_context import Score, Thresholds
from gateway.core.target import TIERS, Tier
from gateway.limits.tier_share import (
    REFRESH_SECONDS,
    LoweredTurns,
    TurnCounter,
    TurnPool,
    _parse_turns,
)
from gateway.routing.classifier import heuristic
from gateway.routing.tier_share import MIN_TURNS, RecentTurns, ShareBounds, choose_tier, find_cell
from gateway.state.errors import StoreUnavailable
from gateway.state.redis.replies import Reply

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


class Process:
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
        found = Counter[Tier]()
        for at, score in enumerate(scores):
            if at % every == 0:
                await self.traffic.refresh()
            found[self.turn(key, score)] += 1
        await self.traffic.refresh()
        return found


async def test_a_key_has_its_own_thresholds_after_so_many_turns() -> None:
    """Until then it has those of its tenant's turns, and before that none."""
    one = Process()
    assert (one.traffic.find_thresholds(ANN), one.traffic.find_thresholds(OTHER)) == (None, None)
    await one.many(ANN, [HARD] * (MIN_TURNS - 1))
    assert one.traffic.find_thresholds(ANN) is None
    await one.many(BOB, [EASY])
    tenant = one.traffic.find_thresholds(ANN)
    assert tenant is not None
    assert tenant.id.startswith("tenant-")
    assert one.traffic.find_thresholds(BOB) == tenant
    await one.many(ANN, [HARD])
    own = one.traffic.find_thresholds(ANN)
    assert own is not None
    assert (own.id.startswith("key-"), own.fast, own.smart) == (True, OWN.fast, OWN.smart)
    assert one.traffic.find_thresholds(BOB) != own
    assert one.traffic.find_thresholds(OTHER) is None


async def test_one_key_does_not_move_the_thresholds_of_another() -> None:
    """Nor does one tenant move the thresholds of another."""
    one = Process()
    await one.many(ANN, [HARD, PLAIN, EASY, EASY] * 1_000)
    before = one.traffic.find_thresholds(ANN)
    await one.many(EVE, [HARD] * 20_000, every=2_000)
    await one.many(Key(name="eve", tenant="other"), [EASY] * 20_000, every=2_000)
    assert one.traffic.find_thresholds(ANN) == before


async def test_what_is_no_classified_turn_is_not_counted() -> None:
    """Pins, rules and defaults do not count; a turn that keeps its tier is not lowered."""
    one = Process()
    for tier in TIERS:
        one.traffic.count_turn(call(ANN), Decision(lab="a", tier=tier, source="pin"))
    one.traffic.count_turn(call(ANN), Decision(lab="a", tier="fast", source="default", score=EASY))
    held = Decision(lab="a", tier="fast", source="seat", classified_tier="fast", score=EASY)
    one.traffic.count_turn(call(ANN), held)
    one.traffic.count_turn(call(ANN, "count_tokens"), decided(HARD, "reasoning"))
    assert sum(one.traffic.turns_by_tier.values()) == 0
    one.traffic.count_turn(call(ANN), decided(HARD, "reasoning"))
    one.traffic.count_turn(call(ANN), decided(HARD, "smart"))
    assert one.traffic.turns_by_tier == {"fast": 0, "smart": 1, "reasoning": 1}
    assert one.traffic.lowered_count == 1
    told = {count.name: count.read() for count in one.traffic.build_metrics()}
    assert told == {"turns_fast": 0, "turns_smart": 1, "turns_reasoning": 1, "turns_lowered": 1}


async def test_a_key_whose_turns_are_lowered_is_told_once_an_hour() -> None:
    """The alert names the last call, and how many turns were lowered since the alert before."""
    told: list[LoweredTurns] = []
    traffic = TurnCounter(alert=told.append)
    traffic.adopt(MOST, OWN)

    def note(at: float, key: Key = ANN, tier: Tier = "smart") -> None:
        one = msgspec.structs.replace(call(key), id=f"c{at:g}", received_at=at)
        traffic.count_turn(one, decided(HARD, tier))

    note(100, tier="reasoning")
    assert told == []
    for at in (101.0, 102.0, 3_700.0, 3_701.0):
        note(at)
    note(102, OTHER)
    first = LoweredTurns(tenant="default", key="ann", call="c101", wanted="reasoning", tier="smart", turns=1)  # fmt: skip
    second = msgspec.structs.replace(first, call="c3701", turns=3)
    other = msgspec.structs.replace(first, tenant="other", call="c102")
    assert told == [first, second, other]
    assert traffic.lowered_count == 5


async def test_a_rise_that_a_bound_refuses_is_told_too() -> None:
    """The bound keeps the conversation on its tier, and the operator hears of it.

    If the conversation is on a higher tier anyway, the bound has moved nothing. Neither case counts
    as a turn that the classifier decided.
    """
    told: list[LoweredTurns] = []
    traffic = TurnCounter(alert=told.append)
    traffic.adopt(MOST, OWN)
    stays = msgspec.structs.replace(decided(HARD, "smart"), source="seat")
    traffic.count_turn(call(ANN), msgspec.structs.replace(stays, tier="reasoning"))
    assert (told, traffic.lowered_count) == ([], 0)
    traffic.count_turn(call(ANN), stays)
    assert [(one.wanted, one.tier) for one in told] == [("reasoning", "smart")]
    assert (traffic.lowered_count, sum(traffic.turns_by_tier.values())) == (1, 0)


async def test_another_configuration_holds_from_now_on() -> None:
    """New bounds apply to earlier turns; another classifier starts anew.

    Without bounds or a classifier's thresholds there are none.
    """
    one = Process()
    await one.many(ANN, [HARD] * MIN_TURNS)
    kept = one.traffic.find_thresholds(ANN)
    one.traffic.adopt(ShareBounds(reasoning=0.5), OWN)
    await one.traffic.refresh()
    other = one.traffic.find_thresholds(ANN)
    assert other is not None
    assert kept is not None
    assert other.id != kept.id
    one.traffic.adopt(MOST, Thresholds(0.5, 0.6, "own-2"))
    assert one.traffic.find_thresholds(ANN) is None
    for most, own in ((None, OWN), (MOST, None)):
        one.traffic.adopt(most, own)
        await one.many(ANN, [HARD] * MIN_TURNS)
        assert one.traffic.find_thresholds(ANN) is None


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


async def shares(one: Process, key: Key, draw: Draw, seed: int, turns: int) -> dict[Tier, float]:
    chance = random.Random(seed)
    found = await one.many(key, [draw(chance) for _ in range(turns)])
    return {tier: found[tier] / turns for tier in TIERS}


async def test_each_key_keeps_within_two_points_of_its_bounds() -> None:
    """The test uses new turns, and scores that are even, few, bimodal or low."""
    one = Process()
    wanted = {"even": (even, 0.10, 0.40), "judged": (judged, 0.10, 0.40), "bimodal": (bimodal, 0.10, 0.40), "easy": (easy, 0.05, 0.15)}  # fmt: skip
    for name, (draw, reasoning, smart) in wanted.items():
        key = Key(name=name)
        await shares(one, key, draw, 1, MIN_TURNS)
        found = await shares(one, key, draw, 2, 5_000)
        assert found["reasoning"] == pytest.approx(reasoning, abs=0.02), name
        assert found["smart"] == pytest.approx(smart, abs=0.02), name


async def test_after_a_shift_the_bounds_are_met_again() -> None:
    """Traffic turns from easy to hard and back: two renewals of the counts are enough."""
    one = Process()
    await shares(one, ANN, easy, 1, 5_000)
    await shares(one, ANN, hard, 2, 2 * MIN_TURNS)
    found = await shares(one, ANN, hard, 3, 4_000)
    assert found["reasoning"] == pytest.approx(0.10, abs=0.02)
    assert found["smart"] == pytest.approx(0.40, abs=0.02)
    await shares(one, ANN, easy, 4, 2 * MIN_TURNS)
    assert (await shares(one, ANN, easy, 5, 4_000))["smart"] == pytest.approx(0.15, abs=0.02)


async def test_a_new_key_is_looked_at_at_once() -> None:
    """The gateway asks other processes for a new key at once, and otherwise every few seconds."""
    one, asked = Process(), list[float]()
    waiting = asyncio.Event()

    async def sleep(seconds: float) -> None:
        asked.append(seconds)
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(one.traffic.refresh_periodically(sleep))
    await waiting.wait()
    waiting.clear()
    one.traffic.find_thresholds(ANN)
    await waiting.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert asked == [REFRESH_SECONDS, REFRESH_SECONDS]


class Hashes:
    """A turn pool in memory that tests can make unavailable."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], RecentTurns] = {}
        self.lost = False
        self.asked = 0

    async def add(self, tenant: str, name: str, counts: Sequence[int]) -> RecentTurns:
        self.asked += 1
        if self.lost:
            raise StoreUnavailable
        found = self.kept.setdefault((tenant, name), RecentTurns())
        found.add(counts)
        return RecentTurns(list(found.previous), list(found.current))


async def test_processes_count_together() -> None:
    """Two processes count half of the turns each; a third has thresholds before its first turn."""
    pool = Hashes()
    one, two, three = Process(pool), Process(pool), Process(pool)
    chance = random.Random(3)
    await one.many(ANN, [even(chance) for _ in range(MIN_TURNS // 2)])
    assert one.traffic.find_thresholds(ANN) is None
    await two.many(ANN, [even(chance) for _ in range(MIN_TURNS // 2)])
    assert two.traffic.find_thresholds(ANN) is not None
    assert three.traffic.find_thresholds(ANN) is None
    await three.traffic.refresh()
    assert three.traffic.find_thresholds(ANN) == two.traffic.find_thresholds(ANN)


async def test_losing_the_pool_loses_no_turn() -> None:
    """The process goes on alone, asks the pool once per refresh, and reports its counts later."""
    pool = Hashes()
    one = Process(pool)
    await one.many(ANN, [EASY] * MIN_TURNS)
    await one.many(BOB, [EASY])
    kept, pool.lost, pool.asked = one.traffic.find_thresholds(ANN), True, 0
    for key in (ANN, BOB):
        one.turn(key, HARD)
    await one.traffic.refresh()
    assert pool.asked == 1
    await one.many(ANN, [HARD] * MIN_TURNS)
    alone = one.traffic.find_thresholds(ANN)
    assert alone is not None
    assert alone != kept
    pool.lost = False
    await one.many(ANN, [HARD])
    assert (
        pool.kept["default", "key|own-1|0.5|0.6|ann"].counts[find_cell(HARD, OWN)] == MIN_TURNS + 2
    )
    assert pool.kept["default", "key|own-1|0.5|0.6|bob"].turn_count == 2


async def test_a_turn_that_comes_while_others_are_told_is_told_next() -> None:
    one = Process()

    class Late(Hashes):
        async def add(self, tenant: str, name: str, counts: Sequence[int]) -> RecentTurns:
            if not self.asked:
                one.turn(ANN, HARD)
            return await super().add(tenant, name, counts)

    pool = Late()
    one.traffic = TurnCounter(pool)
    one.traffic.adopt(MOST, OWN)
    one.turn(ANN, HARD)
    for _ in range(2):
        await one.traffic.refresh()
    assert sorted(one.turn_count for one in pool.kept.values()) == [2, 2]


async def test_a_pool_that_has_forgotten_takes_no_thresholds_away() -> None:
    pool = Hashes()
    one = Process(pool)
    await one.many(ANN, [HARD] * MIN_TURNS)
    kept = one.traffic.find_thresholds(ANN)
    pool.kept.clear()
    await one.many(ANN, [EASY] * 10)
    assert one.traffic.find_thresholds(ANN) == kept
    assert kept is not None
    assert kept.cut is not None
    found = (kept.cut.reasoning, kept.cut.smart)
    assert found == pytest.approx((0.332, 0.335), abs=0.01)


@pytest.mark.parametrize(
    "reply",
    [5, None, b"x", [b"1"], [b"1", 2], [1, b"2"], [b"x", b"1"], [b"1", b"x"], [b"999", b"1"], [b"-1", b"1"], [b"1", b"-1"], [b"before", b"\xc1"], [b"before", b"\x91\x01"]],
    ids=repr,
)  # fmt: skip
def test_an_answer_of_nobody_is_a_loss(reply: Reply) -> None:
    with pytest.raises(StoreUnavailable):
        _parse_turns(reply)
