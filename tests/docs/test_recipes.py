"""Each recipe is a whole configuration that passes `check`, and decides as the cookbook says."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.core.call import OPEN_KEY, Key, RequestOptions
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext, Score, Session
from gateway.core.errors import ProblemError
from gateway.core.target import TIERS
from gateway.dialects import DIALECTS, TranslatableRequest
from gateway.evaluation import golden
from gateway.limits import keys
from gateway.limits.rules import LimitRules
from gateway.routing import features
from gateway.routing.decision_endpoint import find_decision_endpoint
from gateway.routing.router import decide
from gateway.runtime.build import BuiltConfig, build_config
from gateway.settings import yaml
from gateway.settings.loader import load
from gateway.upstream.balance.member_sets import build_member_sets
from gateway.upstream.retry import list_candidates
from tests.docs.labs import every_key
from tests.docs.pages import ROOT

RECIPES = sorted((ROOT / "docs/recipes").glob("*.yaml"))
GOLDEN = sorted((ROOT / "docs/recipes/golden").glob("*.yaml"))
TODAY = datetime(2026, 11, 24, 12, tzinfo=UTC)
HELLO = [{"role": "user", "content": "Name three rivers of France, and say a word of each."}]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SEEN = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, PICTURE]}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
AT_NIGHT = datetime(2026, 11, 24, 21, 30, tzinfo=UTC).timestamp()
BY_DAY = datetime(2026, 11, 24, 10, 30, 0, 500_000, tzinfo=UTC).timestamp()


def made(name: str) -> BuiltConfig:
    (file,) = (file for file in RECIPES if file.stem.startswith(name))
    return build_config(load(file, every_key()), TODAY)


def decided(
    at: BuiltConfig,
    evidence: DecisionContext | None = None,
    *,
    dialect: str = "openai-chat",
    key: Key = OPEN_KEY,
    tags: tuple[str, ...] = (),
    hints: Mapping[str, str] | None = None,
    **body: Any,
) -> tuple[Decision, Plan]:
    """Decide a request with these members."""
    spoken = DIALECTS[dialect]
    more = {"max_tokens": 100} if dialect == "anthropic-messages" else {}
    read = spoken.read(jsonio.dumps({"model": "auto", "messages": HELLO, **more, **body}))
    translatable = TranslatableRequest(spoken, read, at.router.fetched_media)
    call = features.read(
        read.prompt, dialect, key, RequestOptions(tags=tags), translatable, hints or {}
    )
    return decide(at.router, call, spoken, evidence or DecisionContext(at=BY_DAY))


def went(at: BuiltConfig, *evidence: DecisionContext, **body: Any) -> tuple[str, str | None]:
    decision, _ = decided(at, *evidence, **body)
    return decision.lab, decision.tier


def tools(many: int) -> list[dict[str, Any]]:
    schema = {"type": "object", "properties": {}}
    return [
        {"type": "function", "function": {"name": f"tool_{at}", "parameters": schema}}
        for at in range(many)
    ]


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_would_serve_without_a_warning(file: Path) -> None:
    built = build_config(load(file, every_key()), TODAY)
    warnings = [str(warning) for warning in built.warnings]
    assert [warning for warning in warnings if "docs/recipes" in warning] == []
    assert built.built_catalogue.catalogue.labs[built.built_catalogue.catalogue.default_lab].enabled


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_golden_prompts_are_decided_as_they_say(file: Path) -> None:
    recipe = ROOT / "docs/recipes" / file.name
    built = build_config(load(recipe, every_key()), TODAY)
    named: dict[str, Key] = {}
    if (source := built.source.config.keys.store) != "open":
        named = {key.name: key for key in keys.load(source, recipe.parent, "").list_keys()}
    prompts = golden.read_prompts(yaml.read(file.read_text("utf-8"), file.name))
    verdicts = golden.decide_prompts(built.router, prompts, named)
    assert [verdict for verdict in verdicts if not verdict.passed] == []


def test_nights_are_cheap_and_not_reasoned() -> None:
    at = made("02")
    night, day = DecisionContext(at=AT_NIGHT), DecisionContext(at=BY_DAY)
    assert went(at, night)[0] == "deepseek"
    assert went(at, day)[0] == "openai"
    assert went(at, night, model="openai/reasoning") == ("openai", "smart")
    assert went(at, day, model="openai/reasoning") == ("openai", "reasoning")


def test_a_budget_of_reasoning_sends_the_rest_to_smart() -> None:
    at = made("03")
    left = DecisionContext(at=BY_DAY, ceiling="smart")
    assert went(at, left, model="reasoning") == ("openai", "smart")
    assert at.source.config.routing.max_share.reasoning == 0.1


def test_regions_leave_no_other_host() -> None:
    at = made("05")
    _, plan = decided(at, tags=("eu",), model="smart")
    assert {target.provider.region for target in plan.targets} == {"eu"}


def test_long_prompts_go_to_the_long_window() -> None:
    long = [{"role": "user", "content": "word " * 100_000}]
    assert went(made("06"), messages=long) == ("google", "smart")
    assert went(made("06"))[0] == "openai"


def test_pictures_go_to_one_lab_and_are_refused_on_trial() -> None:
    at = made("07")
    assert went(at, messages=SEEN)[0] == "google"
    assert went(at)[0] == "openai"
    with pytest.raises(ProblemError, match="may not send images"):
        decided(at, messages=SEEN, key=Key(name="trial-3"))


def test_sub_agents_and_side_calls_are_fast() -> None:
    at = made("08")
    claude = {"x-claude-code-session-id": "s"}
    within = {**claude, "x-claude-code-agent-id": "a"}
    ask: Any = {"dialect": "anthropic-messages"}
    assert went(at, hints=within, **ask) == ("openai", "fast")
    assert went(at, hints=within, model="reasoning", **ask) == ("openai", "smart")
    title = [{"role": "user", "content": "Please write a 5-10 word title for this conversation."}]
    assert went(at, messages=title)[1] == "fast"


def test_a_conversation_stays_where_it_is() -> None:
    at = made("09")
    seat = Session(
        lab="deepseek",
        tier="reasoning",
        target="deepseek/deepseek-v4-pro",
        turns=1,
        at=BY_DAY - 7200,
    )
    turns = [
        *HELLO,
        {"role": "assistant", "content": "Rhone."},
        {"role": "user", "content": "Thanks!"},
    ]
    later = DecisionContext(at=BY_DAY, seat=seat)
    assert went(at, later, messages=turns) == ("deepseek", "reasoning")
    assert went(at, later, messages=turns, tags=("support",)) == ("openai", "fast")


def test_the_judge_is_for_what_nothing_else_decides() -> None:
    at = made("10")
    judge = at.source.config.routing.judge
    assert judge is not None
    assert (judge.kind, judge.model, judge.seconds) == ("chat", "fast", 1.0)
    assert not judge.asks_unsure_only
    decision, _ = decided(at, messages=[{"role": "user", "content": "Hi!"}])
    assert decision.source == "rule"


def test_a_decision_model_is_asked_where_the_classifier_is_unsure() -> None:
    at = made("24")
    judge = at.source.config.routing.judge
    assert judge is not None
    assert (judge.kind, judge.seconds, judge.asks_unsure_only) == ("decision", 0.4, True)
    routes, catalogue = at.built_catalogue.passthrough, at.built_catalogue.catalogue
    for model, table in ((judge.model, "openai-decisions"), ("typesafe/jev-latest", "systemone")):
        endpoint = find_decision_endpoint(catalogue, routes, model)
        assert endpoint is not None
        assert endpoint.table.name == table
    verdict = DecisionContext(at=BY_DAY, judged=Score(0.0, 0.0), judge_kind="decision")
    decision, _ = decided(at, verdict)
    assert (decision.tier, decision.confidence) == ("reasoning", 1.0)
    for more in (
        {"tags": ("private",)},
        {"messages": [{"role": "user", "content": "The patient."}]},
    ):
        decision, _ = decided(at, verdict, **more)
        assert (decision.no_judge, decision.tier != "reasoning") == (True, True)


def test_another_lab_stands_behind() -> None:
    _, plan = decided(made("11"), model="smart")
    order = [target.provider.name for target in plan.targets]
    assert order[0] == "openai"
    assert order.index("anthropic") < order.index("gemini")
    _, plan = decided(made("11"), model="main/smart")
    assert {target.provider.name for target in plan.targets} == {"openai"}


def test_each_team_has_a_budget_and_all_have_one() -> None:
    config = made("12").source.config
    limits = LimitRules(config.limits, config.budgets, UTC)
    needs = limits.make_demands(
        key="a",
        tags=(),
        tier="reasoning",
        now=BY_DAY,
        tokens=1,
        micro_usd=9,
        own_key=Key(name="a", team="web"),
    )
    named = {(need.name, need.limit) for need in needs if need.kind == "usd"}
    assert named == {("each team", 200_000_000), ("all of us", 500_000_000)}
    assert {need.then for need in needs if need.kind == "share"} == {"smart"}


def test_one_conversation_in_twenty_is_a_canary() -> None:
    at = made("13")
    decisions = [
        decided(at, messages=[{"role": "user", "content": f"Hello {n}!"}])[0] for n in range(1000)
    ]
    assert 35 <= sum(decision.arm == "canary:in" for decision in decisions) <= 65
    assert all(
        (decision.model == "deepseek-flash") == (decision.arm == "canary:in")
        for decision in decisions
    )
    decision, _ = decided(at, model="smart")
    assert (decision.model, decision.arm) == (None, None)


def test_the_candidate_of_the_shadow_is_a_configuration_too() -> None:
    at = made("14")
    shadow = ROOT / "docs/recipes" / str(at.source.config.routing.shadow)
    candidate = build_config(load(shadow, every_key()), TODAY)
    prove = [{"role": "user", "content": "Prove that 2 is prime."}]
    assert went(at, messages=prove) == ("openai", "reasoning")
    assert went(candidate, messages=prove)[1] == "reasoning"


def test_claude_code_has_its_own_rules() -> None:
    at = made("17")
    main: Any = {
        "dialect": "anthropic-messages",
        "system": "You are Claude Code, Anthropic's official CLI for Claude.",
    }
    claude = {"x-claude-code-session-id": "s"}
    assert went(at, hints=claude, **main)[0] == "anthropic"
    assert went(at, hints={**claude, "x-claude-code-agent-id": "a"}, **main) == (
        "anthropic",
        "fast",
    )
    assert went(at)[0] == "openai"


def test_an_expression_counts_tools() -> None:
    at = made("18")
    assert went(at, tools=tools(11))[1] == "reasoning"
    assert went(at, tools=tools(2))[1] != "reasoning"
    assert went(at, tags=("batch",))[0] == "deepseek"


def test_no_target_is_dearer_than_ten() -> None:
    at = made("19")
    lab = at.built_catalogue.catalogue.labs["cheap"]
    for target in (target for tier in TIERS for target in lab.tiers[tier]):
        assert target.price is not None, target.model
        rates = target.price.find_in_force(TODAY.timestamp()).rates
        assert rates.output is not None, target.model
        assert rates.output <= 10, target.model
    with pytest.raises(ProblemError):
        decided(at, model="claude-fable-5-2")


def test_schemas_and_tools_are_no_small_work() -> None:
    at = made("20")
    hi = [{"role": "user", "content": "Hi!"}]
    assert went(at, messages=hi, response_format=SCHEMA)[1] == "smart"
    assert went(at, messages=hi, tools=tools(2))[1] == "smart"
    assert went(at, messages=hi, tools=tools(12))[1] == "reasoning"


def test_a_conversation_stays_with_one_of_six_replicas() -> None:
    decision, plan = decided(made("22"))
    assert [(target.name, target.weight) for target in plan.targets] == [
        ("vllm/qwen", 2.0),
        ("sglang/qwen", 1.0),
    ]
    lines = [(line.effect, line.reason) for line in decision.trace if line.step == "balance"]
    assert lines == [
        ("hash", "the group own/smart/qwen: vllm/qwen, sglang/qwen"),
        ("hash", "vllm has 4 replicas"),
    ]
    member_sets = build_member_sets(list_candidates(plan))
    (group,) = member_sets
    assert [len(member.candidates) for member in group.members] == [4, 2]


def test_an_inference_pool_is_one_target() -> None:
    decision, plan = decided(made("23"))
    (target,) = plan.targets
    assert target.provider.urls == {
        "openai-chat": "http://inference-gateway.llm.svc.cluster.local/v1/chat/completions"
    }
    assert build_member_sets(list_candidates(plan)) == ()
    assert "balance" not in {line.step for line in decision.trace}


def test_the_cookbook_shows_each_recipe_as_it_is() -> None:
    """The recipes come in order, each with its number in the heading, a link to its file, and its text."""
    page = ROOT / "docs/cookbook.md"
    text = page.read_text("utf-8")
    parts = re.split(r"^## (?=\d+\. )", text, flags=re.MULTILINE)[1:]
    assert len(parts) == len(RECIPES) > 20
    for number, (part, file) in enumerate(zip(parts, RECIPES, strict=True), 1):
        assert part.startswith(f"{number}. ")
        assert file.name.startswith(f"{number:02}-")
        assert f"(recipes/{file.name})" in part
        (shown,) = re.findall(r"^```yaml recipe\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
        assert file.read_text("utf-8").endswith(f"}}\n\n{shown}")
