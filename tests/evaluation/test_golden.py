"""Golden prompts: read with the line of every mistake, and decided as a call is."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, OPEN_KEY, Key
from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.core.target import NameOwner, Target, Targets, Tier
from gateway.dialects import OPENAI_CHAT
from gateway.evaluation import golden
from gateway.evaluation.golden import GoldenPrompt, GoldenResult
from gateway.routing import features
from gateway.routing.classifier.heuristic import HeuristicClassifier
from gateway.routing.router import decide
from gateway.settings import yaml
from gateway.settings.errors import ConfigError
from tests.routing import world

DIALECTS = ["openai-chat", "openai-responses", "anthropic-messages", "gemini"]


def read_prompts(text: str) -> list[GoldenPrompt]:
    return golden.read_prompts(yaml.read(text, "golden.yaml"))


def test_prompts_are_read_with_their_defaults() -> None:
    text = (
        "prompts:\n- {prompt: Hi, tier: fast}\n- {prompt: P, tier: smart, lab: x, model: m, why: w}"
    )
    assert read_prompts(text) == [
        GoldenPrompt(prompt="Hi", tier="fast", lab=None, model="auto", why=""),
        GoldenPrompt(prompt="P", tier="smart", lab="x", model="m", why="w"),
    ]
    with_key = "prompts: [{prompt: P, tier: smart, key: k, tags: [a, b], dialect: gemini}]"
    assert read_prompts(with_key) == [
        GoldenPrompt(prompt="P", tier="smart", key="k", tags=("a", "b"), dialect="gemini")
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "prompts:\n- {prompt: a, tier: fast}\n- {prompt: b, tier: fastt}",
            (
                "golden.yaml:3: error: prompts[1].tier: Invalid enum value 'fastt'. "
                "A tier is fast, smart, reasoning."
            ),
        ),
        (
            "prompts:\n- prompt: a\n  tiers: fast",
            "golden.yaml:2: error: prompts[0]: Object contains unknown field `tiers`.",
        ),
        (
            "prompts:\n- prompt: a",
            "golden.yaml:2: error: prompts[0]: Object missing required field `tier`.",
        ),
        (
            "prompts:\n- prompt: a\n  tier: fast\n  lab: 3",
            "golden.yaml:4: error: prompts[0].lab: Expected `str | null`, got `int`.",
        ),
        (
            "prompts: {a: b}",
            "golden.yaml:1: error: prompts: Expected `array`, got `object`.",
        ),
        (
            "prompts:\n- prompt: a\n  tier: fast\n  dialect: http",
            "golden.yaml:4: error: prompts[0].dialect: Invalid enum value 'http'.",
        ),
        (
            "prompts:\n- tier: fast",
            "golden.yaml:2: error: prompts[0]: Object missing required field `prompt`.",
        ),
        (
            "prompts:\n- turns: []",
            "golden.yaml:2: error: prompts[0]: `turns` is empty.",
        ),
        (
            "prompts:\n- {prompt: a, tier: fast}\n- {turns: [{prompt: a}], tier: fast}",
            "golden.yaml:3: error: prompts[1]: `tier` stands beside `turns`: write it to a turn.",
        ),
        (
            "prompts:\n- turns:\n  - {prompt: a}\n  - {prompt: b, idle: long}",
            (
                "golden.yaml:4: error: prompts[0].turns[1]: must be a duration, as 500ms, 90s, 15m, "
                "1h or 7d."
            ),
        ),
        (
            "prompts:\n- turns: [{prompt: a, loop: -1}]",
            "golden.yaml:2: error: prompts[0].turns[0]: `loop` and `cached` are 0 or more.",
        ),
        (
            "prompts:\n- turns: [{prompt: a, side: true, cached: 5}]",
            (
                "golden.yaml:2: error: prompts[0].turns[0]: a call beside the conversation has no "
                "`loop`, `tools`, `compaction`, `cached`."
            ),
        ),
        (
            "prompts:\n- turns: [{prompt: a, loop: 1, tools: [{name: b}]}]",
            (
                "golden.yaml:2: error: prompts[0].turns[0]: a tool loop has `loop` steps, or those "
                "of `tools`."
            ),
        ),
        (
            "prompts:\n- turns: [{prompt: a, says: b}]",
            "golden.yaml:2: error: prompts[0].turns[0]: Object contains unknown field `says`.",
        ),
        (
            "prompts:\n- {prompt: a, tier: fast, at: at night}",
            (
                "golden.yaml:2: error: prompts[0]: must be a time, as 2026-12-24 18:00 or "
                "2026-12-24 18:00 Europe/Berlin."
            ),
        ),
        ("golden: []", "golden.yaml:1: error: Object contains unknown field `golden`."),
        ("[]", "golden.yaml:1: error: Expected `object`, got `array`."),
        ("", "golden.yaml:1: error: Expected `object`, got `null`."),
        ("prompts: []", "golden.yaml: error: names no prompts."),
    ],
)
def test_a_mistake_is_reported_with_its_place(text: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_prompts(text)
    assert [str(item) for item in caught.value.mistakes] == [mistake]


def verdict(prompt: str, tier: Tier, **more: str) -> GoldenResult:
    router = world.router(
        [{"when": {"keywords": "cheap"}, "max_tier": "fast"}],
        [{"name": "proofs", "when": {"keywords": "prove"}, "tier": "reasoning"}],
        HeuristicClassifier(),
    )
    return golden.decide_prompts(
        router, [msgspec.convert({"prompt": prompt, "tier": tier, **more}, GoldenPrompt)]
    )[0]


@pytest.mark.parametrize(
    ("prompt", "tier", "more", "passed", "place", "why"),
    [
        ("Prove it.", "reasoning", {}, True, "openai/reasoning", "proofs"),
        ("Prove it.", "fast", {}, False, "openai/reasoning", "proofs"),
        ("Prove it.", "reasoning", {"lab": "openai"}, True, "openai/reasoning", "proofs"),
        ("Prove it.", "reasoning", {"lab": "google"}, False, "openai/reasoning", "proofs"),
        ("Prove it.", "reasoning", {"lab": "google", "model": "google/auto"}, True,
         "google/reasoning", "proofs"),
        ("hi", "fast", {}, True, "openai/fast", "fast .96, smart 1.00: 1 word, greeting, simple task"),
        ("", "smart", {}, True, "openai/smart", "no rule or classifier decided"),
        ("hi", "smart", {"model": "smart"}, True, "openai/smart", "model 'smart'"),
        ("Prove it cheap.", "fast", {}, True, "openai/fast", "proofs"),
        ("hi", "fast", {"model": "anthropic/fast"}, False, "/",
         "The lab 'anthropic' is off. Labs that are on: google, openai. (set ANTHROPIC_API_KEY)"),
    ],
)  # fmt: skip
def test_a_prompt_passes_if_it_gets_its_tier_and_lab(
    prompt: str, tier: Tier, more: dict[str, str], passed: bool, place: str, why: str
) -> None:
    result = verdict(prompt, tier, **more)
    assert (result.passed, f"{result.lab}/{result.tier}", result.reason) == (passed, place, why)
    assert (result.source == "refused") == (place == "/")


@given(st.text(st.characters(codec="utf-8")), st.sampled_from(["auto", "google/auto", "fast"]))
def test_a_golden_prompt_is_decided_as_a_request_with_its_text(text: str, model: str) -> None:
    router = world.router(
        [],
        [{"when": {"user_tokens": {"max": 3}, "code": {"max": 0.1}}, "tier": "reasoning"}],
        HeuristicClassifier(),
    )
    body = jsonio.dumps({"model": model, "messages": [{"role": "user", "content": text}]})
    call = features.read(OPENAI_CHAT.read(body).prompt, OPENAI_CHAT.name, OPEN_KEY, NO_OPTIONS)
    decision, _ = decide(router, call, OPENAI_CHAT)
    result = golden.decide_prompts(router, [GoldenPrompt(prompt=text, tier="smart", model=model)])[
        0
    ]
    assert (result.lab, result.tier, result.source) == (
        decision.lab,
        decision.tier,
        decision.source,
    )


def decide_prompt(rules: list[world.Json], **more: str | tuple[str, ...]) -> GoldenResult:
    prompt = msgspec.convert({"prompt": "Prove it.", "tier": "smart", **more}, GoldenPrompt)
    keys = {"ann": Key(name="ann", tiers=("fast",), tags=("mine",))}
    router = world.router(rules, [{"name": "proofs", "when": {"keywords": "prove"}, "tier": "reasoning"}], HeuristicClassifier())  # fmt: skip
    ticks: list[int] = []
    (result,) = golden.decide_prompts(router, [prompt], keys, lambda: ticks.append(1))
    assert ticks == [1]
    return result


def test_the_result_lists_what_changed_a_decision() -> None:
    """The result names more than the first decider: a guard may have the last word."""
    guard = {"name": "cheap", "when": {"tag": "draft"}, "max_tier": "smart"}
    result = decide_prompt([guard], tags=("draft",))
    assert (result.passed, result.source, result.reason) == (True, "rule", "proofs")
    assert result.changes[0].startswith("guard: cheap")
    assert decide_prompt([guard]).changes == ()


@pytest.mark.parametrize(
    ("key", "tier"), [(None, "reasoning"), ("ann", "fast"), ("bob", "reasoning")]
)
def test_a_golden_prompt_can_have_a_client_key(key: str | None, tier: str) -> None:
    """An unknown key has nothing but its name, which rules may match."""
    more = {} if key is None else {"key": key}
    assert decide_prompt([], **more).tier == tier
    named = {"name": "bob", "when": {"key": "bob"}, "max_tier": "smart"}
    assert decide_prompt([named], key="bob").tier == "smart"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_golden_prompt_can_have_any_dialect(dialect: str) -> None:
    """The prompt is translated as a call would be, and rules see its dialect."""
    guard = {"name": "one", "when": {"dialect": "gemini"}, "max_tier": "smart"}
    result = decide_prompt([guard], dialect=dialect)
    assert result.tier == ("smart" if dialect == "gemini" else "reasoning")


NIGHT = {"hours": ["00:00-06:00", "22:00-24:00"], "zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("at", "tier"),
    [
        ("", "reasoning"),
        ("2026-11-28 23:00 Europe/Berlin", "fast"),
        ("2026-11-28 23:00", "fast"),
        ("2026-11-28T21:30Z", "fast"),
        ("2026-11-28 12:00", "reasoning"),
        ("2026-11-28", "fast"),
    ],
)
def test_a_time_rule_uses_the_time_of_the_prompt(at: str, tier: str) -> None:
    """The machine's clock does not count, so the same file passes by day and by night."""
    rule: world.Json = {"name": "night", "when": {"time": NIGHT}, "max_tier": "fast"}
    assert decide_prompt([rule], at=at).tier == tier


