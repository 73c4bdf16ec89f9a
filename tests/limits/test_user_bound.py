"""Limits and budgets of each end user, up to a number of users for each key and window."""

from datetime import UTC
from decimal import Decimal

import msgspec
import pytest

from gateway.core.call import Key
from gateway.core.errors import ProblemError
from gateway.limits import user_bound
from gateway.limits.memory import MemoryCounters
from gateway.limits.rules import LimitRules
from gateway.limits.user_bound import OTHER_USERS, UserBound
from gateway.limits.window import TOTAL, Window
from tests.limits.observed_limiter import (
    HELD,
    ObservedLimiter,
    Shaky,
    budget,
    decision,
    limit,
    lower,
    plan,
)

DAY = Window("2026-11-24", 0.0, 100.0)
HOUR = Window("2026-11-24T01+00:00", 0.0, 50.0)


async def name_of(
    bound: UserBound,
    store: MemoryCounters,
    user: str,
    *windows: Window,
    most: int = 2,
    now: float = 0,
) -> str:
    return await bound.find_name(store, "t", "ann", user, windows or (DAY,), most, now)


async def test_users_beyond_the_maximum_share_one_name() -> None:
    bound, store = UserBound(), Shaky()
    assert [await name_of(bound, store, user) for user in "abcd"] == ["a", "b", "others", "others"]
    assert OTHER_USERS == "others"


async def test_each_key_of_each_tenant_has_a_maximum_of_its_own() -> None:
    bound, store = UserBound(), MemoryCounters()
    names = [
        await bound.find_name(store, tenant, key, user, (DAY,), 1, 0.0)
        for tenant, key, user in (("t", "ann", "a"), ("t", "bob", "b"), ("u", "ann", "c"), ("t", "ann", "d"))
    ]  # fmt: skip
    assert names == ["a", "b", "c", OTHER_USERS]


async def test_the_store_is_asked_once_for_each_user_and_window() -> None:
    bound, store = UserBound(), Shaky()
    for now in (0.0, 49.0):
        assert await name_of(bound, store, "a", DAY, HOUR, now=now) == "a"
    assert store.asked == 2
    await name_of(bound, store, "a", DAY, HOUR, now=50.0)
    assert store.asked == 4
    bound.forget()
    await name_of(bound, store, "a", TOTAL, now=50.0)
    await name_of(bound, store, "a", TOTAL, now=1e9)
    assert store.asked == 5


async def test_the_cache_of_names_is_bounded() -> None:
    bound, store = UserBound(), Shaky()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user_bound, "_MAX_CACHED", 2)
        for user in "aba":
            await name_of(bound, store, user)
        assert store.asked == 2
        await name_of(bound, store, "c")
        await name_of(bound, store, "a")
    assert store.asked == 4


async def test_a_full_window_decides_for_all_windows() -> None:
    bound, store = UserBound(), MemoryCounters()
    assert await name_of(bound, store, "a", HOUR, most=1) == "a"
    assert await name_of(bound, store, "b", DAY, HOUR, most=1) == "others"


async def ask(stage: ObservedLimiter, id: str, user: str | None, key: str = "ann") -> None:
    bound = msgspec.structs.replace(stage.want(id, key=Key(name=key)), end_user=user)
    await stage.gate.reserve(bound, decision(), plan(), lower)


async def passes(stage: ObservedLimiter, id: str, user: str | None, key: str = "ann") -> bool:
    try:
        await ask(stage, id, user, key)
    except ProblemError:
        return False
    return True


async def test_each_user_of_a_key_has_the_whole_budget() -> None:
    """One call fits; a call that names no user is not counted."""
    stage = ObservedLimiter(budget("0.002", per="user"))
    assert [await passes(stage, f"1{user}", user) for user in ("a", "b", None)] == [True] * 3
    assert [await passes(stage, f"2{user}", user) for user in ("a", "b", None)] == [
        False, False, True,
    ]  # fmt: skip
    assert await passes(stage, "3", "a", key="bob")


async def test_a_user_who_has_used_up_a_budget_is_no_news_for_the_operator() -> None:
    stage = ObservedLimiter(budget("0.002", per="user", soft=0.5))
    await ask(stage, "c1", "a")
    assert not await passes(stage, "c2", "a")
    assert (stage.alerts, stage.log) == ([], [])


async def test_a_call_that_ends_gives_its_users_reservation_back() -> None:
    stage = ObservedLimiter(budget("0.002", per="user"))
    await ask(stage, "c1", "a")
    await stage.end("c1")
    assert await passes(stage, "c2", "a")


async def test_a_further_attempt_reserves_of_its_users_budget_too() -> None:
    stage = ObservedLimiter(budget(str(Decimal(2 * HELD) / 1_000_000), per="user"))
    bound = msgspec.structs.replace(stage.want("c1", key=Key(name="ann")), end_user="a")
    reservation = await stage.gate.reserve(bound, decision(), plan(), lower)
    await reservation.extend(plan().targets[0])
    with pytest.raises(ProblemError):
        await reservation.extend(plan().targets[0])
    assert not await passes(stage, "c2", "a")


async def test_users_beyond_the_maximum_share_one_budget() -> None:
    stage = ObservedLimiter()
    stage.gate.adopt(
        LimitRules([], [budget("0.002", per="user")], UTC, max_users=1), fails_closed=False
    )
    assert [await passes(stage, f"{user}{at}", user) for at in "12" for user in "abc"] == [
        True, True, False, False, False, False,
    ]  # fmt: skip


async def test_without_limits_of_users_nobody_asks_for_them() -> None:
    stage = ObservedLimiter(limit(requests="9/m"))
    await ask(stage, "c1", "a")
    assert stage.meter._claimed_users == {}


async def test_users_are_counted_in_this_process_while_the_store_is_lost() -> None:
    stage = ObservedLimiter(limit(requests="1/m", per="user"))
    stage.meter.lost = True
    assert [await passes(stage, id, "a") for id in ("c1", "c2")] == [True, False]
    assert await passes(stage, "c3", "b")
    assert stage.spare._claimed_users
    assert [entry["event"] for entry in stage.log] == ["limits"]


async def test_a_process_forgets_the_users_of_ended_windows() -> None:
    store, day = MemoryCounters(), 86_400.0
    await store.claim_user("t", "ann", "a", Window("1970-01-01", 0.0, day), 2, 0.0)
    await store.claim_user("t", "ann", "a", TOTAL, 2, 0.0)
    await store.claim_user("t", "ann", "a", Window("1970-01-11", 10 * day, 11 * day), 2, 10 * day)
    assert [window for _, _, window in store._claimed_users] == ["total", "1970-01-11"]
