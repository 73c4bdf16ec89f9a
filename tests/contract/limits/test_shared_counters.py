"""A call asks all tenants' counters first; they get theirs back if the call's tenant refuses."""

import asyncio

import msgspec
import pytest

from gateway.core.target import Tier
from gateway.limits.counters import (
    ALL_SCOPES,
    BUSY_RETRY_SECONDS,
    AdmissionRequest,
    Admitted,
    Answer,
    CounterDemand,
    CounterStore,
    Kind,
    MissingCounter,
    Owner,
    Refusal,
)
from tests.contract.limits.conftest import Make
from tests.contract.limits.test_counter_store import NOW, need

KINDS: tuple[Kind, ...] = ("requests", "tokens", "concurrency", "usd", "share")


_RUN: list[int] = []


@pytest.fixture
def fresh(meter: CounterStore) -> CounterStore:
    """Return a store whose counters of all tenants no other test has used."""
    _RUN.append(len(_RUN))
    return meter


def of(id: str) -> str:
    """Make a call id that is unique to this test among all tenants."""
    return f"owners-{len(_RUN)}-{id}"


def ask(
    id: str, tenant: str, *needs: CounterDemand, expires: float = NOW + 600
) -> AdmissionRequest:
    return AdmissionRequest(id=of(id), tenant=tenant, demands=needs, expires_at=expires)


def more(
    id: str, tenant: str, *needs: CounterDemand, expires: float = NOW + 600
) -> AdmissionRequest:
    """Make an extension of a call that has reservations in both scopes."""
    return msgspec.structs.replace(ask(id, tenant, *needs, expires=expires), held_scopes=ALL_SCOPES)


def wide(kind: Kind = "usd", limit: int = 3, amount: int = 1, **more: object) -> CounterDemand:
    """Make a demand on a counter of all tenants that only this test uses."""
    whole = f"calls|all{len(_RUN)}|all|2026-11-24" if kind == "share" else ""
    fields = {"field": f"{kind}|all{len(_RUN)}|all|2026-11-24", "total_field": whole, **more}
    return msgspec.structs.replace(need(kind, limit, amount, **fields), all_tenants=True)


async def used(meter: CounterStore, demand: CounterDemand) -> int | None:
    """Read a money or share counter of all tenants."""
    return (await meter.read_counters(None)).get(demand.field)


async def test_tenants_share_the_counters_of_all_tenants(fresh: CounterStore, tenant: str) -> None:
    """Each of three tenants sends fifty calls at once. Three pass, and all three are counted."""
    asks = [
        ask(f"{number}-{at}", f"{tenant}-{number}", wide(limit=3), need("concurrency", limit=50))
        for number in range(3)
        for at in range(50)
    ]
    answers = await asyncio.gather(*(fresh.admit(request, NOW) for request in asks))
    assert sum(isinstance(request, Admitted) for request in answers) == 3
    assert await used(fresh, wide()) == 3


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_its_tenant_refuses_releases_the_shared_reservation(
    fresh: CounterStore, tenant: str, kind: Kind
) -> None:
    """A hundred refused calls leave all of the room."""
    limit = 1000 if kind == "share" else 2
    shared, none = wide(kind, limit=limit), need("concurrency", limit=0)
    for number in range(100):
        answer = await fresh.admit(ask(f"a{number}", tenant, shared, none), NOW)
        assert answer == Refusal(none, None)
    assert await used(fresh, shared) in (None, 0)
    for number in range(2):
        request = ask(f"b{number}", tenant, shared, need("concurrency", limit=9))
        assert await fresh.admit(request, NOW) == Admitted()
    if kind != "share":
        assert isinstance(await fresh.admit(ask("c", tenant, shared), NOW), Refusal)


