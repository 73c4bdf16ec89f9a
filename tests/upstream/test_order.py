"""Test that the candidates of a plan are found once for all its calls."""

import asyncio
from typing import Any

from msgspec.structs import replace

from gateway.core.decision import Plan
from gateway.core.target import Account, Provider, Target
from gateway.upstream.attempt import build_account_model_key
from gateway.upstream.client import ProviderClient
from gateway.upstream.failover import _MAX_CACHED_PLANS, Upstream
from gateway.upstream.retry import PinnedAccount, list_candidates
from tests.upstream.test_prepare_request import DOORS, job

ACCOUNTS = (Account("main", "s"), Account("spare", "t"))
TARGETS = tuple(
    Target(provider=Provider(name=name, urls=DOORS, accounts=ACCOUNTS), model="able-1")
    for name in ("acme", "zeta")
)


async def ready(_: object) -> None: ...


def upstream() -> Upstream:
    return Upstream(
        ProviderClient(), wait_until_ready=ready, sleep=asyncio.sleep, jitter=lambda: 0.0
    )


def asking(**more: Any) -> Any:
    plan = Plan(targets=TARGETS, dialects=("openai-chat", "openai-chat"))
    call = job("openai-chat", TARGETS[0], stream=False, query="")
    return replace(call, **({"plan": plan} | more))


def test_it_is_the_same_list_for_the_same_plan_and_as_it_would_be_found() -> None:
    known, call = upstream(), asking()
    found = known._list_candidates(call)
    assert found == list_candidates(call.plan)
    assert known._list_candidates(replace(call, tier="fast")) is found
    assert known._list_candidates(asking()) is not found


def test_what_a_call_asks_for_itself_is_found_for_itself() -> None:
    known, call = upstream(), asking()
    every = known._list_candidates(call)
    seat = PinnedAccount(provider="zeta", account="spare")
    assert known._list_candidates(replace(call, pinned_account=seat)) == list_candidates(
        call.plan, seat
    )
    assert known._list_candidates(replace(call, pinned_account=seat))[0] == every[3]
    assert known._list_candidates(replace(call, candidates=(every[2],))) == [every[2]]
    assert (
        known._list_candidates(replace(call, excluded_targets=frozenset({"acme/able-1"})))
        == every[2:]
    )
    assert known._list_candidates(call) is every


def test_few_plans_are_kept_and_no_two_are_taken_for_one() -> None:
    known = upstream()
    for at in range(3 * _MAX_CACHED_PLANS):
        target = replace(TARGETS[at % 2], model=f"able-{at}")
        call = asking(plan=Plan(targets=(target,), dialects=("openai-chat",)))
        assert [one.target for one in known._list_candidates(call)] == [target] * 2
        assert len(known._candidates_by_plan) <= _MAX_CACHED_PLANS


def test_its_place_is_that_of_its_limits_and_counting_tokens_has_its_own() -> None:
    call = asking()
    one = list_candidates(call.plan)[3]
    assert one.key == build_account_model_key(call, one) == ("zeta", "spare", "able-1")
    counting = replace(call, dialect=replace(call.dialect, operation="count_tokens"))
    assert build_account_model_key(counting, one) == ("zeta", "spare", "able-1 count_tokens")