def test_a_conversation_starts_at_its_time_and_continues_from_there() -> None:
    rule: world.Json = {"name": "night", "when": {"time": NIGHT}, "max_tier": "fast"}
    turns = [{"prompt": "Prove it."}, {"prompt": "Prove it.", "idle": "20m"}]
    results = decide_conversation(*turns, guards=[rule], at="2026-11-28 21:50 Europe/Berlin")
    assert list_tiers(results) == ["reasoning", "fast"]


@pytest.mark.parametrize("client", ["codex", "codex_cli_rs/0.169"])
def test_a_golden_prompt_can_have_a_client_application(client: str) -> None:
    """The client is the name that rules use, or a user agent."""
    rule: world.Json = {"name": "codex", "when": {"client": "codex"}, "max_tier": "fast"}
    assert decide_prompt([rule], client=client).tier == "fast"
    assert list_tiers(
        decide_conversation({"prompt": "Prove it."}, guards=[rule], client=client)
    ) == ["fast"]
    assert decide_prompt([rule], client="curl/8").tier == "reasoning"


PROOFS: world.Json = {"name": "proofs", "when": {"keywords": "prove"}, "tier": "reasoning"}
TITLES: world.Json = {"name": "titles", "when": {"task": "title"}, "tier": "smart"}
DEAR = Price(rates=Rates(input=Decimal(10), cache_read=Decimal(1), output=Decimal(40)), version="v")
CHEAP = Price(rates=Rates(input=Decimal(9), cache_read=Decimal(1), output=Decimal(40)), version="v")
LARGE = "word " * 2_000


