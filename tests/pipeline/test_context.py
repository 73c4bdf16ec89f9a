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
from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.core.target import Account, Balance, NameOwner, Target, TargetGroup, Targets
from gateway.dialects import OPENAI_CHAT
from gateway.pipeline.context import ContextLoader
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


def grouped(target: Target) -> Target:
    return msgspec.structs.replace(
        target, group=TargetGroup(lab="openai", tier="fast", label="equals")
    )


def several(target: Target, balance: Balance) -> Target:
    """Return a target whose provider has a second account."""
    accounts = (Account("main", "s"), Account("second", "t"))
    provider = msgspec.structs.replace(target.provider, accounts=accounts, balance=balance)
    return msgspec.structs.replace(target, provider=provider)


class CountingSessionStore(LocalSessionStore):
    """Counts lookups."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: NOW)
        self.lookups = 0

    async def find(self, key: Key, conversation: str) -> Session | None:
        self.lookups += 1
        return await super().find(key, conversation)


def call(operation: str = "generate", options: RequestOptions = NO_OPTIONS) -> Call:
    return Call(
        id="c", dialect="openai-chat", operation=operation, body=b"", options=options,
        received_at=NOW, started_at=0,
    )  # fmt: skip


def make_features(model: str = "auto", **turn: Any) -> Features:
    prompt = {k: turn.pop(k) for k in ("user_turns", "tool_loop") if k in turn}
    read = world.call("hello", model, **{"user_turns": 2, **prompt})
    read.turn = ConversationTurn(**{"conversation": "one", **turn})
    return read


def make_router(*, priced: bool = False) -> Router:
    luna = msgspec.structs.replace(world.LUNA, price=PRICE if priced else None)
    labs = (world.lab("openai", [luna], [world.TERRA], [world.ASTRA]),)
    return world.router(known=world.catalogue(labs))


def entry(**more: Any) -> FinalRow:
    values: dict[str, Any] = {
        "id": "c", "at": NOW, "key": "open", "dialect": "openai-chat", "state": "settled",
        "lab": "openai", "tier": "fast", "provider": "openai", "account": "main", "model": "luna",
        "input": 2_000, "output": 10, "reasoning": 5, "config": "v",
    }  # fmt: skip
    return FinalRow(**values | more)


class ContextFixture:
    """A context loader with sessions; `sits` saves the session that the conversation has before."""

    def __init__(self) -> None:
        self.sessions = CountingSessionStore()
        self.loader = ContextLoader(
            self.sessions, ttl=60, unavailable_reason=lambda place: f"{'/'.join(place)} is out"
        )

    async def save_session(self, session: Session = SEAT) -> None:
        self.sessions.save(OPEN_KEY, "one", session, 60)

    async def serve(
        self, features: Features, row: FinalRow, router: Router | None = None, **more: Any
    ) -> Session | None:
        """Serve a call; return the session that its conversation has afterwards."""
        router = router or make_router()
        context = await self.loader.load(router, call(), features)
        decision, plan = decide(router, features, OPENAI_CHAT, context)
        self.loader.note_decision(call(**more), features, context, decision, plan, router)
        self.loader.save_session(row)
        await self.loader.drain()
        assert not self.loader._conversation_calls
        return await self.sessions.find(OPEN_KEY, features.turn.conversation)


@pytest.mark.parametrize(
    ("features", "is_looked_up"),
    [
        (make_features(), True),
        (make_features(tool_loop=True, loop=True, user_turns=1), True),
        (make_features(explicit=True, user_turns=1), True),
        (make_features("old"), True),  # an alias of auto
        (make_features(user_turns=1), False),  # named by its first message, at its first turn
        (make_features(conversation=""), False),
        (make_features("smart"), False),
        (make_features(kind="side"), False),
        (make_features(kind="side", loop=True), True),
        (make_features(kind="agent"), True),
    ],
)
async def test_a_session_is_looked_up_only_if_it_can_matter(
    features: Features, is_looked_up: bool
) -> None:
    fixture, router = (
        ContextFixture(),
        msgspec.structs.replace(make_router(), catalogue=world.CATALOGUE),
    )
    await fixture.save_session()
    context = await fixture.loader.load(router, call(), features)
    assert fixture.sessions.lookups == is_looked_up
    out = "openai/main/luna is out"
    assert context == (
        DecisionContext(at=NOW, seat=SEAT, unseated=out)
        if is_looked_up
        else DecisionContext(at=NOW)
    )


async def test_without_a_session_the_context_is_empty() -> None:
    assert await ContextFixture().loader.load(
        make_router(), call(), make_features()
    ) == DecisionContext(at=NOW)


@pytest.mark.parametrize("loader", [ContextLoader(), ContextLoader(CountingSessionStore(), ttl=0)])
async def test_without_a_session_store_nothing_is_kept(loader: ContextLoader) -> None:
    context = await loader.load(make_router(), call(), make_features())
    decision, plan = decide(make_router(), make_features(), OPENAI_CHAT, context)
    loader.note_decision(call(), make_features(), context, decision, plan, make_router())
    loader.save_session(entry())
    assert not loader._conversation_calls


async def test_the_first_answer_of_a_conversation_saves_a_session() -> None:
    session = await ContextFixture().serve(make_features(user_turns=1, first="f"), entry())
    assert session == Session(
        lab="openai", tier="smart", target="openai/luna", account="main", turns=1, first="f",
        calls=1, output=15, at=NOW,
    )  # fmt: skip


async def test_a_session_adds_up_the_tokens_of_its_answers() -> None:
    fixture = ContextFixture()
    await fixture.save_session(msgspec.structs.replace(SEAT, output=100, at=NOW))
    session = await fixture.serve(make_features(), entry(state="aborted"))
    assert session is not None
    assert (session.calls, session.output, session.turns) == (3, 115, 2)


async def test_a_session_counts_turns_that_need_less_than_its_tier() -> None:
    """Steps of a tool loop do not count; the session saved when a stream starts has the count too."""
    fixture = ContextFixture()
    fixture.loader = ContextLoader(fixture.sessions, ttl=60)
    top = msgspec.structs.replace(
        SEAT, tier="reasoning", target="openai/astra", tokens=9_000, turns_below=1
    )
    await fixture.save_session(top)
    row = entry(model="astra", tier="reasoning", input=9_000)
    session = await fixture.serve(make_features(), row)
    assert session is not None
    assert (session.tier, session.turns_below) == ("reasoning", 2)
    session = await fixture.serve(make_features(tool_loop=True, loop=True), row)
    assert session is not None
    assert session.turns_below == 2
    router, features = make_router(), make_features()
    await fixture.save_session(msgspec.structs.replace(top, account="other"))
    context = await fixture.loader.load(router, call(), features)
    decision, plan = decide(router, features, OPENAI_CHAT, context)
    fixture.loader.note_decision(call(), features, context, decision, plan, router)
    fixture.loader.note_stream_start(call(), plan.targets[0], Account("main", "s"))
    session = await fixture.sessions.find(OPEN_KEY, "one")
    assert session is not None
    assert session.turns_below == 2


@pytest.mark.parametrize(
    "row",
    [entry(state="failed"), entry(state="refused", provider=None), entry(provider=None), entry(id="d")],
)  # fmt: skip
async def test_a_call_without_an_answer_saves_no_session(row: FinalRow) -> None:
    fixture = ContextFixture()
    router, features = make_router(), make_features()
    context = await fixture.loader.load(router, call(), features)
    decision, plan = decide(router, features, OPENAI_CHAT, context)
    fixture.loader.note_decision(call(), features, context, decision, plan, router)
    fixture.loader.save_session(row)
    assert await fixture.sessions.find(OPEN_KEY, "one") is None


@pytest.mark.parametrize(
    ("features", "more"),
    [
        (make_features(kind="side", loop=True), {}),
        (make_features(conversation=""), {}),
        (make_features("smart", user_turns=1), {}),
        (make_features(), {"operation": "count_tokens"}),
    ],
)
async def test_a_call_outside_a_conversation_saves_no_session(
    features: Features, more: dict[str, Any]
) -> None:
    assert await ContextFixture().serve(features, entry(), **more) is None


@pytest.mark.parametrize(
    ("session", "more", "at"),
    [
        (SEAT, {}, NOW),
        (SEAT, {"operation": "count_tokens"}, SEAT.at),
        (msgspec.structs.replace(SEAT, target="openai/gone"), {}, SEAT.at),
    ],
)
async def test_a_side_call_renews_the_session_whose_prompt_it_has(
    session: Session, more: dict[str, Any], at: float
) -> None:
    """The provider reads the prompt, if it is the session's and the call is to be answered."""
    fixture, features = ContextFixture(), make_features(kind="side", loop=True, user_turns=3)
    await fixture.save_session(session)
    renewed = await fixture.serve(features, entry(), **more)
    assert renewed == msgspec.structs.replace(session, at=at)


