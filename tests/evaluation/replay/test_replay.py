"""Replay under another configuration: where calls go, what they cost, and what is unknown."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from gateway.core.call import NO_OPTIONS, OPEN_KEY
from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext, DialTerms, Session
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import ReplayRow
from gateway.core.prompt import Prompt
from gateway.evaluation import chart
from gateway.evaluation.replay import report
from gateway.evaluation.replay.conversations import ReplayedConversation
from gateway.evaluation.replay.output_tokens import TierOutputTokens
from gateway.evaluation.replay.replay import LedgerReplay
from gateway.evaluation.replay.totals import REFUSED_COLUMN, ReplayedOutcome
from gateway.routing import features
from gateway.routing.features import Features
from gateway.routing.replay_decision import RecordedFeatures
from gateway.routing.router import Router
from tests.evaluation.replay.traffic import START, Ask, logged, router, served

SHORT = {"name": "short", "when": {"user_tokens": {"max": 9}}, "tier": "fast"}
HARD = {"name": "hard", "when": {"user_tokens": {"max": 9}}, "tier": "reasoning"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("replay")


@pytest.fixture(scope="module")
def make(folder: Path) -> Callable[..., Router]:
    def make_router(*choices: Any, **more: Any) -> Router:
        return router(folder, choices=list(choices), **more)

    return make_router


def row(number: int = 1, *, talk: str = "", **changes: Any) -> ReplayRow:
    """Return an answered call on smart: 10,000 tokens of prompt, 9,000 of them cached."""
    basis: dict[str, Any] = {
        "user_tokens": 3,
        "chars": 40_000,
        "turns": number,
        "signals": {"words": 3},
        "patterns": "",
        "target": "acme/able-1",
        **changes.pop("basis", {}),
    }
    if talk:
        basis["turn"] = ConversationTurn(conversation=talk, explicit=True)
    plain: dict[str, Any] = {
        "id": f"tg-{number}", "at": START + number, "key": "open", "dialect": "openai-chat",
        "asked": "auto", "state": "settled", "lab": "acme", "tier": "smart", "source": "default",
        "provider": "acme", "model": "able-1", "input": 1_000, "cache_read": 9_000, "output": 500,
        "cost": Decimal("0.0039"), "config": "old", "basis": DecisionRecord(**basis),
    }  # fmt: skip
    return ReplayRow(**{**plain, **changes})


def replay_rows(router: Router, *rows: ReplayRow, **more: Any) -> LedgerReplay:
    walk = LedgerReplay(router, **more)
    for item in rows:
        walk.replay_row(item)
    return walk


@pytest.fixture(autouse=True)
def answers_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make answers of all tiers equally long; test_output_tokens.py tests their true lengths."""
    monkeypatch.setattr(TierOutputTokens, "compute_ratio", lambda *_: 1.0)


NONE = Decimal(0)
OFF: dict[str, Any] = {"routing": {"classifier": "off"}}
STICKY: dict[str, Any] = {"routing": {"classifier": "off", "conversation": "sticky"}}


def test_a_call_that_stays_keeps_its_cost(make: Callable[..., Router]) -> None:
    total = replay_rows(make(**OFF), row(tags=("a", "b"), cost=Decimal("7.5"))).totals.total
    assert (total.calls, total.changed, total.usd_before, total.usd_after) == (
        1,
        0,
        Decimal("7.5"),
        Decimal("7.5"),
    )


def test_a_call_that_moves_pays_for_its_whole_prompt_without_a_cache(
    make: Callable[..., Router],
) -> None:
    """The prices of deep-1: 5 USD a million in, 0.5 read from the cache, 20 out."""
    walk = replay_rows(make(HARD, **OFF), row(talk="one", tags=("a",)))
    assert walk.totals.total.usd_after == Decimal("0.06")  # 10,000 * 5 + 500 * 20, in millionths
    assert walk.totals.cache_lost_usd == Decimal("0.0405")  # 9,000 tokens at 5 in place of 0.5
    (call,) = walk.totals.changed
    assert call.outcome_before == ReplayedOutcome("acme", "smart", "acme/able-1", "default")
    assert call.outcome_after == ReplayedOutcome("acme", "reasoning", "acme/deep-1", "hard")
    assert call.usd_change == Decimal("0.06") - Decimal("0.0039")
    assert walk.totals.keys["open"].changed == walk.totals.tags["a"].changed == 1


