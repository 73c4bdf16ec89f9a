"""Law 8 at its root: a row keeps enough to decide its call again, and names what it lacks."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import Key, RequestOptions
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext, MeaningMatch, Score, Thresholds
from gateway.core.decision_record import DecisionRecord, RecordedOptions
from gateway.core.errors import Problem, ProblemError
from gateway.core.ledger_rows import FinalRow
from gateway.core.prompt import Prompt
from gateway.core.target import TIERS
from gateway.dialects import OPENAI_CHAT
from gateway.ledger import journal
from gateway.routing.classifier.heuristic import HeuristicClassifier
from gateway.routing.classifier.text_signals import TextSignals
from gateway.routing.decision_record import MAX_TOOL_NAME_CHARS, MAX_TOOL_NAMES, DecisionRecorder
from gateway.routing.errors import MissingFeatureError
from gateway.routing.replay_decision import RecordedFeatures, decide_again
from gateway.routing.router import Router
from tests.ledger.rows import entry
from tests.routing import world
from tests.routing.world import Json

TEXTS = st.sampled_from(
    [
        "",
        "hi",
        "hello there",
        "Prove that 2 is prime.",
        "def f(): return 1",
        "证明根号二是无理数",
        "a " * 500,
    ]
)
RANGES = st.sampled_from([{"min": 1}, {"max": 3}, {"min": 2, "max": 40}, {"min": 0.3}])
LEAVES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "keywords": st.lists(
            st.sampled_from(["hi", "prove", "prime", "the"]), min_size=1, max_size=2
        ),
        "matches": st.sampled_from(["^h", "[0-9]", "^$", "a a"]),
        "user_tokens": RANGES,
        "prompt_tokens": RANGES,
        "turns": RANGES,
        "code": RANGES,
        "maths": RANGES,
        "need": RANGES,
        "confidence": RANGES,
        "language": st.sampled_from([["en"], ["zh", "unknown"]]),
        "time": st.sampled_from([{"hours": "00:00-12:00"}, {"days": "thu"}]),
        "kind": st.sampled_from([["main"], ["side", "agent"]]),
        "tools": st.one_of(st.booleans(), RANGES),
        "files": st.booleans(),
        "tool_names": st.sampled_from([["read"], ["write", "tool-99"]]),
        "tool_loop": st.booleans(),
        "images": st.booleans(),
        "json_schema": st.booleans(),
        "stream": st.booleans(),
        "asked": st.just(["auto"]),
        "key": st.just(["alice"]),
        "tag": st.sampled_from([["a"], ["b", "long"]]),
    },
)
WHENS = st.one_of(
    LEAVES,
    LEAVES.map(lambda name: {"not": name}),
    st.lists(LEAVES, min_size=1, max_size=3).map(lambda conditions: {"any": conditions}),
)
TRAFFIC = st.sampled_from([{}, {}, {"traffic": 0.5}])
GUARDS = st.fixed_dictionaries(
    {
        "when": st.builds(lambda when, traffic: {**when, **traffic}, WHENS, TRAFFIC),
        "no_cache": st.booleans(),
    },
    optional={
        "min_tier": st.sampled_from(TIERS),
        "max_tier": st.sampled_from(TIERS),
        "deny": st.sampled_from([["google"], ["openai"]]),
        "tag": st.just(["long"]),
        "complete": st.just("hold"),
        "quality": st.sampled_from([0, 4, 10]),
    },
)
CHOICES = st.fixed_dictionaries(
    {"when": WHENS}, optional={"tier": st.sampled_from(TIERS), "lab": st.just("google")}
)


class TextReadingClassifier:
    """A classifier that reads the text itself."""

    name = version = "reader-1"
    thresholds = Thresholds(0.5, 0.5, "reader-1")

    def score(self, text: str, signals: TextSignals) -> Score:
        if text.startswith("def"):
            raise KeyError(text)
        return Score((len(text) % 7) / 7, 1)

    def explain(self, signals: TextSignals, score: Score) -> str:
        return f"{signals.words} words, {score.fast}"


ROUTERS = st.builds(
    world.router,
    guards=st.lists(GUARDS, max_size=3),
    choices=st.lists(CHOICES, max_size=3),
    classifier=st.sampled_from([None, HeuristicClassifier(), TextReadingClassifier()]),
)
KEYS = st.builds(
    Key,
    name=st.sampled_from(["alice", "bob"]),
    lab=st.sampled_from([None, "google"]),
    tags=st.sampled_from([(), ("a",)]),
    allowed_tags=st.sampled_from([None, (), ("b",)]),
    labs=st.sampled_from([None, None, (), ("openai",)]),
    tiers=st.sampled_from([None, None, ("fast", "smart")]),
    models=st.sampled_from([None, None, ("sol*", "lite")]),
    complete=st.sampled_from([None, "hold"]),
    quality=st.sampled_from([None, None, 0.9]),
    max_quality=st.sampled_from([None, 0.95]),
)
STEERS = st.builds(
    RequestOptions,
    lab=st.sampled_from([None, None, "google", "nowhere"]),
    tier=st.sampled_from([None, None, None, "fast"]),
    tags=st.sampled_from([(), ("a", "b")]),
    complete=st.sampled_from([None, "off"]),
    quality=st.sampled_from([None, None, 0.0, 0.97]),
    conversation=st.sampled_from([None, "c-1"]),
)
PROMPTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "text": TEXTS,
        "model": st.sampled_from(["auto", "auto", "auto", "fast", "sol", "old", "gpt"]),
    },
    optional={
        "stream": st.booleans(),
        "user_turns": st.integers(0, 4),
        "chars": st.integers(0, 9_000),
        "tool_loop": st.booleans(),
        "tools": st.sampled_from(
            [("read",), tuple(f"tool-{n}" for n in range(100)), ("x" * 2_000,)]
        ),
        "forced_tool": st.booleans(),
        "images": st.integers(0, 1),
        "json_schema": st.booleans(),
        "effort": st.sampled_from(["none", "high"]),
        "logprobs": st.booleans(),
        "members": st.sampled_from([frozenset({"model", "stop", "logit_bias"})]),
    },
)
EVIDENCE = st.builds(
    DecisionContext,
    at=st.just(1_793_000_000.5),
    ceiling=st.sampled_from([None, None, *TIERS]),
    thresholds=st.sampled_from([None, Thresholds(0.1, 0.2, "mine")]),
    judged=st.sampled_from([None, None, Score(0.25, 0.5)]),
    nearest=st.sampled_from(
        [
            None,
            None,
            MeaningMatch("x", "smart", 0.5, 0.35),
            MeaningMatch("x", "fast", 0.1, 0.35, "route"),
        ]
    ),
    uncompared=st.sampled_from([None, None, "late"]),
    judge_kind=st.sampled_from(["chat", "decision"]),
)

type Decided = tuple[Decision, Plan] | Problem


def stored_row(
    recorder: DecisionRecorder,
    steer: RequestOptions,
    key: Key,
    prompt: Json,
    evidence: DecisionContext,
) -> FinalRow:
    """Return the row of a case, as it comes out of the journal."""
    row = entry(
        key=key.name,
        at=evidence.at,
        asked=prompt["model"],
        stream=prompt.get("stream", False),
        basis=recorder(),
    )
    decoded = journal.decode_row(journal.encode_row(row))
    assert isinstance(decoded, FinalRow)
    assert decoded.basis == row.basis is not None
    return decoded


def outcome(decided: tuple[Decision, Plan]) -> Decided:
    return world.timeless(decided[0]), decided[1]


@given(router=ROUTERS, prompt=PROMPTS, key=KEYS, steer=STEERS, evidence=EVIDENCE)
def test_a_replayed_row_gives_the_decision_of_its_call(
    router: Router, prompt: Json, key: Key, steer: RequestOptions, evidence: DecisionContext
) -> None:
    """The trace is the same too. A row may lack only the names of too many tools, and says so."""
    recorder = DecisionRecorder(
        router, world.call(key=key, steer=steer, **prompt), OPENAI_CHAT, evidence
    )
    recorded: Decided
    try:
        recorded = outcome(recorder.decide())
    except ProblemError as error:
        recorded = error.problem
    row = stored_row(recorder, steer, key, prompt, evidence)
    replayed: Decided
    lacking = ""
    try:
        replayed = outcome(decide_again(router, row))
    except ProblemError as error:
        replayed = error.problem
    except MissingFeatureError as error:
        lacking, replayed = str(error), recorded
    assert replayed == recorded
    assert lacking in ("", "the names of all tools")
    assert (
        not lacking
        or len(prompt["tools"]) > MAX_TOOL_NAMES
        or len(prompt["tools"][0]) > MAX_TOOL_NAME_CHARS
    )


def record_decision(router: Router, text: str, **more: Any) -> DecisionRecord:
    recorder = DecisionRecorder(router, world.call(text, **more), OPENAI_CHAT, DecisionContext())
    recorder.decide()
    record = recorder()
    assert record is not None
    return record


def test_the_row_does_not_contain_the_text() -> None:
    text = journal.encode_row(
        entry(
            basis=record_decision(
                world.router(), "Where is the canary?", steer=RequestOptions(conversation="canary")
            )
        )
    )
    assert b"canary" not in text


def test_a_row_with_some_tool_names_says_that_others_are_missing() -> None:
    """A reader of the names gets an error at their end, and never just a part of them."""
    record = record_decision(world.router(), "hi", tools=tuple(f"tool-{n}" for n in range(90)))
    names = RecordedFeatures(entry(basis=record), record).prompt.tools
    assert names
    with pytest.raises(MissingFeatureError, match="the names of all tools"):
        list(names)


def test_a_row_keeps_a_bounded_number_of_tool_names() -> None:
    record = record_decision(world.router(), "hi", tools=tuple(f"tool-{n}" for n in range(90)))
    assert (len(record.tools), record.more_tools) == (MAX_TOOL_NAMES, 90 - MAX_TOOL_NAMES)
    record = record_decision(world.router(), "hi", tools=("a" * MAX_TOOL_NAME_CHARS, "b", "b"))
    assert (record.tools, record.more_tools) == (("a" * MAX_TOOL_NAME_CHARS,), 1)


def test_the_recorder_does_not_read_the_text_of_a_call_that_names_its_model() -> None:
    pinned = record_decision(
        world.router(choices=[{"when": {"keywords": ["hi"]}, "tier": "fast"}]), "hi", model="sol"
    )
    assert (pinned.signals, pinned.patterns, pinned.target) == (None, None, "openai/sol")


WORDS = [
    {"when": {"keywords": ["hi"]}, "tier": "fast"},
    {"when": {"matches": "x"}, "tier": "smart"},
]


PROMPT_OPTIONS: Json = {
    "tool_loop": True, "tools": ("f",), "forced_tool": True, "hosted_tools": True, "images": 1,
    "files": 1, "audio": 1, "json_schema": True, "effort": "", "max_output": 9, "choices": 2,
    "service": "priority", "stored": True, "sampled": True, "logprobs": True,
}  # fmt: skip
"""Members of a prompt other than its text that a row keeps by the same name."""


@pytest.mark.parametrize("name", PROMPT_OPTIONS)
def test_the_row_keeps_each_option_of_a_prompt(name: str) -> None:
    assert {*DecisionRecord.__struct_fields__} & {*Prompt.__struct_fields__} == {
        *PROMPT_OPTIONS,
        "chars",
        "continuation_member",
        "members",
    }
    record = record_decision(world.router(), "hi", model="fast", **{name: PROMPT_OPTIONS[name]})
    options = {name: getattr(record, name) for name in PROMPT_OPTIONS}
    none = {name: getattr(DecisionRecord(), name) for name in PROMPT_OPTIONS}
    assert options == none | {name: PROMPT_OPTIONS[name]}


def test_a_replayed_call_still_continues_its_earlier_answer() -> None:
    """If its provider no longer keeps answers, no target may serve the call."""
    old = record_decision(
        world.router(), "hi", model="fast", stored=True, continuation_member="thread"
    )
    assert old.continuation_member == "thread"
    moved = msgspec.structs.replace(old, continuation_member="previous_response_id")
    assert decide_again(world.router(), entry(asked="fast", basis=old))
    with pytest.raises(ProblemError, match="does not keep earlier answers"):
        decide_again(world.router(), entry(asked="fast", basis=moved))


def undecided(router: Router, **row: Any) -> str:
    with pytest.raises(MissingFeatureError) as caught:
        decide_again(router, entry(asked="auto", **row))
    return str(caught.value)


def test_a_replay_finds_a_pattern_by_its_text_in_any_rule() -> None:
    old = record_decision(world.router(choices=WORDS), "hi there")
    other_router = world.router(
        choices=[
            {"when": {"matches": "x"}, "tier": "reasoning"},
            {"when": {"not": {"keywords": ["hi"]}}, "tier": "smart"},
            {"when": {"keywords": ["hi"]}, "tier": "reasoning"},
        ]
    )
    decision, _ = decide_again(other_router, entry(asked="auto", basis=old))
    assert (decision.tier, decision.rule) == ("reasoning", "choice 2")


def test_a_replay_never_guesses_what_a_row_lacks() -> None:
    old = record_decision(world.router(choices=WORDS, classifier=HeuristicClassifier()), "hi there")
    new = world.router(choices=[*WORDS[1:], {"when": {"matches": "new"}, "tier": "fast"}])
    assert undecided(new, basis=old) == "the text of the last user turn, for a new pattern"
    assert undecided(new) == "the inputs of the decision"
    assert (
        undecided(world.router(classifier=TextReadingClassifier()), basis=old)
        == "the text of the last user turn, for the classifier reader-1"
    )
    pinned = record_decision(world.router(), "hi", model="sol")
    assert (
        undecided(world.router(classifier=HeuristicClassifier()), basis=pinned)
        == "the text of the last user turn"
    )
    assert undecided(world.router(), basis=old, dialect="telex") == "a call of telex, generate"


def test_a_row_with_complete_live_is_replayed_as_hold() -> None:
    """An earlier version wrote such rows, and the gateway still reads them."""
    router = world.router()
    record = msgspec.structs.replace(
        record_decision(router, "hi"), said=RecordedOptions(complete="live")
    )
    row = journal.decode_row(journal.encode_row(entry(asked="auto", basis=record)))
    assert isinstance(row, FinalRow)
    assert decide_again(router, row)[0].complete == "hold"


def test_a_replay_uses_the_recorded_score_of_a_classifier_that_reads_text() -> None:
    router = world.router(classifier=TextReadingClassifier())
    recorder = DecisionRecorder(router, world.call("a word"), OPENAI_CHAT, DecisionContext())
    was, _ = recorder.decide()
    record = recorder()
    assert record is not None
    assert (record.classifier, record.score) == ("reader-1", Score(6 / 7, 1))
    now, _ = decide_again(router, entry(asked="auto", basis=record))
    assert world.timeless(now) == world.timeless(was)


def test_a_replay_finds_a_rule_that_reads_text_by_its_hash() -> None:
    """The rule may have any position.

    The recorder also evaluates rules that the call did not reach.
    """
    pytest.importorskip("cel_expr_python")
    first = {"when": {"keywords": ["hi"]}, "tier": "fast"}
    reads = {
        "when": {"any": [{"cel": "call.text.size() > 5"}, {"images": True}]},
        "tier": "reasoning",
    }
    other_router = {"when": {"not": {"cel": "call.text == 'x'"}}, "tier": "smart"}
    old = record_decision(world.router(choices=[first, reads]), "hi there")
    assert len(old.outcomes) == 1
    decision, _ = decide_again(world.router(choices=[reads]), entry(asked="auto", basis=old))
    assert (decision.tier, decision.rule) == ("reasoning", "choice 0")
    assert (
        undecided(world.router(choices=[other_router]), basis=old)
        == "the text of the last user turn"
    )
    was = record_decision(world.router(choices=[reads]), "hi there")
    assert was.outcomes == old.outcomes


def test_a_failed_score_fails_again_even_if_a_rule_decided_the_call() -> None:
    rule = {"when": {"matches": "^def"}, "tier": "reasoning"}
    old = record_decision(
        world.router(choices=[rule], classifier=TextReadingClassifier()), "def f(): pass"
    )
    assert (old.classifier, old.score, old.failed) == ("reader-1", None, "KeyError")
    decision, _ = decide_again(
        world.router(classifier=TextReadingClassifier()), entry(asked="auto", basis=old)
    )
    assert decision.source == "default"
    assert "it failed: KeyError" in [step.reason for step in decision.trace]


def test_a_recorder_whose_classifier_fails_gives_no_record() -> None:
    class FailingClassifier(HeuristicClassifier):
        reads = "text"

        @property
        def version(self) -> str:  # type: ignore[override]
            raise RuntimeError

    recorder = DecisionRecorder(
        world.router(classifier=FailingClassifier()),
        world.call("hi"),
        OPENAI_CHAT,
        DecisionContext(),
    )
    recorder.decide()
    assert recorder() is None


def test_a_replay_cannot_tell_what_stood_at_urls() -> None:
    row = entry(asked="auto", basis=DecisionRecord(images=1, user_tokens=1, signals={}))
    features = RecordedFeatures(row, row.basis or DecisionRecord())
    with pytest.raises(MissingFeatureError, match="the media at URLs"):
        features.find_media_problem(world.LUNA)


def test_a_row_whose_tool_names_are_all_too_long_still_has_tools() -> None:
    old = record_decision(world.router(), "hi", tools=("x" * 2_000,))
    assert (old.tools, old.more_tools) == ((), 1)
    decision, _ = decide_again(
        world.router(choices=[{"when": {"tools": True}, "tier": "fast"}]),
        entry(asked="auto", basis=old),
    )
    assert decision.rule == "choice 0"
    row = entry(asked="auto", basis=old)
    assert bool(RecordedFeatures(row, old).prompt.tools)