async def test_a_side_call_does_not_undo_a_move_that_comes_before_its_answer() -> None:
    fixture, router = ContextFixture(), make_router()
    await fixture.save_session()
    features = make_features(kind="side", loop=True)
    context = await fixture.loader.load(router, call(), features)
    decision, plan = decide(router, features, OPENAI_CHAT, context)
    fixture.loader.note_decision(call(), features, context, decision, plan, router)
    moved = msgspec.structs.replace(SEAT, tier="smart", target="openai/terra")
    await fixture.save_session(moved)
    fixture.loader.note_stream_start(call(), plan.targets[0], Account("main", "s"))
    fixture.loader.save_session(entry())
    assert await fixture.sessions.find(OPEN_KEY, "one") == moved


async def test_a_call_without_a_tier_saves_no_session() -> None:
    fixture, router = ContextFixture(), make_router()
    decision, plan = decide(router, make_features(), OPENAI_CHAT)
    fixture.loader.note_decision(
        call(),
        make_features(),
        DecisionContext(),
        msgspec.structs.replace(decision, tier=None),
        plan,
        router,
    )
    assert not fixture.loader._conversation_calls


async def test_a_named_model_moves_a_conversation_that_has_begun() -> None:
    """A model called by its bare name gets none of the settings that its tier would add."""
    fixture = ContextFixture()
    await fixture.save_session()
    session = await fixture.serve(make_features("luna"), entry())
    assert session is not None
    assert (session.model, session.tier) == ("luna", "fast")