def decide_conversation(
    *turns: world.Json, guards: Sequence[world.Json] = (), **more: Any
) -> list[GoldenResult]:
    """Return the verdicts on a conversation; a cheaper tier saves nothing on cached tokens."""
    priced = [
        msgspec.structs.replace(item, price=price)
        for item, price in ((world.LITE, CHEAP), (world.HYDROGEN, CHEAP), (world.ARGON, DEAR))
    ]
    router = world.router(
        guards,
        [PROOFS, TITLES],
        HeuristicClassifier(),
        world.catalogue((world.lab("openai", *[[item] for item in priced]),)),
    )
    return golden.decide_prompts(router, [msgspec.convert({"turns": turns, **more}, GoldenPrompt)])


def list_tiers(verdicts: Sequence[GoldenResult]) -> list[str]:
    return [item.tier for item in verdicts]


def test_a_conversation_is_decided_turn_by_turn() -> None:
    """Each turn has the session of the turns before it, and its verdict is named by the turn."""
    first, second, third = decide_conversation(
        {"prompt": "hi", "tier": "fast"},
        {"prompt": "Prove it.", "tier": "reasoning", "lab": "other"},
        {"prompt": "hi"},
        why="because",
    )
    assert (first.turn, first.passed, first.tier, first.source) == ("turn 1", True, "fast", "classifier")  # fmt: skip
    assert (second.turn, second.passed, second.tier, second.source) == ("turn 2", False, "reasoning", "rule")  # fmt: skip
    assert (third.tier, third.passed) == ("fast", True)
    assert (second.golden.prompt, second.golden.why, second.golden.lab) == ("Prove it.", "because", "other")  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_call_of_a_tool_loop_has_its_own_result(dialect: str) -> None:
    """Every dialect marks the loop as one, so nothing is decided in it."""
    results = decide_conversation(
        {"prompt": "Prove it.", "tier": "reasoning", "loop": 2}, dialect=dialect
    )
    assert [(item.turn, item.tier, item.source) for item in results] == [
        ("turn 1", "reasoning", "rule"),
        ("turn 1, tool loop 1", "reasoning", "seat"),
        ("turn 1, tool loop 2", "reasoning", "seat"),
    ]
    assert results[1].reason == "inside a tool loop"


