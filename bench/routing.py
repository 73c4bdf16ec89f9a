"""What routing costs a call: CPU of reading its body and of deciding, in this process.

    python -m bench.routing

Each call is read from its bytes, as the edge has them, and decided by the shipped configuration, with
and without 50 rules of a user before it. Beside microseconds stands how often a fixed piece of Python
fits into that, measured in the same rounds: a machine that is slow, or busy, is so for both. Exit
status: 0 every bound holds, 1 one was missed.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gateway.core import jsonio
from gateway.core.call import NO_STEER, OPEN
from gateway.dialects import OPENAI_CHAT, Asked
from gateway.routing import features
from gateway.routing.decide import Router, decide
from gateway.routing.rules import compile_rules
from gateway.settings.load import load
from gateway.settings.rule import ChoicePart
from gateway.site import site

CALLS = 200
ROUNDS = 30
MISSED = 1
_CONFIG = Path(__file__).parents[1] / "config" / "gateway.yaml"
_ENVIRON = {"OPENAI_API_KEY": "none", "ANTHROPIC_API_KEY": "none", "GEMINI_API_KEY": "none"}
_DAY = datetime(2026, 11, 24, tzinfo=UTC)
_SHORT = "Which of these two plans would you take, and what would you ask first?"
_PROSE = (
    "The tenants of the second floor say that the heating fails at night, while the caretaker finds "
    "it warm each morning; the meters of the last two weeks show both. "
)


class Cost(msgspec.Struct, frozen=True):
    """What one call costs."""

    what: str
    micros: float
    ratio: float
    """How many of the fixed pieces of work take as long."""
    bound: float
    """The most that is enough."""

    @property
    def met(self) -> bool:
        """Whether the bound holds."""
        return self.ratio <= self.bound


class Case(msgspec.Struct, frozen=True):
    """One kind of call, and the router that decides it."""

    what: str
    body: bytes
    router: Router
    source: str
    """What must decide it."""
    bound: float


def unit() -> int:
    """The fixed piece of work: plain Python, a few microseconds."""
    total = 0
    for at in range(250):
        total += at * at % 7
    return total


def body(text: str, model: str = "auto", turns: int = 1) -> bytes:
    """A request whose last turn is this text."""
    before = [
        {"role": ("user", "assistant")[at % 2], "content": f"{_PROSE}{at}"}
        for at in range(2 * (turns - 1))
    ]
    told = [{"role": "system", "content": "You are helpful."}, *before]
    return jsonio.dumps({"model": model, "messages": [*told, {"role": "user", "content": text}]})


def choices(number: int = 50) -> list[ChoicePart]:
    """Rules as people have them: keywords, patterns, lengths and tags; the last is of `zebra`."""
    kinds: list[dict[str, object]] = [
        {"keywords": ["quartz{n}", "basalt{n}", "purchase order {n}"]},
        {"matches": r"^\W*(ticket|case)\s+#{n}\d*\b"},
        {"tag": "team-{n}"},
        {"user_tokens": {"min": 100_000}, "code": {"min": 0.5}},
        {"any": [{"keywords": ["marble{n}"]}, {"matches": r"\bgranit[eo]{n}\b"}]},
    ]
    found = []
    for at in range(number - 1):
        when = jsonio.loads(jsonio.dumps(kinds[at % len(kinds)]).replace(b"{n}", str(at).encode()))
        found.append(
            ChoicePart.model_validate({"name": f"rule {at}", "when": when, "tier": "smart"})
        )
    last = {"name": "zebras", "when": {"keywords": ["zebra"]}, "tier": "fast"}
    return [*found, ChoicePart.model_validate(last)]


def cases() -> list[Case]:
    """All kinds of calls."""
    source = load(_CONFIG, _ENVIRON)
    plain = site(source, _DAY).router
    config = source.config
    ruled = msgspec.structs.replace(
        plain, rules=compile_rules(config.guards, [*config.choices, *choices()])
    )
    middle, long = _PROSE * 4, _PROSE * 40
    return [
        Case("pinned by its model name", body(middle, "reasoning"), plain, "pin", 10),
        Case("pinned, 50 rules", body(middle, "reasoning"), ruled, "pin", 10),
        Case("decided by the last of 50 rules", body(f"{middle} zebra"), ruled, "rule", 20),
        Case("classified, 70 characters", body(_SHORT), plain, "classifier", 40),
        Case("classified, 600 characters", body(middle), plain, "classifier", 80),
        Case("classified, 6,000 characters", body(long), plain, "classifier", 170),
        Case("classified, 20th turn", body(middle, turns=20), plain, "classifier", 100),
        Case("classified, 600 characters, 50 rules", body(middle), ruled, "classifier", 90),
    ]


def one(case: Case) -> str:
    """Reads and decides a call; returns what decided."""
    read = OPENAI_CHAT.read(case.body)
    asked = Asked(OPENAI_CHAT, read, case.router.fetches)
    call = features.read(read.prompt, OPENAI_CHAT.name, OPEN, NO_STEER, asked)
    return decide(case.router, call, OPENAI_CHAT)[0].source


def measure(
    rounds: int,
    calls: int = CALLS,
    clock: Callable[[], float] = time.process_time,
    made: Sequence[Case] | None = None,
) -> list[Cost]:
    """Every case, each round of it beside one of the fixed work; the best of each counts.

    `clock` counts seconds. Raises RuntimeError where something else decides than should.
    """
    found = []
    for case in cases() if made is None else made:
        decided = one(case)
        if decided != case.source:
            raise RuntimeError(f"{case.what}: decided by {decided}")
        own, fixed = [], []
        for _ in range(rounds):
            fixed.append(_round(unit, calls, clock))
            own.append(_round(lambda case=case: one(case), calls, clock))  # type: ignore[misc]
        spent = min(own)
        found.append(Cost(case.what, spent / calls * 1e6, spent / min(fixed), case.bound))
    return found


def _round(work: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    before = clock()
    for _ in range(calls):
        work()
    return clock() - before


def render(found: Sequence[Cost]) -> str:
    """The costs as a table."""
    width = max(len(one.what) for one in found) + 2
    lines = [
        f"{one.what:<{width}}{one.micros:>8.1f} us{one.ratio:>8.1f} of at most {one.bound:g}"
        f"{'' if one.met else '  !'}"
        for one in found
    ]
    return "\n".join(
        [*lines, "microseconds of CPU to read and decide; times a fixed piece of work"]
    )


def main(arguments: list[str] | None = None, clock: Callable[[], float] = time.process_time) -> int:
    """Measures and prints; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.routing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each, the best one counts")
    parser.add_argument("--calls", type=int, default=CALLS, help="of a round")
    given = parser.parse_args(arguments)
    found = measure(given.rounds, given.calls, clock)
    sys.stdout.write(render(found) + "\n")
    return 0 if all(one.met for one in found) else MISSED


if __name__ == "__main__":
    sys.exit(main())