async def test_the_shared_counters_are_checked_first(fresh: CounterStore, tenant: str) -> None:
    """The tenant's counters stay untouched, and a longer wait there is not reported."""
    shared, own = wide(limit=0), need("usd", limit=1)
    assert await fresh.admit(ask("a", tenant, shared, own), NOW) == Refusal(shared, left=0)
    assert (await fresh.read_counters(tenant)).get(own.field, 0) == 0
    shared, own = wide("requests", 1), need("requests", 1, period=3600.0)
    assert await fresh.admit(ask("b", tenant, shared, own), NOW) == Admitted()
    answer = await fresh.admit(ask("c", tenant, shared, own), NOW)
    assert isinstance(answer, Refusal)
    assert answer.demand == shared


async def test_a_settlement_counts_in_the_shared_and_in_the_tenants_counters(
    fresh: CounterStore, tenant: str
) -> None:
    """One settlement counts in both."""

    def demand_all(*amounts: int) -> tuple[CounterDemand, ...]:
        shared, shared_tokens, own, own_tokens = amounts
        return (
            wide(limit=100, amount=shared), wide("tokens", limit=100, amount=shared_tokens),
            need("usd", limit=100, amount=own), need("tokens", 100, amount=own_tokens),
        )  # fmt: skip

    assert await fresh.admit(ask("a", tenant, *demand_all(40, 60, 50, 70)), NOW) == Admitted()
    assert (await used(fresh, wide()), await fresh.read_counters(tenant)) == (
        40,
        {need("usd").field: 50},
    )
    answer = await fresh.admit(ask("b", tenant, *demand_all(61, 1, 1, 1)), NOW)
    assert isinstance(answer, Refusal)
    assert (answer.demand, answer.busy) == (wide(limit=100, amount=61), True)
    assert await fresh.settle(tenant, of("a"), 10, 7)
    assert not await fresh.settle(tenant, of("a"), 10, 9)
    assert (await used(fresh, wide()), await fresh.read_counters(tenant)) == (
        7,
        {need("usd").field: 7},
    )
    assert await fresh.admit(ask("b", tenant, *demand_all(93, 90, 93, 90)), NOW) == Admitted()
    await fresh.settle_all(tenant, [(of("b"), 0, 0)])
    assert (await used(fresh, wide()), await fresh.read_counters(tenant)) == (
        7,
        {need("usd").field: 7},
    )


async def test_a_repeated_call_reserves_nothing_twice_in_either_scope(
    fresh: CounterStore, tenant: str
) -> None:
    """The second answer equals the first, with the warnings of both scopes."""
    shared = wide(limit=9, amount=4, soft=4)
    own = need("usd", limit=9, amount=4, soft=4)
    request = ask("a", tenant, shared, own)
    for _ in range(2):
        assert await fresh.admit(request, NOW) == Admitted((shared, own))
    assert (await used(fresh, shared), await fresh.read_counters(tenant)) == (4, {own.field: 4})


async def test_only_a_call_that_passes_carries_the_warning_of_a_soft_limit(
    fresh: CounterStore, tenant: str
) -> None:
    """A call that was given back carries no warning, because no client or operator would see it."""
    shared, none = wide(limit=9, amount=4, soft=4), need("concurrency", limit=0)
    assert isinstance(await fresh.admit(ask("a", tenant, shared, none), NOW), Refusal)
    assert await fresh.admit(ask("b", tenant, shared), NOW) == Admitted((shared,))
    assert await fresh.admit(ask("c", tenant, shared), NOW) == Admitted()


