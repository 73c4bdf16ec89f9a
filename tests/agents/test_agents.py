"""Conversations of agents through a real gateway, beside the same ones with one model alone.

The provider has a prompt cache and bills on its own count; `make agents` is the long form.
"""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from gateway.core import jsonio
from gateway.core.decision_record import RecordedScope
from gateway.core.ledger_rows import ReplayRow
from gateway.evaluation.replay.replay import LedgerReplay
from gateway.ledger.store import open_store
from gateway.runtime.build import build_config
from gateway.settings.loader import load
from tests.agents.__main__ import CAREFUL, HOME, Sums, compare, dear, kept, play, total
from tests.agents.host import LEAST, TTL, CachingHost, HostBill, HostReply
from tests.agents.judge import ESTIMATE_ERROR, StrategySum, judge
from tests.agents.place import ABROAD, START, STRATEGIES, AgentPlace
from tests.agents.run import Called
from tests.agents.story import (
    _EASY,
    _HARD,
    _MIDDLE,
    CLIENTS,
    KINDS,
    kind_of,
    seeds,
    story,
)
from tests.agents.wire import Thread, ThreadMessage
from tests.e2e.upstream import Request
from tests.e2e.world import Loop

SEEDS = (20, 5, 306, 47)
"""One seed of each client: with gaps, compactions, sub-agents, suggestions, titles and streams.

The second one is compacted after its cache has expired, so the compaction fills the cache again.
"""


class Played(NamedTuple):
    """The sums of all conversations, and the folder with its configuration and ledger."""

    sums: dict[str, StrategySum]
    folder: Path


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("agents")
    loop = Loop()
    place = AgentPlace(loop, folder)
    try:
        return Played(play(place, SEEDS), folder)
    finally:
        place.close()
        loop.close()


@pytest.fixture(scope="module")
def sums(played: Played) -> dict[str, StrategySum]:
    return played.sums


def test_stories_have_all_that_agents_do() -> None:
    turns = [turn for seed in SEEDS for turn in story(seed).turns]
    steps = [step for turn in turns for step in turn.steps]
    assert {story(seed).client for seed in SEEDS} == set(CLIENTS)
    assert {story(seed).stream for seed in SEEDS} == {True, False}
    assert all(any(getattr(turn, name) for turn in turns) for name in ("gap", "compact", "suggest"))
    assert any(step.agent for step in steps)
    assert any(len(step.sizes) > 1 for step in steps)
    assert max(len(turn.steps) for turn in turns) >= 10


def test_nothing_is_wrong_with_any_conversation(sums: dict[str, StrategySum]) -> None:
    """A user turn has at most one decision, and a loop none; titles are decided alone and move
    nothing.

    A bill exceeds that of one of its models by no more than the traced move costs. It equals the
    ledger's to the last digit. No prompt differs from the one that is sent without a gateway.
    """
    assert {name: sum_.wrong for name, sum_ in sums.items()} == {name: [] for name in sums}
    assert len({sums[name].calls for name in ("direct", *STRATEGIES)}) == 1
    assert sums[HOME].calls == sums[ABROAD].calls > 0
    assert sums["turn"].decided == sums["turn"].turns
    assert all(0 < sums[name].decided < sums[name].turns for name in CAREFUL[:2])


def test_the_prompt_cache_is_kept(sums: dict[str, StrategySum]) -> None:
    """Careful strategies keep 95% of one model's cache hits; a decision at each turn keeps fewer."""
    assert kept(sums) == []
    assert sums["sticky"].hits > sums["turn"].hits
    assert sums["sticky"].hits > 0.98 * sums["direct"].hits


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sums]:
    """Conversations of all kinds, in their shares, through the default strategy and `sticky`."""
    loop = Loop()
    place = AgentPlace(loop, tmp_path_factory.mktemp("kinds"))
    try:
        return {kind: compare(place, seeds(kind, 32), ("sticky", "cost-aware")) for kind in KINDS}
    finally:
        place.close()
        loop.close()


def test_the_default_costs_hardly_more_than_what_stays_longest(kinds: dict[str, Sums]) -> None:
    """The bound holds over all kinds. Chats that turn hard cost more, for the default follows them."""
    sums = total(kinds)
    assert {name: sum_.wrong for name, sum_ in sums.items()} == {name: [] for name in sums}
    assert dear(sums) == []
    for kind, dearer in (("turns easy", False), ("turns hard", True)):
        own = kinds[kind]
        assert (own["cost-aware"].usd > own["sticky"].usd) is dearer
    hard = kinds["turns hard"]
    assert hard["cost-aware"].tiers["fast"] < hard["sticky"].tiers["fast"]


