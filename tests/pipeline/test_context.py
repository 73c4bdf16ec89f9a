"""Test the context that a decision loads, and the session that a call saves."""

import threading
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from gateway.cache.session_store import LocalSessionStore
from gateway.core.call import NO_OPTIONS, OPEN_KEY, Call, Key, RequestOptions
from gateway.core.conversation import ConversationTurn
from gateway.core.decision_context import DecisionContext, Session
from gateway.core.ledger_rows import FinalRow
from gateway.core.price import Price, Rates
from gateway.core.target import Account, NameOwner, Target, Targets
from gateway.dialects import OPENAI_CHAT
from gateway.pipeline.context import ContextLoader, find_session_account
from gateway.routing.features import Features
from gateway.routing.router import Router, decide
from tests.routing import world

NOW = 1_000_000.0
SEAT = Session(
    lab="openai", tier="fast", target="openai/luna", account="main", at=NOW - 60, calls=2
)
PRICE = Price(
    rates=Rates(input=Decimal(1), cache_read=Decimal("0.1"), output=Decimal(4)), version="v"
)


class Seats(LocalSessionStore):
    """Counts lookups."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: NOW)
        self.asked = 0

    async def find(self, key: Key, conversation: str) -> Session | None:
        self.asked += 1
        return await super().find(key, conversation)


def call(operation: str = "generate", steer: RequestOptions = NO_OPTIONS) -> Call:
    return Call(
        id="c", dialect="openai-chat", operation=operation, body=b"", options=steer,
        received_at=NOW, started_at=0,
    )  # fmt: skip


def seen(model: str = "auto", **turn: Any) -> Features:
    prompt = {k: turn.pop(k) for k in ("user_turns", "tool_loop") if k in turn}
    found = world.call("hello", model, **{"user_turns": 2, **prompt})
    found.turn = ConversationTurn(**{"conversation": "one", **turn})
    return found


def known(*, priced: bool = False) -> Router:
    luna = msgspec.structs.replace(world.LUNA, price=PRICE if priced else None)
    labs = (world.lab("openai", [luna], [world.TERRA], [world.ASTRA]),)
    return world.router(known=world.catalogue(labs))


def entry(**more: Any) -> FinalRow:
    told: dict[str, Any] = {
        "id": "c", "at": NOW, "key": "open", "dialect": "openai-chat", "state": "settled",
        "lab": "openai", "tier": "fast", "provider": "openai", "account": "main", "model": "luna",
        "input": 2_000, "output": 10, "reasoning": 5, "config": "v",
    }  # fmt: skip
    return FinalRow(**told | more)


class ContextFixture:
    """A context loader with sessions; `sits` saves the session that the conversation has before."""

    def __init__(self) -> None:
        self.seats = Seats()
        self.gather = ContextLoader(
            self.seats, ttl=60, unavailable_reason=lambda place: f"{'/'.join(place)} is out"
        )

    async def sits(self, seat: Session = SEAT) -> None:
        self.seats.save(OPEN_KEY, "one", seat, 60)

    async def serve(
        self, features: Features, told: FinalRow, router: Router | None = None, **more: Any
    ) -> Session | None:
        """Serve a call; return the session that its conversation has afterwards."""
        router = router or known()
        evidence = await self.gather.load(router, call(), features)
        decision, plan = decide(router, features, OPENAI_CHAT, evidence)
        self.gather.note_decision(call(**more), features, evidence, decision, plan, router)
        self.gather.save_session(told)
        await self.gather.drain()
        assert not self.gather._conversation_calls
        return await self.seats.find(OPEN_KEY, features.turn.conversation)


@pytest.mark.parametrize(
    ("features", "asks"),
    [
        (seen(), True),
        (seen(tool_loop=True, loop=True, user_turns=1), True),
        (seen(explicit=True, user_turns=1), True),
        (seen("old"), True),  # an alias of auto
        (seen(user_turns=1), False),  # named by its first message, at its first turn
        (seen(conversation=""), False),
        (seen("smart"), False),
        (seen(kind="side"), False),
        (seen(kind="side", loop=True), True),
        (seen(kind="agent"), True),
    ],
)
async def test_who_has_a_seat_is_asked_only_where_it_matters(
    features: Features, asks: bool
) -> None:
    stage, router = ContextFixture(), msgspec.structs.replace(known(), catalogue=world.CATALOGUE)
    await stage.sits()
    evidence = await stage.gather.load(router, call(), features)
    assert stage.seats.asked == asks
    out = "openai/main/luna is out"
    assert evidence == (
        DecisionContext(at=NOW, seat=SEAT, unseated=out) if asks else DecisionContext(at=NOW)
    )


async def test_no_seat_is_no_evidence() -> None:
    assert await ContextFixture().gather.load(known(), call(), seen()) == DecisionContext(at=NOW)


@pytest.mark.parametrize("gather", [ContextLoader(), ContextLoader(Seats(), ttl=0)])
async def test_without_seats_nothing_is_kept(gather: ContextLoader) -> None:
    evidence = await gather.load(known(), call(), seen())
    decision, plan = decide(known(), seen(), OPENAI_CHAT, evidence)
    gather.note_decision(call(), seen(), evidence, decision, plan, known())
    gather.save_session(entry())
    assert not gather._conversation_calls


async def test_the_first_seat_of_a_conversation() -> None:
    seat = await ContextFixture().serve(seen(user_turns=1, first="f"), entry())
    assert seat == Session(
        lab="openai", tier="smart", target="openai/luna", account="main", turns=1, first="f",
        calls=1, output=15, at=NOW,
    )  # fmt: skip


async def test_a_seat_adds_up_what_was_answered() -> None:
    stage = ContextFixture()
    await stage.sits(msgspec.structs.replace(SEAT, output=100, at=NOW))
    seat = await stage.serve(seen(), entry(state="aborted"))
    assert seat is not None
    assert (seat.calls, seat.output, seat.turns) == (3, 115, 2)


async def test_a_seat_counts_turns_that_need_less_than_its_tier() -> None:
    """Steps of a tool loop do not count; the session saved when a stream starts has the count too."""
    stage = ContextFixture()
    stage.gather = ContextLoader(stage.seats, ttl=60)
    top = msgspec.structs.replace(
        SEAT, tier="reasoning", target="openai/astra", tokens=9_000, turns_below=1
    )
    await stage.sits(top)
    told = entry(model="astra", tier="reasoning", input=9_000)
    seat = await stage.serve(seen(), told)
    assert seat is not None
    assert (seat.tier, seat.turns_below) == ("reasoning", 2)
    seat = await stage.serve(seen(tool_loop=True, loop=True), told)
    assert seat is not None
    assert seat.turns_below == 2
    router, features = known(), seen()
    await stage.sits(msgspec.structs.replace(top, account="other"))
    evidence = await stage.gather.load(router, call(), features)
    decision, plan = decide(router, features, OPENAI_CHAT, evidence)
    stage.gather.note_decision(call(), features, evidence, decision, plan, router)
    stage.gather.note_stream_start(call(), plan.targets[0], Account("main", "s"))
    seat = await stage.seats.find(OPEN_KEY, "one")
    assert seat is not None
    assert seat.turns_below == 2


@pytest.mark.parametrize(
    "told",
    [entry(state="failed"), entry(state="refused", provider=None), entry(provider=None), entry(id="d")],
)  # fmt: skip
async def test_what_has_no_answer_leaves_no_seat(told: FinalRow) -> None:
    stage = ContextFixture()
    router, features = known(), seen()
    evidence = await stage.gather.load(router, call(), features)
    decision, plan = decide(router, features, OPENAI_CHAT, evidence)
    stage.gather.note_decision(call(), features, evidence, decision, plan, router)
    stage.gather.save_session(told)
    assert await stage.seats.find(OPEN_KEY, "one") is None


@pytest.mark.parametrize(
    ("features", "more"),
    [
        (seen(kind="side", loop=True), {}),
        (seen(conversation=""), {}),
        (seen("smart", user_turns=1), {}),
        (seen(), {"operation": "count_tokens"}),
    ],
)
async def test_what_is_no_call_of_a_conversation_leaves_none(
    features: Features, more: dict[str, Any]
) -> None:
    assert await ContextFixture().serve(features, entry(), **more) is None


async def test_what_is_of_no_tier_leaves_none() -> None:
    stage, router = ContextFixture(), known()
    decision, plan = decide(router, seen(), OPENAI_CHAT)
    stage.gather.note_decision(
        call(),
        seen(),
        DecisionContext(),
        msgspec.structs.replace(decision, tier=None),
        plan,
        router,
    )
    assert not stage.gather._conversation_calls


async def test_what_is_named_moves_a_conversation_that_has_begun() -> None:
    """A model called by its bare name gets none of the settings that its tier would add."""
    stage = ContextFixture()
    await stage.sits()
    seat = await stage.serve(seen("luna"), entry())
    assert seat is not None
    assert (seat.model, seat.tier) == ("luna", "fast")


async def test_a_hit_is_a_seat_where_there_was_none() -> None:
    hit = entry(state="cache_hit", cache="hit")
    stage = ContextFixture()
    seat = await stage.serve(seen(), hit)
    assert seat is not None
    assert (seat.target, seat.tokens, seat.output) == ("openai/luna", 0, 0)
    await stage.sits()
    assert await stage.serve(seen(), hit) == SEAT


@pytest.mark.parametrize(
    ("more", "tokens", "keeps"),
    [
        ({}, 2_000, 300),
        ({"input": 10, "cache_read": 1_990}, 2_000, 300),
        ({"cache_write": 700, "cache_write_by": {"5m": 300, "1h": 400}}, 700, 3_600),
        ({"cache_write": 700, "cache_write_by": {"": 700}}, 700, 300),
        ({"cache_write_by": {"1h": 0}}, 2_000, 300),
        ({"model": "gone"}, 0, 300),
        ({"input": None}, 0, 300),
    ],
)
async def test_what_is_in_the_prompt_cache_and_for_how_long(
    more: dict[str, Any], tokens: int, keeps: float
) -> None:
    seat = await ContextFixture().serve(seen(), entry(**more), known(priced=True))
    assert seat is not None
    assert (seat.tokens, seat.keeps) == (tokens, keeps)


async def test_a_lifetime_is_told_when_it_is_written_and_holds_for_its_target() -> None:
    stage = ContextFixture()
    await stage.sits(msgspec.structs.replace(SEAT, keeps=3_600.0))
    seat = await stage.serve(seen(), entry())
    assert seat is not None
    assert seat.keeps == 3_600
    await stage.sits(msgspec.structs.replace(SEAT, keeps=3_600.0))
    seat = await stage.serve(seen(), entry(model="terra", tier="smart"))
    assert seat is not None
    assert seat.keeps == 300


async def test_a_conversation_remembers_its_arm_for_its_tool_loops() -> None:
    """The arm is saved at the end of a call, and when a stream starts."""
    stage = ContextFixture()
    labs = known().catalogue
    router = world.router(choices=[{"when": {"traffic": 1}, "tier": "fast"}], known=labs)
    seat = await stage.serve(seen(), entry(), router)
    assert seat is not None
    assert seat.arm == "choice 0:in"
    await stage.sits(msgspec.structs.replace(SEAT, account="other"))
    features = seen()
    evidence = await stage.gather.load(router, call(), features)
    decision, plan = decide(router, features, OPENAI_CHAT, evidence)
    stage.gather.note_decision(call(), features, evidence, decision, plan, router)
    stage.gather.note_stream_start(call(), plan.targets[0], Account("main", "s"))
    seat = await stage.seats.find(OPEN_KEY, "one")
    assert seat is not None
    assert (seat.account, seat.arm) == ("main", "choice 0:in")


async def test_a_stream_has_a_seat_before_it_ends() -> None:
    """The gateway saves a new session when the stream starts, and its figures when the stream ends."""
    stage, router, features = ContextFixture(), known(), seen(user_turns=1, first="f")
    target, account = router.catalogue.labs["openai"].tiers["smart"][0], Account("main", "s")

    async def begin() -> Session | None:
        evidence = await stage.gather.load(router, call(), features)
        decision, plan = decide(router, features, OPENAI_CHAT, evidence)
        stage.gather.note_decision(call(), features, evidence, decision, plan, router)
        stage.gather.note_stream_start(call(), target, account)
        await stage.gather.drain()
        return await stage.seats.find(OPEN_KEY, "one")

    assert await begin() == Session(
        lab="openai",
        tier="smart",
        target="openai/terra",
        account="main",
        turns=1,
        first="f",
        at=NOW,
    )
    features = seen()
    there = Session(
        lab="openai", tier="smart", target="openai/terra", account="main", tokens=9, at=NOW
    )
    await stage.sits(there)
    assert await begin() == there
    await stage.sits(msgspec.structs.replace(there, account="second", calls=4, output=7))
    moved = await begin()
    assert moved is not None
    assert (moved.account, moved.calls, moved.output) == ("main", 4, 7)


@pytest.mark.parametrize("seats", [None, LocalSessionStore(clock=lambda: NOW)])
async def test_a_model_that_no_lab_lists_is_looked_up_in_a_thread(
    seats: LocalSessionStore | None,
) -> None:
    """A first look at a price list takes long, and other calls go on meanwhile."""
    threads: list[int] = []

    def make(name: str) -> Target:
        threads.append(threading.get_ident())
        return Target(provider=world.OPENAI, model=name)

    maker = NameOwner(provider=world.OPENAI, lab="openai", names=("x-*",), targets=Targets(make))
    catalogue = msgspec.structs.replace(world.CATALOGUE, name_owners=(maker,))
    router = world.router(known=catalogue)
    gather = ContextLoader(seats, ttl=60)
    await gather.load(router, call(), seen("x-1"))
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
    for model in ("x-1", "luna"):
        await gather.load(router, call(), seen(model))
    assert len(threads) == 1


async def test_what_has_no_seat_has_none_when_it_begins() -> None:
    gather = ContextLoader()
    gather.note_stream_start(call(), world.TERRA, Account("main", "s"))
    await gather.drain()
    assert not gather._conversation_calls


def test_the_account_of_a_seat_is_that_of_its_target() -> None:
    decision, plan = world.decided(known(), seen())
    assert find_session_account(decision, plan) is None
    mine = msgspec.structs.replace(decision, account="second")
    found = find_session_account(mine, plan)
    assert found is not None
    assert (found.provider, found.account, found.model) == ("openai", "second", "terra")


@pytest.mark.parametrize("turns", [1, 2])
@pytest.mark.parametrize("model", ["auto", "luna"])
@pytest.mark.parametrize(
    "turn", [{}, {"explicit": True}, {"conversation": ""}, {"kind": "side"}, {"tool_loop": True}]
)
async def test_only_a_conversation_that_may_sit_is_asked_for(
    turns: int, model: str, turn: dict[str, Any]
) -> None:
    """Other calls wait for nothing, and the gateway asks no store."""
    stage = ContextFixture()
    features = seen(model, user_turns=turns, **turn)
    loading = stage.gather.load(known(), call(), features)
    with pytest.raises(StopIteration) as done:
        loading.send(None)
    assert done.value.value == DecisionContext(at=call().received_at)
    may_sit = not turn.keys() & {"conversation", "kind"}
    has_begun = turns == 2 or bool(turn.keys() & {"explicit", "tool_loop"})
    assert stage.seats.asked == (model == "auto" and has_begun and may_sit)