async def test_a_cache_hit_saves_a_session_only_if_there_was_none() -> None:
    hit = entry(state="cache_hit", cache="hit")
    fixture = ContextFixture()
    session = await fixture.serve(make_features(), hit)
    assert session is not None
    assert (session.target, session.tokens, session.output) == ("openai/luna", 0, 0)
    await fixture.save_session()
    assert await fixture.serve(make_features(), hit) == SEAT


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
async def test_a_session_has_the_size_and_lifetime_of_the_prompt_cache(
    more: dict[str, Any], tokens: int, keeps: float
) -> None:
    session = await ContextFixture().serve(make_features(), entry(**more), make_router(priced=True))
    assert session is not None
    assert (session.tokens, session.keeps) == (tokens, keeps)


async def test_a_cache_lifetime_is_kept_until_the_target_changes() -> None:
    fixture = ContextFixture()
    await fixture.save_session(msgspec.structs.replace(SEAT, keeps=3_600.0))
    session = await fixture.serve(make_features(), entry())
    assert session is not None
    assert session.keeps == 3_600
    await fixture.save_session(msgspec.structs.replace(SEAT, keeps=3_600.0))
    session = await fixture.serve(make_features(), entry(model="terra", tier="smart"))
    assert session is not None
    assert session.keeps == 300


async def test_a_conversation_remembers_its_traffic_arm_for_its_tool_loops() -> None:
    """The arm is saved at the end of a call, and when a stream starts."""
    fixture = ContextFixture()
    labs = make_router().catalogue
    router = world.router(choices=[{"when": {"traffic": 1}, "tier": "fast"}], known=labs)
    session = await fixture.serve(make_features(), entry(), router)
    assert session is not None
    assert session.arm == "choice 0:in"
    await fixture.save_session(msgspec.structs.replace(SEAT, account="other"))
    features = make_features()
    context = await fixture.loader.load(router, call(), features)
    decision, plan = decide(router, features, OPENAI_CHAT, context)
    fixture.loader.note_decision(call(), features, context, decision, plan, router)
    fixture.loader.note_stream_start(call(), plan.targets[0], Account("main", "s"))
    session = await fixture.sessions.find(OPEN_KEY, "one")
    assert session is not None
    assert (session.account, session.arm) == ("main", "choice 0:in")


async def test_a_stream_saves_a_session_before_it_ends() -> None:
    """The gateway saves a new session when the stream starts, and its figures when the stream ends."""
    fixture, router, features = (
        ContextFixture(),
        make_router(),
        make_features(user_turns=1, first="f"),
    )
    target, account = router.catalogue.labs["openai"].tiers["smart"][0], Account("main", "s")

    async def begin_stream() -> Session | None:
        context = await fixture.loader.load(router, call(), features)
        decision, plan = decide(router, features, OPENAI_CHAT, context)
        fixture.loader.note_decision(call(), features, context, decision, plan, router)
        fixture.loader.note_stream_start(call(), target, account)
        await fixture.loader.drain()
        return await fixture.sessions.find(OPEN_KEY, "one")

    assert await begin_stream() == Session(
        lab="openai",
        tier="smart",
        target="openai/terra",
        account="main",
        turns=1,
        first="f",
        at=NOW,
    )
    features = make_features()
    saved = Session(
        lab="openai", tier="smart", target="openai/terra", account="main", tokens=9, at=NOW
    )
    await fixture.save_session(saved)
    assert await begin_stream() == saved
    await fixture.save_session(msgspec.structs.replace(saved, account="second", calls=4, output=7))
    moved = await begin_stream()
    assert moved is not None
    assert (moved.account, moved.calls, moved.output) == ("main", 4, 7)