def test_later_calls_use_the_cache_of_the_new_target(make: Callable[..., Router]) -> None:
    """The first call reads everything; the second reads it from the cache."""
    walk = replay_rows(make(HARD, **OFF), row(1, talk="one"), row(2, talk="one"))
    second = Decimal(10_000) * Decimal("0.5") / 1_000_000 + Decimal("0.01")
    assert walk.totals.total.usd_after == Decimal("0.06") + second
    assert walk.totals.cache_gained_usd == Decimal("0.0045")  # 1,000 tokens more than it had cached


def test_a_cache_that_is_too_old_does_not_count(make: Callable[..., Router]) -> None:
    late = row(2, talk="one", at=START + 1_000)
    walk = replay_rows(make(HARD, **OFF), row(1, talk="one"), late)
    assert walk.totals.total.usd_after == Decimal("0.12")


def test_another_conversation_has_a_cache_of_its_own(make: Callable[..., Router]) -> None:
    walk = replay_rows(make(HARD, **OFF), row(1, talk="one"), row(2, talk="two"), row(3))
    assert walk.totals.total.usd_after == Decimal("0.18")


def test_a_call_that_returns_to_a_target_finds_its_earlier_cache(
    make: Callable[..., Router],
) -> None:
    """In the log all calls stay on one target; in the replay the second call goes elsewhere."""
    long = {"user_tokens": 100}
    rows = [
        row(1, talk="one", basis=long),
        row(2, talk="one"),
        row(3, talk="one", basis=long, input=3_000, cost=Decimal("0.0059")),
    ]
    walk = replay_rows(make(HARD, routing={"classifier": "off", "conversation": "turn"}), *rows)
    assert walk.totals.total.changed == 1
    # of its 12,000 tokens, the 10,000 of its first call are still cached there
    third = (10_000 * Decimal("0.1") + 2_000 + 500 * 4) / 1_000_000
    assert walk.totals.total.usd_after == Decimal("0.0039") + Decimal("0.06") + third


def test_a_conversation_that_was_moved_stays_there(make: Callable[..., Router]) -> None:
    """The replay uses its own session: the log's target never served the moved conversation."""
    seat = DecisionContext(
        seat=Session(lab="acme", tier="smart", target="acme/able-1", at=START + 1)
    )
    long = {"user_tokens": 100, "evidence": seat}
    rows = [row(1, talk="one"), row(2, talk="one", basis=long), row(3, talk="two", basis=long)]
    walk = replay_rows(make(HARD, **STICKY), *rows)
    first, second = walk.totals.changed
    assert (first.outcome_after.decider, second.outcome_after.decider) == ("hard", "seat")
    assert second.outcome_after.target == "acme/deep-1"
    beside = row(
        2, basis={"user_tokens": 100, "turn": ConversationTurn(conversation="one", kind="side")}
    )
    assert replay_rows(make(HARD, **OFF), rows[0], beside).totals.total.changed == 1


@pytest.mark.parametrize("loop", [True, False])
def test_a_side_call_with_its_prompt_keeps_a_moved_conversation_in_the_cache(
    make: Callable[..., Router], *, loop: bool
) -> None:
    """The cache lasts 300 s. A side call with another prompt does not renew it.

    A conversation whose cache has expired goes where the log has it.
    """
    turn = ConversationTurn(conversation="one", explicit=True, kind="side", loop=loop)
    side = row(2, basis={"turn": turn}, at=START + 200)
    last = row(3, talk="one", basis={"user_tokens": 100}, at=START + 400)
    walk = replay_rows(make(HARD, **STICKY), row(1, talk="one"), side, last)
    deciders = {call.id: call.outcome_after.decider for call in walk.totals.changed}
    assert deciders.get(last.id) == ("seat" if loop else None)


