"""The shipped golden prompts: well formed, and decided as they say by the shipped rules."""

import pytest

from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, OPEN_KEY
from gateway.core.target import TIERS
from gateway.dialects import OPENAI_CHAT
from gateway.evaluation import golden
from gateway.routing import features
from gateway.routing.classifier import model_file
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.routing.router import Router, decide
from gateway.routing.rules.compile import compile_rules
from gateway.runtime.build import SHIPPED_MODEL
from gateway.settings import yaml
from tests.config import shipped

type Row = dict[str, str]


def rows() -> list[Row]:
    value = yaml.read((shipped.FOLDER / "golden.yaml").read_text("utf-8"), "golden.yaml").value
    assert isinstance(value, dict)
    prompts = value["prompts"]
    assert isinstance(prompts, list)
    texts: list[Row] = []
    for item in prompts:
        assert isinstance(item, dict)
        if "turns" in item:
            continue
        texts.append({name: text for name, text in item.items() if isinstance(text, str)})
        assert len(texts[-1]) == len(item), item
    return texts


ROWS = rows()


def test_the_golden_prompts_are_well_formed_and_cover_every_tier() -> None:
    labs = shipped.built(shipped.ALL_SET).catalogue.labs
    for row in ROWS:
        assert {"prompt", "tier"} <= set(row) <= {"prompt", "tier", "lab", "why"}, row
        assert row.get("lab", "openai") in labs
    assert {row["tier"] for row in ROWS} == set(TIERS)
    assert len({row["prompt"] for row in ROWS}) == len(ROWS) >= 25


@pytest.fixture(scope="module")
def router() -> Router:
    return shipped.learned_router()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["prompt"][:30])
def test_a_golden_prompt_gets_its_tier(row: Row, router: Router) -> None:
    model = f"{row['lab']}/auto" if "lab" in row else "auto"
    messages = [{"role": "user", "content": row["prompt"]}]
    body = OPENAI_CHAT.read(jsonio.dumps({"model": model, "messages": messages}))
    call = features.read(body.prompt, OPENAI_CHAT.name, OPEN_KEY, NO_OPTIONS)
    decision, _ = decide(router, call, OPENAI_CHAT)
    assert decision.tier == row["tier"], [f"{step.step}: {step.reason}" for step in decision.trace]
    assert decision.lab == row.get("lab", "openai")
    if row.get("why") == "rule":
        assert decision.source == "rule"


@pytest.mark.parametrize("environ", [{"GEMINI_API_KEY": "k"}, {"OPENROUTER_API_KEY": "k"}])
def test_the_long_golden_conversation_shows_the_end_of_a_rise(environ: dict[str, str]) -> None:
    """At these labs a cheaper tier does not pay for its cache in time, so eight turns stay."""
    built = shipped.built(environ)
    config = shipped.source({}).config
    router = Router(
        catalogue=built.catalogue,
        rules=compile_rules(config.guards, config.choices),
        classifier=LearnedClassifier(model_file.read(SHIPPED_MODEL.read_bytes())),
    )
    text = (shipped.FOLDER / "golden.yaml").read_text("utf-8")
    (case,) = [
        item for item in golden.read_prompts(yaml.read(text, "golden.yaml")) if len(item.turns) > 9
    ]
    results = golden.decide_prompts(router, [case])
    assert [item.tier for item in results] == [*["reasoning"] * 9, "smart"]
    assert results[-1].passed
