"""Measure what routing costs a call: CPU of reading its body and of deciding, in this process.

    python -m bench.routing

The gateway reads each call from its bytes and decides it by the shipped configuration, with and
without 50 rules of a user before it. Each line has microseconds, and how often a fixed piece of
Python fits into them. Both are measured in the same rounds, because a slow or busy machine slows
both. Exit status: 0 every bound holds, 1 one was missed.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, OPEN_KEY
from gateway.core.decision_context import DecisionContext
from gateway.core.prompt import Prompt
from gateway.dialects import OPENAI_CHAT, TranslatableRequest
from gateway.routing import features
from gateway.routing.router import Router, decide
from gateway.routing.rules.compile import compile_rules
from gateway.routing.rules.context import RuleContext
from gateway.routing.rules.guards import evaluate_guards
from gateway.runtime.build import build_config
from gateway.settings.loader import load
from gateway.settings.schema.rules import ChoicePart, GuardPart

CALLS = 200
ROUNDS = 30
MISSED = 1
_CONFIG = Path(__file__).parents[1] / "config" / "gateway.yaml"
_ENVIRON = {"OPENAI_API_KEY": "none", "ANTHROPIC_API_KEY": "none", "GEMINI_API_KEY": "none"}
_DAY = datetime(2026, 11, 24, tzinfo=UTC)
_THEN = DecisionContext(at=_DAY.timestamp())
_SHORT = "Which of these two plans would you take, and what would you ask first?"
_PROSE = (
    "The tenants of the second floor say that the heating fails at night, while the caretaker finds "
    "it warm each morning; the meters of the last two weeks show both. "
)


class Cost(msgspec.Struct, frozen=True):
    """The cost of one call."""

    what: str
    micros: float
    ratio: float
    """Number of fixed pieces of work that take as long."""
    bound: float
    """The largest ratio that meets the bound."""

    @property
    def met(self) -> bool:
        """True if the bound holds."""
        return self.ratio <= self.bound


class Case(msgspec.Struct, frozen=True):
    """One kind of call, and the router that decides it."""

    what: str
    body: bytes
    router: Router
    source: str
    """The source that must decide it."""
    bound: float


class Alone(Case, frozen=True, kw_only=True):
    """Rules alone: the features of a call are read already, and no rule matches."""

    prompt: Prompt


def unit() -> int:
    """Do the fixed piece of work: plain Python, a few microseconds."""
    total = 0
    for at in range(250):
        total += at * at % 7
    return total


def body(text: str, model: str = "auto", turns: int = 1) -> bytes:
    """Make a request whose last turn is this text."""
    before = [
        {"role": ("user", "assistant")[at % 2], "content": f"{_PROSE}{at}"}
        for at in range(2 * (turns - 1))
    ]
    messages = [{"role": "system", "content": "You are helpful."}, *before]
    return jsonio.dumps(
        {"model": model, "messages": [*messages, {"role": "user", "content": text}]}
    )


def choices(number: int = 50) -> list[ChoicePart]:
    """Make rules as people have them: keywords, patterns, lengths and tags; the last is of `zebra`."""
    kinds: list[dict[str, object]] = [
        {"keywords": ["quartz{n}", "basalt{n}", "purchase order {n}"]},
        {"matches": r"^\W*(ticket|case)\s+#{n}\d*\b"},
        {"tag": "team-{n}"},
        {"user_tokens": {"min": 100_000}, "code": {"min": 0.5}},
        {"any": [{"keywords": ["marble{n}"]}, {"matches": r"\bgranit[eo]{n}\b"}]},
    ]
    choice_parts = []
    for at in range(number - 1):
        when = jsonio.loads(jsonio.dumps(kinds[at % len(kinds)]).replace(b"{n}", str(at).encode()))
        choice_parts.append(
            ChoicePart.model_validate({"name": f"rule {at}", "when": when, "tier": "smart"})
        )
    last = {"name": "zebras", "when": {"keywords": ["zebra"]}, "tier": "fast"}
    return [*choice_parts, ChoicePart.model_validate(last)]


def mixed(number: int = 50) -> tuple[list[GuardPart], list[ChoicePart]]:
    """Make rules with all kinds of conditions; none matches, and every fifth is a guard."""
    kinds: list[dict[str, object]] = [
        {"keywords": ["quartz{n}", "basalt{n}", "purchase order {n}"]},
        {"matches": r"^\W*(generate|write|create)\b.{0,40}\btitle{n}\b"},
        {"user_tokens": {"max": 5}, "turns": {"min": 2}},
        {"tag": ["team-{n}"], "not": {"images": True}},
        {"any": [{"keywords": ["prove{n}"]}, {"maths": {"min": 0.5}, "user_tokens": {"min": 40}}]},
        {"code": {"min": 0.3}, "keywords": ["deadlock", "leak{n}"]},
        {"key": "app-{n}", "asked": ["auto", "gpt-*"]},
        {"language": ["de", "fr"], "tools": {"min": 2}},
        {"time": {"hours": "22:00-24:00", "days": "mon-fri", "zone": "Europe/Berlin"}},
        {"language": "zh", "tool_names": ["mcp__*"], "kind": "main"},
    ]
    guards, choices = list[GuardPart](), list[ChoicePart]()
    for at in range(number):
        kind = kinds[at % 5 * 2 + at // 5 % 2]
        when = jsonio.loads(jsonio.dumps(kind).replace(b"{n}", str(at).encode()))
        if at % 5 == 4:
            rule = {"name": f"guard {at}", "when": when, "max_tier": "smart"}
            guards.append(GuardPart.model_validate(rule))
        else:
            rule = {"name": f"choice {at}", "when": when, "tier": "smart"}
            choices.append(ChoicePart.model_validate(rule))
    return guards, choices


def cases() -> list[Case]:
    """Return all kinds of calls."""
    source = load(_CONFIG, _ENVIRON)
    plain = build_config(source, _DAY).router
    config = source.config
    ruled = msgspec.structs.replace(
        plain, rules=compile_rules(config.guards, [*config.choices, *choices()])
    )
    middle, long = _PROSE * 4, _PROSE * 40
    return [
        Case("pinned by its model name", body(middle, "reasoning"), plain, "pin", 10),
        Case("pinned, 50 rules", body(middle, "reasoning"), ruled, "pin", 10),
        Case("decided by the last of 50 rules", body(f"{middle} zebra"), ruled, "rule", 20),
        Case("classified, 70 characters", body(_SHORT), plain, "classifier", 60),
        Case("classified, 600 characters", body(middle), plain, "classifier", 100),
        Case("classified, 6,000 characters", body(long), plain, "classifier", 180),
        Case("classified, 20th turn", body(middle, turns=20), plain, "classifier", 110),
        Case("classified, 600 characters, 50 rules", body(middle), ruled, "classifier", 110),
        Alone(
            "50 mixed rules alone, 400 characters", b"",
            msgspec.structs.replace(plain, rules=compile_rules(*mixed())), "nothing", 8,
            prompt=Prompt(model="auto", user=f"{_PROSE * 2}{_SHORT}"[:400], chars=600),
        ),
    ]  # fmt: skip


def one(case: Case) -> str:
    """Read and decide a call; return the source of the decision."""
    if isinstance(case, Alone):
        return _ruled(case)
    read = OPENAI_CHAT.read(case.body)
    translatable = TranslatableRequest(OPENAI_CHAT, read, case.router.fetched_media)
    call = features.read(read.prompt, OPENAI_CHAT.name, OPEN_KEY, NO_OPTIONS, translatable)
    return decide(case.router, call, OPENAI_CHAT)[0].source


def _ruled(case: Alone) -> str:
    call = features.read(case.prompt, OPENAI_CHAT.name, OPEN_KEY, NO_OPTIONS)
    view = RuleContext(call, case.router.rules.patterns, _THEN)
    evaluate_guards(case.router.rules, view)
    return next(
        (choice.name for choice in case.router.rules.choices if choice.test(view)), "nothing"
    )


def measure(
    rounds: int,
    calls: int = CALLS,
    clock: Callable[[], float] = time.process_time,
    made: Sequence[Case] | None = None,
) -> list[Cost]:
    """Measure every case, each round beside one of the fixed work; the best of each counts.

    `clock` counts seconds. Raises RuntimeError if a source other than the expected one decides.
    """
    costs = []
    for case in cases() if made is None else made:
        decided = one(case)
        if decided != case.source:
            raise RuntimeError(f"{case.what}: decided by {decided}")
        own, fixed = [], []
        for _ in range(rounds):
            fixed.append(_round(unit, calls, clock))
            own.append(_round(lambda case=case: one(case), calls, clock))  # type: ignore[misc]
        spent = min(own)
        costs.append(Cost(case.what, spent / calls * 1e6, spent / min(fixed), case.bound))
    return costs


def _round(work: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    before = clock()
    for _ in range(calls):
        work()
    return clock() - before


def render(costs: Sequence[Cost]) -> str:
    """Format the costs as a table."""
    width = max(len(cost.what) for cost in costs) + 2
    lines = [
        f"{cost.what:<{width}}{cost.micros:>8.1f} us{cost.ratio:>8.1f} of at most {cost.bound:g}"
        f"{'' if cost.met else '  !'}"
        for cost in costs
    ]
    return "\n".join(
        [*lines, "microseconds of CPU to read and decide; times a fixed piece of work"]
    )


def main(arguments: list[str] | None = None, clock: Callable[[], float] = time.process_time) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.routing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each, the best one counts")
    parser.add_argument("--calls", type=int, default=CALLS, help="of a round")
    given = parser.parse_args(arguments)
    costs = measure(given.rounds, given.calls, clock)
    sys.stdout.write(render(costs) + "\n")
    return 0 if all(cost.met for cost in costs) else MISSED


if __name__ == "__main__":
    sys.exit(main())