def test_a_call_that_cost_nothing_costs_nothing_elsewhere(make: Callable[..., Router]) -> None:
    hit = row(1, state="cache_hit", cache="hit", cost=Decimal(0))
    failed = row(2, state="failed", cost=Decimal("0.5"), input=None, output=None)
    total = replay_rows(make(HARD, **OFF), hit, failed).totals.total
    assert (total.changed, total.usd_before, total.usd_after) == (2, Decimal("0.5"), Decimal("0.5"))


def test_unknown_costs_are_counted_and_in_no_sum(make: Callable[..., Router]) -> None:
    rows = [
        row(1, cost=None),
        row(2, cost=None, state="failed"),
        row(3, input=None),
        row(4, output=None),
    ]
    total = replay_rows(make(HARD, **OFF), *rows).totals.total
    assert (total.unknown_cost_calls, total.usd_before, total.usd_after) == (4, NONE, NONE)
    models = {"deep-1": {"context": 1_000_000}}
    free = make(
        HARD,
        labs={
            "acme": {
                "fast": [{"model": "swift-1"}],
                "smart": [{"model": "able-1"}],
                "reasoning": [{"model": "bare"}],
            }
        },
        models=models,
        **OFF,
    )
    assert replay_rows(free, row()).totals.total.unknown_cost_calls == 1


def test_a_target_that_took_over_in_the_log_takes_over_again(make: Callable[..., Router]) -> None:
    rows = [
        row(1, talk="one"),
        row(
            2,
            talk="one",
            model="able-2",
            provider="spare",
            basis={"user_tokens": 100, "target": "acme/able-1"},
        ),
    ]
    walk = replay_rows(make(HARD, routing={"classifier": "off", "conversation": "turn"}), *rows)
    assert walk.totals.total.usd_after == Decimal("0.06") + Decimal("0.0039")


def test_a_refusal_is_an_outcome(make: Callable[..., Router]) -> None:
    shut = make(guards=[{"name": "shut", "refuse": "No."}], **OFF)
    refused = row(
        2,
        state="refused",
        lab=None,
        tier=None,
        problem="not_allowed",
        cost=Decimal(0),
        basis={"target": None},
    )
    walk = replay_rows(shut, row(1), refused)
    total = walk.totals.total
    assert (total.changed, total.usd_after, total.tiers_after[REFUSED_COLUMN]) == (1, NONE, 2)
    (call,) = walk.totals.changed
    assert call.outcome_after == ReplayedOutcome(decider="not_allowed")
    served = replay_rows(make(**OFF), refused).totals
    assert (served.total.unknown_cost_calls, served.changed[0].outcome_before) == (
        1,
        ReplayedOutcome(decider="not_allowed"),
    )
    untold = msgspec.structs.replace(refused, problem=None)
    assert replay_rows(make(**OFF), untold).totals.changed[0].outcome_before == ReplayedOutcome(
        decider="refused"
    )


def test_missing_data_is_counted_and_never_guessed(make: Callable[..., Router]) -> None:
    word = make({"name": "word", "when": {"keywords": ["hi"]}, "tier": "fast"}, **OFF)
    early = msgspec.structs.replace(row(3, lab=None, state="refused"), basis=None)
    old = msgspec.structs.replace(row(2, talk="one"), basis=None)
    walk = replay_rows(word, row(1, talk="one"), old, early)
    assert walk.totals.missing_data == {
        "the text of the last user turn, for a new pattern": 1,
        "the inputs of the decision": 1,
    }
    total = walk.totals.total
    assert (total.calls, total.undecided, total.usd_before, walk.totals.refused_early) == (
        2,
        2,
        NONE,
        1,
    )


def test_a_replay_reads_a_stored_text(make: Callable[..., Router]) -> None:
    word = make({"name": "word", "when": {"keywords": ["hi"]}, "tier": "fast"}, **OFF)

    def text(row: ReplayRow, recorded: RecordedFeatures) -> Features | None:
        if row.id == "tg-2":
            return None
        prompt = Prompt(model="auto", user="hi there", user_turns=1, chars=8)
        return features.read(prompt, recorded.dialect, OPEN_KEY, NO_OPTIONS)

    walk = replay_rows(word, row(1), row(2), read_text=text)
    assert (walk.totals.total.changed, walk.totals.total.undecided) == (1, 1)


