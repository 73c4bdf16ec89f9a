"""A small catalogue and its calls: three labs, one of them off."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.core.call import NO_OPTIONS, OPEN_KEY, Key, RequestOptions
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import Score, Thresholds
from gateway.core.errors import Problem, ProblemError
from gateway.core.prompt import Prompt
from gateway.core.target import (
    Account,
    Catalogue,
    Lab,
    ModelFacts,
    Provider,
    Target,
    Tier,
    index_models,
)
from gateway.dialects import OPENAI_CHAT
from gateway.routing import features
from gateway.routing.classifier.heuristic import THRESHOLDS, Classifier
from gateway.routing.classifier.text_signals import TextSignals
from gateway.routing.features import Features
from gateway.routing.router import Router, decide
from gateway.routing.rules.compile import RuleSet, compile_rules
from gateway.settings.schema.rules import ChoicePart, GuardPart

type Json = Mapping[str, Any]


def provider(name: str, why: str = "") -> Provider:
    return Provider(
        name=name,
        urls={"openai-chat": f"https://{name}.example/v1/chat/completions"},
        accounts=(Account("main", "secret"),),
        enabled=not why,
        disabled_reason=why,
    )


OPENAI = provider("openai")
GEMINI = provider("gemini")
ANTHROPIC = provider("anthropic", why="set ANTHROPIC_API_KEY")
HOST = provider("host", why="set HOST_API_KEY")


def target(provider: Provider, model: str, effort: str | None = None, **facts: Any) -> Target:
    return Target(provider=provider, model=model, effort=effort, facts=ModelFacts(**facts))


LUNA = target(OPENAI, "luna", "none", context=1_000, vision=True)
SOL = target(OPENAI, "sol", "low", chat_tool_efforts=(), vision=True)
SOL_HIGH = target(OPENAI, "sol", "high", chat_tool_efforts=(), vision=True)
TERRA = target(OPENAI, "terra", "none", tools=True, vision=False)
ASTRA = target(OPENAI, "astra", "high", chat_tool_efforts=())
LITE, HYDROGEN, ARGON = (target(GEMINI, name) for name in ("lite", "hydrogen", "argon"))
OPUS = target(ANTHROPIC, "opus")
SPARE = target(HOST, "luna")


def lab(
    name: str,
    fast: Sequence[Target] = (),
    smart: Sequence[Target] = (),
    reasoning: Sequence[Target] = (),
) -> Lab:
    tiers: dict[Tier, tuple[Target, ...]] = {
        "fast": tuple(fast),
        "smart": tuple(smart),
        "reasoning": tuple(reasoning),
    }
    providers = [item.provider for row in tiers.values() for item in row]
    on = any(item.enabled for item in providers)
    return Lab(
        name=name,
        tiers=tiers,
        enabled=on,
        disabled_reason="" if on else providers[0].disabled_reason,
    )


def catalogue(labs: Iterable[Lab], default: str = "openai", **aliases: str) -> Catalogue:
    by_name = {item.name: item for item in labs}
    return Catalogue(
        labs=by_name,
        default_lab=default,
        default_tier="smart",
        aliases=aliases,
        models=index_models(by_name),
        version="v",
    )


CATALOGUE = catalogue(
    (
        lab("anthropic", reasoning=[OPUS]),
        lab("google", [LITE], [HYDROGEN], [ARGON]),
        lab("openai", [LUNA, SPARE], [SOL, TERRA], [ASTRA, SOL_HIGH]),
    ),
    old="auto",
    older="openai/reasoning",
    oldest="terra",
)


class FixedScoreClassifier:
    """A classifier with a fixed score."""

    name = "fixed"
    version = "fixed-1"

    def __init__(self, fast: float, smart: float, thresholds: Thresholds = THRESHOLDS) -> None:
        self._score = Score(fast, smart)
        self.thresholds = thresholds

    def score(self, text: str, signals: TextSignals) -> Score:
        return self._score

    def explain(self, signals: TextSignals, score: Score) -> str:
        return "it always says so"


def rules(guards: Iterable[Json] = (), choices: Iterable[Json] = ()) -> RuleSet:
    """Return rules as YAML would write them, with a name for each rule that has none."""
    return compile_rules(
        [GuardPart.model_validate({"name": f"guard {at}", **g}) for at, g in enumerate(guards)],
        [ChoicePart.model_validate({"name": f"choice {at}", **c}) for at, c in enumerate(choices)],
    )


def router(
    guards: Iterable[Json] = (),
    choices: Iterable[Json] = (),
    classifier: Classifier | None = None,
    known: Catalogue = CATALOGUE,
) -> Router:
    return Router(catalogue=known, rules=rules(guards, choices), classifier=classifier)


def call(
    text: str = "",
    model: str = "auto",
    key: Key = OPEN_KEY,
    steer: RequestOptions = NO_OPTIONS,
    dialect: str = OPENAI_CHAT.name,
    **prompt: Any,
) -> Features:
    facts = {"chars": len(text), "user_turns": 1, **prompt}
    return features.read(Prompt(model=model, user=text, **facts), dialect, key, steer)


def decided(router: Router, call: Features) -> tuple[Decision, Plan]:
    return decide(router, call, OPENAI_CHAT)


def refusal(router: Router, call: Features) -> Problem:
    try:
        decision, _ = decided(router, call)
    except ProblemError as error:
        return error.problem
    message = f"served by {decision.lab}/{decision.tier}"
    raise AssertionError(message)


def names(plan: Plan) -> list[str]:
    return [item.name for item in plan.targets]


def lines(decision: Decision) -> list[str]:
    """Return the trace as people read it: step, effect and why; a minus marks no effect."""
    return [
        f"{'' if step.matched else '-'}{step.step}: {step.effect} ({step.reason})"
        for step in decision.trace
    ]


def timeless(decision: Decision) -> Decision:
    trace = tuple(msgspec.structs.replace(step, ms=0.0) for step in decision.trace)
    return msgspec.structs.replace(decision, trace=trace)