async def test_a_refused_further_attempt_keeps_the_earlier_reservation(
    fresh: CounterStore, tenant: str
) -> None:
    """The earlier reservation of the call and its concurrency slot stay."""
    shared, own, place = wide(limit=100, amount=30), need("usd", 50, 30), wide("concurrency", 1)
    assert await fresh.admit(ask("a", tenant, shared, place, own), NOW) == Admitted()
    assert await fresh.extend(more("a", tenant, shared, own), NOW) == Refusal(own, left=20)
    assert (await used(fresh, shared), await fresh.read_counters(tenant)) == (30, {own.field: 30})
    assert isinstance(await fresh.admit(ask("b", tenant, place), NOW), Refusal)
    less = need("usd", 50, 20)
    assert await fresh.extend(more("a", tenant, shared, less), NOW) == Admitted()
    assert (await used(fresh, shared), await fresh.read_counters(tenant)) == (60, {own.field: 50})
    large = wide(limit=100, amount=99)
    assert await fresh.admit(ask("b", tenant, large), NOW) == Refusal(
        large, BUSY_RETRY_SECONDS, busy=True, left=40
    )
    assert await fresh.settle(tenant, of("a"), None, 5)
    assert (await used(fresh, shared), await fresh.read_counters(tenant)) == (5, {own.field: 5})
    assert await fresh.admit(ask("b", tenant, place), NOW) == Admitted()
    small = wide(limit=100, amount=95)
    assert await fresh.admit(ask("c", tenant, small), NOW) == Admitted()


async def test_a_further_attempt_in_the_shared_scope_keeps_the_tenants_slot(
    fresh: CounterStore, tenant: str
) -> None:
    """The tenant's concurrency slot of the call lasts as long as the further attempt."""
    place, money = need("concurrency", 1), wide(limit=100)
    assert await fresh.admit(ask("a", tenant, money, place, expires=NOW + 10), NOW) == Admitted()
    assert await fresh.extend(more("a", tenant, money, expires=NOW + 90), NOW + 9) == Admitted()
    assert isinstance(await fresh.admit(ask("b", tenant, place), NOW + 11), Refusal)
    assert await fresh.admit(ask("b", tenant, place), NOW + 90) == Admitted()


async def test_a_process_that_dies_between_two_reservations_leaves_the_first_charged(
    fresh: CounterStore, tenant: str
) -> None:
    """The process reserved from all tenants only.

    Its expired reservation is spent, and can be corrected.
    """
    shared = wide(limit=100, amount=60)
    request = ask("dead", tenant, shared, expires=NOW + 10)
    assert await fresh.admit(request, NOW) == Admitted()
    late = ask("b", f"{tenant}-other", shared, need("usd", 100))
    assert await fresh.admit(late, NOW) == Refusal(shared, BUSY_RETRY_SECONDS, busy=True, left=40)
    assert await fresh.admit(late, NOW + 11) == Refusal(shared, left=40)
    assert await fresh.settle(tenant, of("dead"), 0, 0)
    assert await fresh.admit(late, NOW + 11) == Admitted()


async def test_a_call_goes_to_a_tier_that_fits_in_both_scopes(
    fresh: CounterStore, tenant: str
) -> None:
    """The tenant refuses reasoning, all tenants refuse smart, and fast has room in both."""

    def then(demand: CounterDemand, tier: Tier | None) -> CounterDemand:
        return msgspec.structs.replace(demand, then=tier)

    deep = (then(wide(limit=9), "fast"), then(need("usd", limit=0), "smart"))
    mid = (then(wide(limit=0, field="usd|m|all|total"), "fast"), need("usd", limit=9))
    low = (wide(limit=9), need("usd", limit=9, field="usd|low|all|2026-11-24"))
    request = ask("a", tenant, *deep)
    request = msgspec.structs.replace(request, fallbacks=(("smart", mid), ("fast", low)))
    assert await fresh.admit(request, NOW) == Admitted((), 2, (deep[1], mid[0]))
    assert await used(fresh, wide()) == 1
    assert (await fresh.read_counters(tenant))[low[1].field] == 1
    assert (await fresh.read_counters(tenant)).get(mid[1].field, 0) == 0
    assert await fresh.settle(tenant, of("a"), None, 0)
    assert await used(fresh, wide()) == 0
    dead = msgspec.structs.replace(request, id=of("b"), fallbacks=(("smart", mid),))
    assert await fresh.admit(dead, NOW) == Refusal(mid[0], None, 1, (deep[1],), left=0)
    busy = (then(wide(limit=2, amount=2), "smart"), need("usd"))
    await fresh.admit(ask("c", tenant, wide(limit=2)), NOW)
    last = msgspec.structs.replace(request, id=of("d"), demands=busy, fallbacks=(("smart", low),))
    assert await fresh.admit(last, NOW) == Admitted((), 1, ())