def test_a_replay_assumes_that_plain_calls_can_be_translated(
    make: Callable[..., Router],
) -> None:
    providers = {
        "acme": {
            "base_url": "http://127.0.0.1:9",
            "auth": "none",
            "dialects": {"anthropic-messages": "/v1/messages"},
        },
    }
    labs = {"acme": {name: [{"model": "able-1"}] for name in ("fast", "smart", "reasoning")}}
    moved = make(providers=providers, labs=labs, **OFF)
    walk = replay_rows(
        moved, row(1), row(2, basis={"images": 1}), row(3, basis={"members": ("stop",)})
    )
    assert (walk.totals.assumed_translations, walk.totals.total.undecided) == (1, 2)
    assert walk.totals.missing_data == {
        "the members that tell if acme/able-1 can serve it in anthropic-messages": 2
    }


def test_the_calls_with_the_largest_change_of_cost_are_listed(make: Callable[..., Router]) -> None:
    rows = [row(n, output=500 if n == 2 else 100 * n, cost=Decimal(0)) for n in range(1, 5)]
    walk = replay_rows(make(HARD, **OFF), *rows, max_changed=2)
    assert [call.id for call in walk.totals.changed] == ["tg-2", "tg-4"]
    assert replay_rows(make(HARD, **OFF), *rows, max_changed=0).totals.changed == []
    equal = replay_rows(make(HARD, **OFF), *(row(n) for n in (1, 2, 3)), max_changed=2)
    assert [call.id for call in equal.totals.changed] == ["tg-1", "tg-2"]


def test_embeddings_have_no_tier(make: Callable[..., Router]) -> None:
    assert ReplayedOutcome("acme", None, "acme/e").column == "no tier"


def test_the_report_has_exact_money(make: Callable[..., Router]) -> None:
    walk = replay_rows(make(HARD, **OFF), row(1, talk="one", tags=("a",)), row(2, cost=None))
    described = report.describe_totals(walk.totals, "new")
    assert (
        described["config"],
        described["calls"],
        described["changed"],
        described["undecided"],
    ) == ("new", 2, 2, 0)
    assert described["usd"] == {"before": "0.0039", "after": "0.06", "unknown": 1}
    assert described["tiers"] == {
        "fast": {"before": 0, "after": 0},
        "smart": {"before": 2, "after": 0},
        "reasoning": {"before": 0, "after": 2},
    }
    assert described["cache"]["lost"] == "0.0405"
    assert described["tags"]["a"]["calls"] == described["keys"]["open"]["calls"] - 1 == 1
    assert described["list"][0]["after"] == {
        "lab": "acme",
        "tier": "reasoning",
        "target": "acme/deep-1",
        "by": "hard",
    }
    assert [call["usd"] for call in described["list"]] == ["0.0561", None]


def test_the_same_rows_give_the_same_report(folder: Path, make: Callable[..., Router]) -> None:
    """Two replays of the real engine's rows, moved by a new rule, give equal reports."""
    asks = [Ask("hi", talk="one", turn=n) for n in range(1, 4)]
    _, rows = served(folder / "again", asks, **OFF)
    first, second = (
        report.describe_totals(replay_rows(make(SHORT, **OFF), *map(logged, rows)).totals, "c")
        for _ in "ab"
    )
    assert first == second
    assert first["changed"] == 3
    assert Decimal(first["usd"]["after"]) < Decimal(first["usd"]["before"])


def test_recorded_context_that_the_configuration_cannot_give_is_ignored(
    make: Callable[..., Router],
) -> None:
    """A ceiling counts if a budget may set one; a call of this very configuration keeps its own."""
    low = row(
        basis={"evidence": DecisionContext(ceiling="fast"), "target": "acme/swift-1"}, tier="fast"
    )
    configured = make(**OFF)
    assert replay_rows(configured, low).totals.total.changed == 0
    assert replay_rows(configured, low, missing_fields=["ceiling"]).totals.total.changed == 1
    own = msgspec.structs.replace(low, config=configured.catalogue.version)
    assert replay_rows(configured, own, missing_fields=["ceiling"]).totals.total.changed == 0