def test_cached_tokens_keep_a_conversation_until_its_rise_ends() -> None:
    """Eight of nine easier turns stay; the text alone counts as cached, too."""
    for first in ({"prompt": f"Prove it. {LARGE}"}, {"prompt": "Prove it."}):
        cached = {} if LARGE in first["prompt"] else {"cached": 9_000}
        hi = {"prompt": "hi"}
        results = decide_conversation(first, {**hi, **cached}, *[hi] * 8)
        assert list_tiers(results) == [*["reasoning"] * 9, "fast"]


@pytest.mark.parametrize("more", [{"idle": "10m"}, {"idle": 301}, {"compaction": True}])
def test_an_idle_time_and_a_compaction_end_a_rise(more: world.Json) -> None:
    turns = [{"prompt": f"Prove it. {LARGE}"}, {"prompt": "hi"}, {"prompt": "hi", **more}]
    assert list_tiers(decide_conversation(*turns)) == ["reasoning", "reasoning", "fast"]


def test_side_calls_and_sub_agents_have_no_part_in_the_session() -> None:
    """Rules see the task; a sub-agent has a session of its own."""
    results = decide_conversation(
        {"prompt": f"Prove it. {LARGE}"},
        {"prompt": "hi", "side": True},
        {"prompt": "hi", "side": "title"},
        {"prompt": "hi", "agent": True},
        {"prompt": "hi"},
    )
    assert list_tiers(results) == ["reasoning", "fast", "smart", "fast", "reasoning"]
    beside = {"prompt": f"Prove it. {LARGE}"}
    results = decide_conversation({"prompt": "hi"}, {**beside, "side": True}, {**beside, "agent": True}, {"prompt": "hi"})  # fmt: skip
    assert list_tiers(results) == ["fast", "reasoning", "reasoning", "fast"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_tool_results_and_answers_are_read_as_evidence(dialect: str) -> None:
    """A repeated tool failure raises the next call; a bad answer raises the next turn."""
    failure = {"name": "run", "arguments": {"command": "make"}, "result": "no rule", "failed": True}
    turns: list[world.Json] = [
        {"prompt": "hi", "tier": "fast", "tools": [failure, {**failure, "tier": "smart"}, {}]},
        {"prompt": "hi", "tier": "smart", "answer": "I'm sorry, but I can't help with that."},
        {"prompt": "hi", "tier": "reasoning"},
    ]
    results = decide_conversation(*turns, dialect=dialect)
    assert [(item.turn, item.tier) for item in results] == [
        ("turn 1", "fast"),
        ("turn 1, tool loop 1", "fast"),
        ("turn 1, tool loop 2", "smart"),
        ("turn 1, tool loop 3", "smart"),
        ("turn 2", "smart"),
        ("turn 3", "reasoning"),
    ]
    assert all(item.passed for item in results)
    assert results[2].changes == ("evidence: the same tool call failed 2 times: smart",)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("form", [True, {"type": "object", "required": ["name"]}])
def test_a_golden_prompt_can_require_json(dialect: str, form: world.Json) -> None:
    for answer, tier in (('{"name": "Ada"}', "fast"), ('{"name": "Ada"', "smart")):
        results = decide_conversation({"prompt": "hi", "answer": answer}, {"prompt": "hi"}, dialect=dialect, json=form)  # fmt: skip
        assert list_tiers(results) == ["fast", tier]
    case = {"prompt": "hi", "tier": "fast", "json": form, "dialect": dialect}
    (result,) = golden.decide_prompts(world.router(classifier=HeuristicClassifier()), [msgspec.convert(case, GoldenPrompt)])  # fmt: skip
    assert result.passed


def test_a_conversation_can_be_decided_without_a_session() -> None:
    """Without a session each turn is decided on its own, and evidence raises that decision."""
    turns = [{"prompt": f"Prove it. {LARGE}"}, {"prompt": "hi"}, {"prompt": "That's wrong."}]
    assert list_tiers(decide_conversation(*turns, remembered=False)) == [
        "reasoning",
        "fast",
        "smart",
    ]


def test_a_refused_turn_leaves_the_session_unchanged() -> None:
    guard = {"name": "no secrets", "when": {"keywords": "secret"}, "refuse": "Not here."}
    results = decide_conversation({"prompt": f"Prove it. {LARGE}"}, {"prompt": "secret"}, {"prompt": "hi"}, guards=[guard])  # fmt: skip
    assert [(item.tier, item.source) for item in results] == [
        ("reasoning", "rule"), ("", "refused"), ("reasoning", "seat"),
    ]  # fmt: skip
    assert results[1].reason == "Not here."


def test_a_conversation_can_name_a_model() -> None:
    (result,) = decide_conversation({"prompt": "hi"}, model="smart")
    assert (result.tier, result.source) == ("smart", "pin")


def test_a_model_without_a_tier_leaves_the_conversation_without_a_session() -> None:
    """A model that no lab lists has no tier to keep, so each turn is decided as a call is."""
    targets = Targets(lambda name: Target(provider=world.OPENAI, model=name))
    maker = NameOwner(provider=world.OPENAI, labs=("openai",), names=("gpt-*",), targets=targets)
    router = world.router(
        known=msgspec.structs.replace(world.CATALOGUE, name_owners=(maker,)),
        classifier=HeuristicClassifier(),
    )
    turns = [{"prompt": "hi"}, {"prompt": "hi", "loop": 1}]
    case = msgspec.convert({"turns": turns, "model": "gpt-4o"}, GoldenPrompt)
    results = golden.decide_prompts(router, [case])
    assert [(item.lab, item.tier, item.source, item.passed) for item in results] == [
        ("openai", "", "pin", True)
    ] * 3