def test_the_judge_reports_a_default_that_costs_too_much() -> None:
    sums = {"sticky": StrategySum(usd=Decimal(10)), "cost-aware": StrategySum(usd=Decimal("11.01"))}
    assert dear(sums) == ["cost-aware costs 1.10 times what sticky does, 1.10 at most"]
    sums["cost-aware"].usd = Decimal(11)
    assert dear(sums) == []


def test_kinds_of_conversations_are_as_their_names_say() -> None:
    """Eight conversations have as many of each kind as `PARTS` says."""
    assert {kind: len(seeds(kind, 16)) for kind in KINDS} == {
        "mixed": 2, "steady": 6, "turns easy": 6, "turns hard": 2,
    }  # fmt: skip
    for kind, first, last in (("turns easy", _HARD, _EASY), ("turns hard", _EASY, _HARD)):
        for seed in seeds(kind, 40):
            turns = story(seed).turns
            assert (turns[0].text in first, turns[-1].text in last) == (True, True)
    for seed in seeds("steady", 40):
        texts = {turn.text for turn in story(seed).turns}
        assert any(texts <= {*pool} for pool in (_EASY, _MIDDLE, _HARD))
    assert {kind_of(seed) for kind in KINDS for seed in seeds(kind, 40)} == {*KINDS}


def test_replay_foresees_what_another_strategy_costs(played: Played) -> None:
    """Replay the calls of each strategy under each other one.

    The estimate is within a tenth of the provider's bill for the same conversations. A strategy
    replayed under itself changes nothing, to the last digit. This provider writes equally long
    answers on each tier, while a replay expects longer ones of a dearer tier.
    """
    data = played.folder / "data"
    store = open_store(f"sqlite:///{data / 'ledger.db'}")
    store.feed(data / "ledger")
    rows = list(store.read_replay_rows())
    when = datetime.fromtimestamp(START, UTC)
    router = build_config(load(played.folder / "gateway.yaml", {}), when).router
    for was in STRATEGIES:
        for then in STRATEGIES:
            walk = LedgerReplay(router)
            for row in rows:
                if row.key == was:
                    walk.replay_row(under(row, then))
            total, played_sum = walk.totals.total, played.sums[then]
            billed = played_sum.usd + played_sum.titles
            assert (total.undecided, total.unknown_cost_calls) == (0, 0)
            assert abs(total.usd_after - billed) < billed / 10, (was, then)
            if was == then:
                assert (total.changed, total.usd_after) == (0, billed)


def under(row: ReplayRow, strategy: str) -> ReplayRow:
    """Return a row, as if its key had another strategy."""
    assert row.basis is not None
    scope = msgspec.structs.replace(row.basis.scope or RecordedScope(), conversation=strategy)
    return msgspec.structs.replace(row, basis=msgspec.structs.replace(row.basis, scope=scope))


def test_a_translated_prompt_begins_as_it_did(sums: dict[str, StrategySum]) -> None:
    """Cache marks, a cache key or a tool loop keep a translated prompt cached, too."""
    assert ABROAD not in kept(sums)
    assert sums[ABROAD].hits > 0


def called(kind: str = "user", source: str = "seat", model: str = "clay-smart", **more: object) -> Called:  # fmt: skip
    values = {"read": 0, "write": 1_000, "fresh": 0, "output": 10, "moved": False, "cost": Decimal(0), **more}  # fmt: skip
    moved, cost = bool(values.pop("moved")), values.pop("cost")
    assert cost is None or isinstance(cost, Decimal)
    bill = HostBill("x1", model, **{name: int(str(value)) for name, value in values.items()})
    return Called("x1", kind, bill, source, "smart", cost, moved)


@pytest.mark.parametrize(
    ("calls", "wrong"),
    [
        ([called(source="classifier"), called("loop")], ""),
        ([called(), called("loop", "classifier")], "call 1 (loop) is decided by classifier"),
        ([called(), called("beside", "rule")], "call 1 (beside) is decided by rule"),
        ([called(), called(model="clay-deep")], "goes from clay-smart to clay-deep untold"),
        ([called(model="clay-deep"), called("loop", moved=True)], "goes from clay-deep to clay-smart untold"),
        ([called(), called(model="clay-deep", moved=True, cost=Decimal("0.01"))], ""),
        ([called(), called(model="clay-deep", moved=True, cost=None)], "whose cost is not known"),
        ([called(), called(write=999)], "999 tokens were asked, 1000 alone"),
    ],
)  # fmt: skip
def test_the_judge_reports_each_kind_of_fault(calls: list[Called], wrong: str) -> None:
    judged = judge(1, calls, [called(it.kind) for it in calls], moves=False)
    assert (wrong in "; ".join(judged)) if wrong else judged == []


