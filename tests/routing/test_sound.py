"""The analysis of rules is sound: in random rules and calls, what it rules out never happens.

`make sound` tries many more.
"""

import random
import re
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from gateway.core.call import Key, RequestOptions
from gateway.core.conversation import ConversationTurn
from gateway.core.decision_context import DecisionContext
from gateway.core.errors import ProblemError
from gateway.core.target import TIERS
from gateway.dialects import DIALECTS, OPENAI_CHAT
from gateway.routing.classifier.heuristic import HeuristicClassifier
from gateway.routing.features import Features
from gateway.routing.lint import unreachable_rules
from gateway.routing.router import Router, decide
from gateway.routing.rules.compile import compile_rules
from gateway.routing.rules.context import RuleContext
from gateway.routing.rules.guards import evaluate_guards
from gateway.settings.errors import Mistake
from gateway.settings.schema.root import Config
from gateway.settings.schema.rules import ChoicePart
from tests.routing import world
from tests.routing.lint import test_unreachable_rules

type Rule = dict[str, Any]

WORDS = ["a", "b", "a b", "ab", "证", "a证", "B"]
TAGS = ["s", "t", "u"]
NAMES = ["g-1", "g-2", "h-1"]
GLOBS = [*NAMES, "g-*", "*-1", "*", "g*1"]
CLIENTS = ["cline", "codex", "crush"]
TOOLS = ["read", "re*", "write"]
KEYS = [
    Key(name="g-1", tags=("s",), allowed_tags=()),
    Key(name="g-2", allowed_tags=("t",)),
    Key(name="h-1"),
]


ALIASES = dict.fromkeys(NAMES, "auto")
SPOKEN = ("openai-chat", "openai-responses", "anthropic-messages", "gemini")