def test_the_chart_shows_shares_and_unknown_calls(make: Callable[..., Router]) -> None:
    """Bars are as wide as their share; undecided and unknown calls are named."""
    undecided = msgspec.structs.replace(row(3), basis=None)
    totals = replay_rows(make(HARD, **OFF), row(1), row(2, cost=None), undecided).totals
    drawn = chart.draw_replay(totals)
    assert "2 of 2 calls would go elsewhere" in drawn
    assert "1 more cannot be decided again" in drawn
    assert "1 call has a cost that is not known" in drawn
    assert "smart: 2 calls" in drawn
    assert "fast: " not in drawn
    assert "+1438.5%" in drawn
    nothing = chart.draw_replay(
        replay_rows(
            make(**OFF), row(1, cost=Decimal(0)), row(2, cost=None), row(3, cost=None)
        ).totals
    )
    assert "2 calls have a cost" in nothing
    assert "%;" not in nothing
    rows = [row(1), *(row(n, basis={"user_tokens": 100}) for n in range(2, 40))]
    assert chart.draw_replay(replay_rows(make(HARD, **OFF), *rows).totals).count(">3%<") == 0
    ET.fromstring(drawn)  # noqa: S314 - of our own


def test_another_effort_of_a_model_has_another_cache(make: Callable[..., Router]) -> None:
    """An effort that the client asks for comes before that of the tier."""
    labs = {
        "acme": {
            "smart": [{"model": "able-1"}],
            "fast": [{"model": "deep-1", "effort": "low"}],
            "reasoning": [{"model": "deep-1", "effort": "high"}],
        }
    }
    configured = make(HARD, labs=labs, routing={"classifier": "off", "conversation": "turn"})
    basis = {"target": "acme/deep-1", "user_tokens": 100}
    low = row(
        1,
        talk="one",
        provider="acme",
        model="deep-1",
        tier="fast",
        effort="low",
        asked="fast",
        basis=basis,
    )
    assert low.cost is not None
    lost = replay_rows(configured, low, row(2, talk="one")).totals.total
    assert lost.usd_after == low.cost + Decimal("0.06")
    own = row(2, talk="one", basis={"effort": "low"})
    assert replay_rows(configured, low, own).totals.cache_lost_usd == 0


def test_the_new_part_of_a_prompt_is_in_no_cache(make: Callable[..., Router]) -> None:
    """Caches work in blocks, so the replay keeps nearly all that the log found cached."""
    rows = [row(1, talk="one"), row(2, talk="one", input=300, cache_read=9_800)]
    walk = replay_rows(make(HARD, **OFF), *rows)
    second = (300 * 5 + 9_800 * Decimal("0.5") + 500 * 20) / 1_000_000
    assert walk.totals.total.usd_after == Decimal("0.06") + second
    assert walk.totals.cache_gained_usd == 0


def test_another_configuration_computes_its_own_price_of_quality(
    make: Callable[..., Router],
) -> None:
    """The configuration may have other prices; answers are as long as the row says."""
    terms = DialTerms("acme", (400, 600, 2_000), 1e9)
    dialled: dict[str, Any] = {
        "source": "classifier", "tier": "fast", "model": "swift-1",
        "basis": {"evidence": DecisionContext(dial=terms), "target": "acme/swift-1"},
    }  # fmt: skip
    configured = make(routing={"classifier": "prior", "quality": 9})
    own = row(1, config=configured.catalogue.version, **dialled)
    assert replay_rows(configured, own).totals.total.changed == 0
    (moved,) = replay_rows(configured, row(1, **dialled)).totals.changed
    assert moved.outcome_after.tier == "smart"


def test_an_answer_to_a_call_without_a_tier_leaves_no_session() -> None:
    """A model for embeddings has no tier."""
    conversation = ReplayedConversation()
    decision = Decision(lab="one", tier=None, source="pin")
    plan = Plan(targets=(), dialects=())
    conversation.record_session(row(), ConversationTurn(), decision, plan, 0)
    assert conversation.session is None