@pytest.mark.parametrize("sessions", [None, LocalSessionStore(clock=lambda: NOW)])
async def test_a_model_that_no_lab_lists_is_looked_up_in_a_thread(
    sessions: LocalSessionStore | None,
) -> None:
    """A first look at a price list takes long, and other calls go on meanwhile."""
    threads: list[int] = []

    def make(name: str) -> Target:
        threads.append(threading.get_ident())
        return Target(provider=world.OPENAI, model=name)

    owner = NameOwner(
        provider=world.OPENAI, labs=("openai",), names=("x-*",), targets=Targets(make)
    )
    catalogue = msgspec.structs.replace(world.CATALOGUE, name_owners=(owner,))
    router = world.router(known=catalogue)
    loader = ContextLoader(sessions, ttl=60)
    await loader.load(router, call(), make_features("x-1"))
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
    for model in ("x-1", "luna"):
        await loader.load(router, call(), make_features(model))
    assert len(threads) == 1


async def test_without_a_store_a_stream_start_saves_nothing() -> None:
    loader = ContextLoader()
    loader.note_stream_start(call(), world.TERRA, Account("main", "s"))
    await loader.drain()
    assert not loader._conversation_calls


@pytest.mark.parametrize(
    ("targets", "out", "reason"),
    [
        # the targets of the session's tier, what is out, why the session leaves
        ([world.LUNA, world.LITE], {"openai/main"}, "openai/main/luna is out"),
        ([grouped(world.LUNA), grouped(world.LITE)], {"openai/main"}, ""),
        ([grouped(world.LUNA), grouped(world.LITE)], {"openai/main", "gemini/main"}, "openai/main/luna is out"),
        ([grouped(world.LUNA), grouped(world.OPUS)], {"openai/main"}, "openai/main/luna is out"),
        ([grouped(world.LUNA), world.LITE], {"openai/main"}, "openai/main/luna is out"),
        ([several(world.LUNA, "order")], {"openai/main"}, "openai/main/luna is out"),
        ([several(world.LUNA, "hash")], {"openai/main"}, ""),
        ([several(world.LUNA, "hash")], {"openai/main", "openai/second"}, "openai/main/luna is out"),
        ([world.LITE], {"openai/main"}, "openai/main/luna is out"),
    ],
)  # fmt: skip
async def test_a_session_stays_while_an_equal_can_serve(
    targets: list[Target], out: set[str], reason: str
) -> None:
    """Equals are other targets of its group that are on, and accounts that are balanced."""
    fixture = ContextFixture()
    fixture.loader = ContextLoader(
        fixture.sessions,
        ttl=60,
        unavailable_reason=lambda key: (
            f"{'/'.join(key)} is out" if f"{key[0]}/{key[1]}" in out else ""
        ),
    )
    router = world.router(known=world.catalogue((world.lab("openai", targets, [world.TERRA]),)))
    await fixture.save_session()
    context = await fixture.loader.load(router, call(), make_features())
    assert context.unseated == reason
    await fixture.save_session(msgspec.structs.replace(SEAT, lab="gone"))
    context = await fixture.loader.load(router, call(), make_features())
    assert context.unseated == "openai/main/luna is out"


async def test_a_pinned_call_to_a_group_has_a_session_from_its_second_turn_on() -> None:
    fixture = ContextFixture()
    labs = (world.lab("openai", [grouped(world.LUNA), grouped(world.LITE)]),)
    router = world.router(known=world.catalogue(labs))
    features = make_features("fast", user_turns=1)
    decision, plan = decide(router, features, OPENAI_CHAT, DecisionContext(at=NOW))
    assert fixture.loader.find_session(call(), features, decision, plan) is None
    session = await fixture.serve(features, entry(provider="gemini", model="lite"), router)
    assert session is not None
    finding = fixture.loader.find_session(call(), make_features("fast"), decision, plan)
    assert finding is not None
    assert await finding == session


@pytest.mark.parametrize("turns", [1, 2])
@pytest.mark.parametrize("model", ["auto", "luna"])
@pytest.mark.parametrize(
    "turn", [{}, {"explicit": True}, {"conversation": ""}, {"kind": "side"}, {"tool_loop": True}]
)
async def test_only_an_automatic_call_of_a_conversation_waits_for_the_store(
    turns: int, model: str, turn: dict[str, Any]
) -> None:
    """Other calls wait for nothing, and the gateway asks no store."""
    fixture = ContextFixture()
    features = make_features(model, user_turns=turns, **turn)
    loading = fixture.loader.load(make_router(), call(), features)
    with pytest.raises(StopIteration) as finished:
        loading.send(None)
    assert finished.value.value == DecisionContext(at=call().received_at)
    may_have_session = not turn.keys() & {"conversation", "kind"}
    has_begun = turns == 2 or bool(turn.keys() & {"explicit", "tool_loop"})
    assert fixture.sessions.lookups == (model == "auto" and has_begun and may_have_session)
