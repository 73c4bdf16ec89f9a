"""Guards commute: in any order they bound every decision the same way, pins too."""

import random

import pytest

from gateway.core.errors import ProblemError
from gateway.core.target import TIERS
from gateway.dialects import OPENAI_CHAT
from gateway.routing.router import Router, decide
from gateway.routing.rules.compile import compile_rules
from gateway.routing.rules.context import RuleContext
from gateway.routing.rules.guards import GuardBounds, evaluate_guards
from gateway.settings.schema.rules import GuardPart
from tests.routing import world
from tests.routing.test_sound import ALIASES, Dice

CATALOGUE = world.catalogue(world.CATALOGUE.labs.values(), **ALIASES)


def guards(dice: Dice) -> list[GuardPart]:
    """Return up to six guards, one of which may have several effects."""
    definitions = [dice.guard() for _ in range(dice.pick([2, 4, 6]))]
    definitions += [
        {**dice.guard(), "no_cache": True, "judge": "off", "complete": dice.pick(["hold", "off"])}
    ]
    definitions += [{**dice.guard(), "quality": dice.pick([0, 5, {"keep": 0.97}])}]
    return [
        GuardPart.model_validate({"name": f"g{at}", **definition})
        for at, definition in enumerate(definitions)
    ]


def meaning(bounds: GuardBounds) -> tuple[object, ...]:
    """Return all bounds without texts: order decides whose refusal and `complete` win."""
    return (
        bounds.low, bounds.high, bounds.allow, bounds.deny, bounds.refuse is not None,
        bounds.no_cache, bounds.no_judge, bounds.complete is not None, bounds.quality is not None, bounds.tags,
        sorted((step.reason, step.effect) for step in bounds.steps),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_any_order_of_guards_gives_the_same_bounds(seed: int) -> None:
    dice, order = Dice(seed), random.Random(seed)
    written = guards(dice)
    calls = [(dice.call(), dice.at()) for _ in range(10)]
    first: list[tuple[object, ...]] = []
    for _ in range(4):
        rules = compile_rules(written, [])
        bounds = [
            meaning(evaluate_guards(rules, RuleContext(call, rules.patterns, at)))
            for call, at in calls
        ]
        first = first or bounds
        assert bounds == first
        order.shuffle(written)


PINS = [
    "auto",
    "fast",
    "smart",
    "reasoning",
    "luna",
    "sol",
    "lite",
    "openai/reasoning",
    "google/auto",
]


@pytest.mark.parametrize("seed", range(60))
def test_all_matching_guards_together_bound_the_requested_model(seed: int) -> None:
    dice = Dice(1_000 + seed)
    router = Router(catalogue=CATALOGUE, rules=compile_rules(guards(dice), []), classifier=None)
    for _ in range(12):
        call, at = dice.call(), dice.at()
        call.prompt = world.call(model=dice.pick(PINS)).prompt
        view = RuleContext(call, router.rules.patterns, at)
        bounds = evaluate_guards(router.rules, view)
        hits = [guard.definition for guard in router.rules.guards if guard.test(view)]
        refusals = [part.refuse for part in hits if part.refuse is not None]
        decision, problem = None, None
        try:
            decision, _ = decide(router, call, OPENAI_CHAT, at)
        except ProblemError as error:
            problem = error.problem
        if refusals:
            assert problem is not None
            assert problem.message in refusals
        if decision is None:
            continue
        assert decision.tier is not None
        most = min((TIERS.index(p.max_tier) for p in hits if p.max_tier), default=2)
        least = max((TIERS.index(p.min_tier) for p in hits if p.min_tier), default=0)
        assert min(least, most) <= TIERS.index(decision.tier) <= most
        assert all(decision.lab not in (part.deny or ()) for part in hits)
        assert all(part.allow is None or decision.lab in part.allow for part in hits)
        assert decision.no_cache is any(part.no_cache for part in hits)
        assert decision.no_judge is any(part.judge == "off" for part in hits)
        assert set(decision.tags) == bounds.tags >= {tag for part in hits for tag in part.tag or ()}