class Dice:
    """Random rules and calls of a small world, in which rules often affect each other."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def sample(self, of: Sequence[Any], most: int = 2) -> list[Any]:
        return self._random.sample(of, self._random.randint(1, most))

    def pick(self, of: Sequence[Any]) -> Any:
        return self._random.choice(of)

    def range(self, numbers: Sequence[float]) -> dict[str, float]:
        low, high = sorted(self._random.choices(numbers, k=2))
        bounds: dict[str, float] = self.pick(
            [{"min": low}, {"max": high}, {"min": low, "max": high}]
        )
        return bounds

    def leaf(self) -> Rule:
        conditions: dict[str, Any] = {
            "keywords": self.sample(WORDS),
            "matches": self.pick(["^a", "b$", "a|", "a"]),
            "user_tokens": self.range([0, 1, 1.5, 2, 3]),
            "turns": self.range([0, 1, 2, 3]),
            "code": self.range([0, 0.2, 0.5, 1]),
            "maths": self.range([0, 0.5]),
            "tools": self.pick([True, False, {"min": 2}]),
            "tool_names": self.sample(TOOLS),
            "tool_loop": self.pick([True, False]),
            "images": self.pick([True, False, {"max": 1}]),
            "stream": self.pick([True, False]),
            "need": self.range([0, 0.3, 0.5, 1]),
            "confidence": self.range([0.5, 0.7]),
            "language": self.sample(["en", "zh", "unknown"]),
            "kind": self.sample(["main", "side", "agent"]),
            "client": self.sample([*CLIENTS, "c*", "*e", "*"]),
            "dialect": self.sample(SPOKEN),
            "asked": self.sample(GLOBS),
            "key": self.sample(GLOBS),
            "tag": self.sample(TAGS),
            "time": {"days": self.sample(["mon", "tue", "mon-sat"]), "hours": self.sample(["00:00-12:00", "06:00-24:00"]), "zone": self.pick(["UTC", "Asia/Tokyo"])},
            "cel": self.pick(["call.turns > 1", "call.images / call.files > 1"]),
        }  # fmt: skip
        # A few kinds come often, so that they interact.
        names = self._random.choices([*conditions], [4, 1, 4, 2, 2, 1, 2, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 2, 4, 1, 1], k=2)  # fmt: skip
        return {name: conditions[name] for name in names[: self._random.choice([1, 1, 2])]}

    def when(self, depth: int = 2) -> Rule:
        kind = self._random.random()
        if depth == 0 or kind < 0.5:
            return self.leaf()
        parts = [self.when(depth - 1) for _ in range(self._random.randint(1, 3))]
        if kind < 0.65:
            return {"any": parts}
        if kind < 0.8:
            return {"all": parts}
        return {**self.leaf(), "not": parts[0]}

    def traffic(self) -> Rule:
        """Return a traffic condition for few rules: the analysis reports no rule after one."""
        condition: Rule = self.pick([{"traffic": self.pick([0, 0.5, 1])}, *[{}] * 5])
        return condition

    def guard(self) -> Rule:
        effect: list[Rule] = [
            {"min_tier": self.pick(TIERS)},
            {"max_tier": self.pick(TIERS)},
            {"deny": ["google"]},
            {"allow": ["openai"]},
            {"refuse": "No."},
            {"tag": self.sample(TAGS)},
            {"tag": self.sample(TAGS)},
        ]
        when = self.pick([self.when(), self.when(), {}])
        return {"when": {**when, **self.traffic()}, **self.pick(effect)}

    def choice(self) -> Rule:
        effect = [
            {"tier": self.pick(TIERS)},
            {"lab": "google"},
            {"model": self.pick(["sol", "lite"])},
        ]
        return {"when": {**self.when(), **self.traffic()}, **self.pick(effect)}

    def call(self) -> Features:
        words = " ".join(self.sample([*WORDS, "c", "def f(): return 1", "the"], 4))
        features = world.call(
            self.pick([words, "", words + "!"]),
            model=self.pick([*NAMES, "x", ""]),
            key=self.pick(KEYS),
            steer=RequestOptions(tags=tuple(self.sample([*TAGS, "v"], 3))),
            dialect=self.pick(SPOKEN),
            user_turns=self.pick([0, 1, 2, 3, 4]),
            tools=self.pick([(), ("read",), ("write", "rest"), ("write",)]),
            tool_loop=self.pick([True, False]),
            images=self.pick([0, 1, 2]),
            files=self.pick([0, 1]),
            stream=self.pick([True, False]),
        )
        features.turn = ConversationTurn(
            kind=self.pick(["main", "side", "agent"]),
            client=self.pick(["", *CLIENTS]),
            conversation=self.pick(["", "c1", "c2"]),
        )
        return features

    def at(self) -> DecisionContext:
        return DecisionContext(at=1_793_000_000 + 3600.0 * self._random.randint(0, 200))


class RuleTrial:
    """A random configuration, and the findings about it."""

    def __init__(self, dice: Dice, *, keyed: bool) -> None:
        guards = [dice.guard() for _ in range(dice.pick([0, 1, 3]))]
        choices = [dice.choice() for _ in range(dice.pick([1, 3, 6]))]
        source = test_unreachable_rules.source(guards, choices, aliases=ALIASES)
        self.config = source.config
        self.router = Router(
            catalogue=world.catalogue(world.CATALOGUE.labs.values(), **ALIASES),
            rules=compile_rules(self.config.guards, self.config.choices),
            classifier=HeuristicClassifier(),
        )
        self.errors = unreachable_rules.list_errors(source, DIALECTS)
        self.findings = [
            *self.errors,
            *unreachable_rules.list_warnings(source, DIALECTS, KEYS if keyed else None),
        ]

    def is_refuted(self, item: Mistake, call: Features, at: DecisionContext) -> bool:
        """True if a call shows that a finding is wrong."""
        rules = self.router.rules
        view = RuleContext(call, rules.patterns, at, self.router.classifier)
        bounds = evaluate_guards(rules, view)
        rule, _, field = item.path.partition(".")
        kind, _, number = rule.removesuffix("]").partition("[")
        compiled = (rules.guards if kind == "guards" else rules.choices)[int(number)]
        if "the others decide alone" in item.message:
            whole = compiled.test(view) or "what else" not in item.message
            return whole and _holds(self.config, item.path, view)
        if "never matches" in item.message:
            return compiled.test(view)
        first = next((choice for choice in rules.choices if choice.test(view)), None)
        if first is None or first is not compiled:
            return False
        if bounds.refuse is not None or "is never reached" in item.message:
            return "is never reached" in item.message
        if "decides nothing" in item.message:
            return True
        try:
            decision, _ = decide(self.router, call, OPENAI_CHAT, at)
        except ProblemError:
            return False
        return decision.rule == first.name and getattr(decision, field) == getattr(first, field)


def _holds(config: Config, path: str, view: RuleContext) -> bool:
    """True if the condition at a path holds for a call."""
    at: Any = config
    for name, number in re.findall(r"(\w+)|\[(\d+)\]", path):
        at = at[int(number)] if number else getattr(at, {"not": "not_"}.get(name, name))
    alone = compile_rules([], [ChoicePart(name="part", when=at, tier="fast")])
    own = RuleContext(view.call, alone.patterns, view.decision_context, HeuristicClassifier())
    own.tags = view.tags
    return alone.choices[0].test(own)


def attempt(seed: int, calls: int) -> Counter[str]:
    """Try random rules and calls, and count the findings by kind. Raises AssertionError."""
    dice = Dice(seed)
    keyed = dice.pick([True, False])
    trial = RuleTrial(dice, keyed=keyed)
    for _ in range(calls if trial.findings else 0):
        call, at = dice.call(), dice.at()
        for item in trial.findings:
            assert not trial.is_refuted(item, call, at), (seed, str(item))
    return Counter(
        re.split(r"[:0-9']| reasoning| fast| smart| google| sol| lite", item.message)[0]
        for item in trial.findings
    )


def test_what_the_analysis_rules_out_never_happens() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(100):
        kinds += attempt(seed, calls=60)
    for kind in (
        "never matches, with the keys", "never holds", "is never reached", "no call gets",
        "no call goes to", "decides nothing", "cannot hold together with",
    ):  # fmt: skip
        assert any(message.startswith(kind) for message in kinds), kind


def test_the_analysis_finds_every_simple_rule_that_is_never_reached() -> None:
    """An analysis without findings would be sound, so this test demands all simple cases."""
    missed = 0
    for seed in range(200):
        dice = Dice(10_000 + seed)
        leaf = dice.leaf()
        source = test_unreachable_rules.source([], [{"when": leaf, "tier": "fast"}, {"when": {**dice.leaf(), **leaf}, "tier": "smart"}], aliases=ALIASES)  # fmt: skip
        messages = [
            item.message
            for item in unreachable_rules.list_warnings(source, DIALECTS)
            + unreachable_rules.list_errors(source, DIALECTS)
        ]
        missed += not any("never" in message for message in messages)
    assert missed == 0


if __name__ == "__main__":
    total: Counter[str] = Counter()
    for number in range(int(sys.argv[1])):
        total += attempt(1_000_000 + number, calls=100)
    for name, times in total.most_common():
        print(f"{times:8}  {name}")