def test_the_judge_reports_a_lost_cache_that_no_trace_shows() -> None:
    """The second call reads nothing from the cache, where without a gateway it would have."""
    through = [called(), called(moved=True, write=1_000)]
    alone = [called(), called(write=0, read=1_000)]
    lost, billed = judge(1, through, alone, moves=False)
    assert "call 1 loses 0.0024 of the cache, 0 by the trace" in lost
    assert "billed 0.0052, 0.0028 on one model, 0.0028 by the traces" in billed
    through[1] = called(moved=True, write=1_000, cost=Decimal("0.0024"))
    assert judge(1, through, alone, moves=False) == []


def test_the_judge_reports_a_loss_that_another_saving_hides() -> None:
    """The bill is below that of the dearer model, which served the first call only."""
    through = [called(model="clay-deep"), called(moved=True, write=1_000), called()]
    alone = [called(), called(write=0, read=1_000), called()]
    (wrong,) = judge(1, through, alone, moves=False)
    assert "call 1 loses 0.0024 of the cache, 0 by the trace" in wrong


@pytest.mark.parametrize(("lost", "is_wrong"), [(ESTIMATE_ERROR, False), (LEAST["clay"], True)])
def test_the_judge_allows_for_the_estimate_of_a_prompt_that_begins_anew(
    lost: int, *, is_wrong: bool
) -> None:
    """The allowance is less than the smallest cache, and no move of a longer prompt has it."""
    again = called(moved=True, write=900)
    alone = called(write=900 - lost, read=lost)
    for before, wrong in ((1_000, is_wrong), (900, True)):
        start = called(write=before)
        judged = judge(1, [start, again], [start, alone], moves=False)
        assert bool(judged) is wrong


class HostRequest:
    """A provider that receives the same conversation again and again."""

    def __init__(self, client: str) -> None:
        self.now = 0.0
        self.host = CachingHost(lambda: self.now)
        self.host.replies["x"] = HostReply("Yes.")
        words = "Be kind. " * 1_000
        self.thread = Thread(client, "x", "s", words, tools=1, stream=False)
        self.thread.history.append(ThreadMessage(texts=["Hello " * 100]))

    def ask(self, account: str = "a", model: str = "", **more: str) -> HostBill:
        clay = self.thread.client == "claude-code"
        body = self.thread.body(model or ("clay-smart" if clay else "oak-big"))
        names = (b"x-api-key", b"authorization")
        headers = [(name, account.encode()) for name in names]
        headers += [(name.encode(), value.encode()) for name, value in more.items()]
        request = Request(b"POST / HTTP/1.1", headers, jsonio.dumps(body))
        {"claude-code": self.host.clay, "codex": self.host.responses}.get(
            self.thread.client, self.host.chat
        )(request)
        return self.host.bills[-1]

    def go_on(self, blocks: int = 1) -> None:
        self.thread.history += [
            ThreadMessage(texts=["x"] * blocks, answer=True),
            ThreadMessage(texts=["More."]),
        ]


def test_a_provider_caches_marked_prefixes() -> None:
    """The provider finds a marked prefix within twenty blocks, for five minutes, by model and account."""
    request = HostRequest("claude-code")
    first = request.ask()
    assert (first.read, first.fresh) == (0, 0)
    request.go_on()
    second = request.ask()
    assert second.read == first.write
    assert 0 < second.write < 50
    assert request.ask().write == request.ask().fresh == 0
    assert request.ask("b").read == request.ask(model="clay-deep").read == 0
    request.go_on(30)
    far = request.ask()
    assert 0 < far.read < first.write, "the instructions alone: their mark is where it was"
    request.now += TTL
    assert request.ask().write == 0
    request.now += TTL + 1
    assert request.ask().read == 0


@pytest.mark.parametrize("client", ["codex", "opencode", "application"])
def test_a_provider_keeps_all_by_itself(client: str) -> None:
    """Automatic caching is free, in steps of 128 tokens, and per replica; another effort misses."""
    request = HostRequest(client)
    first = request.ask()
    assert (first.read, first.write) == (0, 0)
    request.go_on()
    second = request.ask()
    assert second.read == first.fresh - first.fresh % 128
    assert request.ask("b").read == 0
    sessions = [request.ask(**{"x-session-affinity": f"s{at}"}).read for at in range(6)]
    assert 0 in sessions
    assert any(sessions)
    request.now += TTL + 1
    assert request.ask().read == 0


def test_short_prompts_are_not_kept() -> None:
    for client in ("claude-code", "codex"):
        request = HostRequest(client)
        request.thread.instructions = "Be kind."
        assert {(bill.read, bill.write) for bill in (request.ask(), request.ask())} == {(0, 0)}