async def test_one_answer_names_the_missing_counters_of_both_scopes(
    fresh: CounterStore, tenant: str
) -> None:
    """One answer names missing counters of both scopes; each seed counts for its owner."""
    shared, own = wide(limit=100, needs_seed=True), need("usd", 100, needs_seed=True)
    plain = need("usd", 100, field="usd|p|all|2026-11-24")
    request = ask("a", tenant, shared, own, plain)
    assert await fresh.admit(request, NOW) == MissingCounter(shared, (own,))
    await fresh.seed(None, shared.field, 50)
    assert await fresh.admit(request, NOW) == MissingCounter(own)
    assert await used(fresh, shared) == 50
    seeds = ((None, shared.field, 9), (tenant, own.field, 7))
    assert await fresh.admit(msgspec.structs.replace(request, seeds=seeds), NOW) == Admitted()
    assert await used(fresh, shared) == 51
    assert await fresh.read_counters(tenant) == {own.field: 8, plain.field: 1}


async def test_either_scope_refuses_more_than_any_limit(fresh: CounterStore, tenant: str) -> None:
    huge = 10**30
    for shared, own in ((huge, 1), (1, huge)):
        request = ask("a", tenant, wide(limit=9, amount=shared), need("usd", 9, amount=own))
        assert isinstance(await fresh.admit(request, NOW), Refusal)
    assert await used(fresh, wide()) in (None, 0)


async def test_a_sweep_removes_ended_windows_of_the_shared_counters(
    fresh: CounterStore, tenant: str
) -> None:
    old = wide(field="usd|old|all|2026-01-01")
    assert await fresh.admit(ask("a", tenant, old), NOW) == Admitted()
    await fresh.settle(tenant, of("a"), None, 1)
    for number in range(9):
        await fresh.admit(
            ask(f"{number}", tenant, wide(limit=99, field=f"usd|n|{number}|total")), NOW
        )
    await fresh.sweep(None, NOW)
    assert await used(fresh, old) is None


def test_an_admission_request_lists_its_options() -> None:
    """The request also says which option follows one that a demand has refused."""
    low = (need(),)
    request = AdmissionRequest(
        id="a", tenant="t", demands=(wide(),), expires_at=1.0, fallbacks=(("smart", ()), ("fast", low))
    )  # fmt: skip
    assert request.options == ((wide(),), (), low)
    assert request.next_choice(0, need(then="fast")) == 2
    assert request.next_choice(2, need(then="fast")) is None
    assert request.next_choice(0, need()) is None


async def test_a_reservation_that_another_process_settled_is_not_released_again(
    make: Make, tenant: str
) -> None:
    """In Redis, another process may recover the calls of one that only seemed dead."""
    _RUN.append(len(_RUN))
    meter, other_process = make(), make()
    admitted = meter._admit_for_owner
    shared, none = wide(limit=100, amount=60), need("concurrency", limit=0)

    async def late(
        request: AdmissionRequest,
        options: tuple[tuple[CounterDemand, ...], ...],
        owner: Owner,
        now: float,
        extends: int,
    ) -> Answer:
        answer = await admitted(request, options, owner, now, extends)
        if owner is None:
            assert await other_process.settle(tenant, of("a"), 0, 10)
        return answer

    meter._admit_for_owner = late  # type: ignore[method-assign]  # before it gives back
    assert await meter.admit(ask("a", tenant, shared, none), NOW) == Refusal(none, None)
    assert await used(meter, shared) == 10
