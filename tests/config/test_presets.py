"""The presets: the article's models are listed and never called; today's models serve."""

import re
from pathlib import Path

import pytest

from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, OPEN_KEY
from gateway.core.decision import Decision, Plan
from gateway.core.errors import ProblemError
from gateway.core.target import TIERS
from gateway.dialects import ANTHROPIC_MESSAGES, DIALECTS, OPENAI_CHAT, Dialect
from gateway.routing import features
from gateway.routing.classifier.heuristic import HeuristicClassifier
from gateway.routing.router import Router, decide
from gateway.routing.rules.compile import compile_rules
from gateway.runtime.build import EFFORT_STYLES
from gateway.settings import validate
from tests.config import shipped
from tests.config.test_files import CHECKED

THEN = shipped.FOLDER / "presets" / "article-2025-01.yaml"
TODAY = shipped.FOLDER / "presets" / "article-2025-01-today.yaml"

RETIRED = {
    "o1": "2026-10-23",
    "claude-3-5-haiku-20241022": "2026-02-19",
    "claude-3-5-sonnet-20241022": "2025-10-28",
    "llama-3.1-8b-instant": "2026-08-16",
    "llama-3.3-70b-versatile": "2026-08-16",
    "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo": "2026-03-06",
    "meta-llama/Llama-3.3-70B-Instruct-Turbo": "2026-10-22",
}
"""Models of the article that nobody serves any more, and since when."""


def decide_hard_question(
    file: Path, model: str, dialect: Dialect = OPENAI_CHAT
) -> tuple[Decision, Plan]:
    """Return the decision of a preset on a hard question, with every key set."""
    config = shipped.source(shipped.ALL_SET, file).config
    router = Router(
        catalogue=shipped.built(shipped.ALL_SET, file).catalogue,
        rules=compile_rules(config.guards, config.choices),
        classifier=HeuristicClassifier(),
    )
    prompt = [{"role": "user", "content": "Prove that there are infinitely many primes."}]
    value = {"model": model, "max_tokens": 99, "messages": prompt}
    body = dialect.read(jsonio.dumps(value))
    call = features.read(body.prompt, dialect.name, OPEN_KEY, NO_OPTIONS)
    return decide(router, call, dialect)


@pytest.mark.parametrize("file", [THEN, TODAY], ids=lambda file: file.stem)
def test_a_preset_is_a_complete_configuration_without_mistakes(file: Path) -> None:
    for environ in ({}, shipped.ALL_SET):
        source = shipped.source(environ, file)
        assert validate.find_errors(source, DIALECTS, EFFORT_STYLES) == []


def test_check_says_when_each_model_of_the_article_retired() -> None:
    warnings = validate.find_warnings(shipped.source(shipped.ALL_SET, THEN), CHECKED, EFFORT_STYLES)
    matches = [re.match(r"(\S+) has retired on ([\d-]+)", warning.message) for warning in warnings]
    assert {match[1]: match[2] for match in matches if match} == RETIRED
    assert all(matches)


def test_a_retired_model_of_the_preset_cannot_be_called() -> None:
    built = shipped.built(shipped.ALL_SET, THEN)
    retired = built.providers["retired"]
    assert not retired.enabled
    assert all(".invalid/" in url for url in retired.urls.values())
    at = {
        target.model: target.provider.name
        for lab in built.catalogue.labs.values()
        for tier in TIERS
        for target in lab.tiers[tier]
    }
    assert {model for model, provider in at.items() if provider == "retired"} == set(RETIRED)
    for model in RETIRED:
        with pytest.raises(ProblemError, match="off"):
            decide_hard_question(THEN, model)


def test_a_hard_question_goes_to_the_remaining_model_of_the_lab() -> None:
    decision, plan = decide_hard_question(THEN, "auto")
    assert (decision.lab, decision.tier) == ("openai", "smart")
    assert [target.name for target in plan.targets] == ["openai/gpt-4o"]
    assert [skip.target for skip in plan.skipped] == ["retired/o1"]


def test_the_preset_has_the_labs_and_tiers_of_the_article() -> None:
    labs = shipped.built(shipped.ALL_SET, THEN).catalogue.labs
    tiers = {name: [tier for tier in TIERS if lab.tiers[tier]] for name, lab in labs.items()}
    assert tiers == {
        "openai": ["fast", "smart", "reasoning"],
        "anthropic": ["fast", "smart"],
        "meta": ["fast", "smart"],
        "local": ["fast", "smart", "reasoning"],
    }


@pytest.mark.parametrize(
    ("name", "dialect", "lab", "tier"),
    [
        ("gpt-4o-mini", OPENAI_CHAT, "openai", "fast"),
        ("gpt-4o", OPENAI_CHAT, "openai", "smart"),
        ("o1", OPENAI_CHAT, "openai", "reasoning"),
        ("claude-3-5-haiku-20241022", ANTHROPIC_MESSAGES, "anthropic", "fast"),
        ("claude-3-5-sonnet-20241022", ANTHROPIC_MESSAGES, "anthropic", "smart"),
        ("claude-3-5-sonnet-latest", ANTHROPIC_MESSAGES, "anthropic", "smart"),
        ("llama-3.1-8b-instant", OPENAI_CHAT, "llama", "fast"),
        ("llama-3.3-70b-versatile", OPENAI_CHAT, "llama", "smart"),
    ],
)
def test_a_model_name_of_the_article_is_served_by_the_same_tier_of_today(
    name: str, dialect: Dialect, lab: str, tier: str
) -> None:
    decision, plan = decide_hard_question(TODAY, name, dialect)
    assert (decision.lab, decision.tier, decision.source) == (lab, tier, "pin")
    assert plan.targets
    assert not {target.model for target in plan.targets} & {*RETIRED, "gpt-4o", "gpt-4o-mini"}


@pytest.mark.parametrize(
    ("file", "labs"),
    [
        (THEN, {"openai", "anthropic", "meta", "local"}),
        (TODAY, {"openai", "anthropic", "llama", "local"}),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_a_preset_works_without_any_provider_key(file: Path, labs: set[str]) -> None:
    catalogue = shipped.built({}, file).catalogue
    assert set(catalogue.labs) == labs
    assert [name for name, lab in catalogue.labs.items() if lab.enabled] == ["local"]


def test_every_model_name_of_the_article_has_an_alias_to_its_tier() -> None:
    labs_of_then = shipped.built(shipped.ALL_SET, THEN).catalogue.labs
    aliases = shipped.source({}, TODAY).config.aliases
    own = {"meta": "llama"}
    for name in ("openai", "anthropic", "meta"):
        for tier in TIERS:
            for target in labs_of_then[name].tiers[tier][:1]:
                assert aliases[target.model] == f"{own.get(name, name)}/{tier}"
