"""Test that the candidates of a plan are found once for all its calls."""

import asyncio
from typing import Any

from msgspec.structs import replace

from gateway.core.decision import Plan
from gateway.core.target import Account, Provider, Target
from gateway.upstream.client import ProviderClient
from gateway.upstream.failover import _MAX_CACHED_PLANS, Upstream
from gateway.upstream.retry import PinnedAccount, list_candidates, pin_candidates
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


def test_calls_of_a_plan_share_one_list_of_candidates() -> None:
    caching_upstream, call = upstream(), asking()
    candidates = caching_upstream.list_candidates(call)
    assert candidates == list_candidates(call.plan)
    assert caching_upstream.list_candidates(replace(call, tier="fast")) is candidates
    assert caching_upstream.list_candidates(asking()) is not candidates


def test_a_call_with_its_own_constraints_gets_its_own_list() -> None:
    caching_upstream, call = upstream(), asking()
    every = caching_upstream.list_candidates(call)
    seat = PinnedAccount(provider="zeta", account="spare")
    assert caching_upstream.list_candidates(replace(call, pinned_account=seat)) == pin_candidates(
        every, seat
    )
    assert caching_upstream.list_candidates(replace(call, pinned_account=seat))[0] == every[3]
    only = PinnedAccount(provider="zeta", account="spare", is_only=True)
    assert caching_upstream.list_candidates(replace(call, pinned_account=only)) == [every[3]]
    assert caching_upstream.list_candidates(replace(call, candidates=(every[2],))) == [every[2]]
    assert (
        caching_upstream.list_candidates(replace(call, excluded_targets=frozenset({"acme/able-1"})))
        == every[2:]
    )
    assert caching_upstream.list_candidates(call) is every


def test_the_cache_of_plans_is_bounded_and_confuses_no_plans() -> None:
    caching_upstream = upstream()
    for at in range(3 * _MAX_CACHED_PLANS):
        target = replace(TARGETS[at % 2], model=f"able-{at}")
        call = asking(plan=Plan(targets=(target,), dialects=("openai-chat",)))
        assert [candidate.target for candidate in caching_upstream.list_candidates(call)] == [
            target
        ] * 2
        assert len(caching_upstream._candidates_by_plan) <= _MAX_CACHED_PLANS


def test_another_replica_takes_no_retry_of_the_lab() -> None:
    """As another provider: it does not worsen a bad minute. Another account of a provider does."""
    accounts = (Account("a", "s", "http://a"), Account("b", "s", "http://b"))
    for items, taken in ((accounts, 0.0), (ACCOUNTS, 1.0)):
        provider = Provider(name="acme", urls={"openai-chat": "/chat"}, accounts=items)
        call = asking(
            plan=Plan(targets=(Target(provider=provider, model="m"),), dialects=("openai-chat",))
        )
        granting = upstream()
        balance = granting.provider_state.get_retry_budget(call.lab).balance
        assert granting.grant_retry(call, *list_candidates(call.plan))
        assert balance - granting.retry_budgets[call.lab].balance == taken


def test_counting_tokens_has_its_own_account_model_key() -> None:
    call = asking()
    caching_upstream = upstream()
    candidate = caching_upstream.list_candidates(call)[3]
    assert candidate.key == ("zeta", "spare", "able-1")
    counting = replace(call, dialect=replace(call.dialect, operation="count_tokens"))
    counting_candidate = caching_upstream.list_candidates(counting)[3]
    assert counting_candidate.key == ("zeta", "spare", "able-1 count_tokens")
    loads = caching_upstream.provider_state.balancer.loads
    assert loads.find(candidate) is loads.find(counting_candidate)
