"""Measure what the ledger costs a call: CPU in this process, with a journal on a real disk.

    python -m bench.ledger

For each call, the ledger notes what the decision rested on and prices the tokens. It writes two
rows to the journal, before the request and after the answer, and counts them for Prometheus. A
failed attempt has one row more. Exit status: 0 the bound holds, 1 it was missed.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from bench import cost
from bench.cost import CALLS, Cost
from gateway.core.call import NO_OPTIONS, OPEN_KEY, Call
from gateway.core.decision import Decision
from gateway.core.decision_context import DecisionContext
from gateway.core.errors import Problem
from gateway.core.price import Price
from gateway.core.prompt import Prompt
from gateway.core.rates import Rates
from gateway.core.target import Account, Catalogue, Lab, Provider, Target
from gateway.core.usage import Usage
from gateway.dialects import OPENAI_CHAT
from gateway.ledger.journal import Journal
from gateway.ledger.writer import LedgerWriter
from gateway.pipeline.accounting import CallRecorder
from gateway.routing import features
from gateway.routing.classifier.heuristic import HeuristicClassifier
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.router import Router
from gateway.routing.rules.compile import RuleSet
from gateway.telemetry.log import ignore_event
from gateway.telemetry.metrics import Metrics

BOUND = 25.0
"""Microseconds of CPU that the ledger may cost a call."""

_RATES = Rates(input=Decimal(3), cache_read=Decimal("0.3"), output=Decimal(15))
_DEAR = Rates(input=Decimal(5), cache_read=Decimal("0.5"), output=Decimal(25))
_PROVIDER = Provider(name="provider", urls={"openai-chat": "http://127.0.0.1"})
_ACCOUNT = Account("main", "")
_TARGET = Target(
    provider=_PROVIDER, model="model-1", price=Price(rates=_RATES, version="catalogue 2026-11-24")
)
_BASELINE = Target(provider=_PROVIDER, model="model-2", price=Price(rates=_DEAR, version="same"))
_DECISION = Decision(lab="lab", tier="smart", source="rule", rule="short", tags=("bench",))
_PROMPT = Prompt(
    model="auto",
    stream=True,
    max_output=4096,
    user="Write a function that merges two sorted lists.",
    user_turns=1,
    chars=8400,
)
_CASE = DecisionRecorder(
    Router(
        catalogue=Catalogue(
            labs={"lab": Lab(name="lab", tiers={"smart": (_TARGET,)})},
            default_lab="lab",
            default_tier="smart",
            version="c0ffee",
        ),
        rules=RuleSet(),
        classifier=HeuristicClassifier(),
    ),
    features.read(_PROMPT, "openai-chat", OPEN_KEY, NO_OPTIONS),
    OPENAI_CHAT,
    DecisionContext(at=1_793_000_000.5),
)
_USAGE = Usage(input=900, cache_read=1200, output=256, reasoning=90)
_REFUSAL = Problem(kind="upstream_overloaded", message="Busy.", upstream_status=529)


def measure(
    rounds: int, calls: int = CALLS, clock: Callable[[], float] = time.process_time
) -> list[Cost]:
    """Measure a call with an answer at once, and one after a failed attempt. `clock` counts seconds."""
    measured_costs = []
    for what, failures, bound in (("a call", 0, BOUND), ("after a failed attempt", 1, None)):
        with _books() as books:
            costs = [_round(books, failures, calls, clock) for _ in range(rounds)]
        measured_costs.append(Cost(what, min(costs), bound))
    return measured_costs


def main(arguments: list[str] | None = None, clock: Callable[[], float] = time.process_time) -> int:
    """Measure and print; return the exit status."""
    return cost.main("bench.ledger", __doc__, measure, BOUND, arguments, clock)


@contextmanager
def _books() -> Iterator[CallRecorder]:
    with tempfile.TemporaryDirectory(prefix="tiergate-bench-") as folder:
        journal = Journal(Path(folder))
        record = LedgerWriter(journal, "refuse", [Metrics().count_row], ignore_event)
        yield CallRecorder(record, ignore_event, baseline=lambda _: _BASELINE)
        journal.close()


def _round(books: CallRecorder, failures: int, calls: int, clock: Callable[[], float]) -> float:
    _CASE.decide()
    expected = [_call(number) for number in range(calls)]
    before = clock()
    for call in expected:
        tally = books.open(call, "c0ffee")
        tally.record_prompt(_PROMPT, 2100, 10_400)
        tally.make_decision_record = _CASE
        books.note_decision(tally, _DECISION)
        for _ in range(failures):
            attempt = books.record_attempt(tally, _TARGET, _ACCOUNT)
            books.record_failure(tally, attempt, _REFUSAL)
        books.record_attempt(tally, _TARGET, _ACCOUNT)
        tally.usage, tally.is_complete, tally.served_model = _USAGE, True, "model-1-2026"
        books.close(tally, "settled", 200)
    return (clock() - before) / calls * 1e6


def _call(number: int) -> Call:
    return Call(
        id=f"tg-{number:023x}",
        dialect="openai-chat",
        operation="generate",
        body=b"",
        received_at=1_793_000_000.5,
        started_at=time.monotonic(),
    )


if __name__ == "__main__":
    sys.exit(main())
