"""Run a live check: all first probes, then all second ones, cheapest first, within the budget."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

import msgspec

from gateway.cli.doctor.live.answer import DecodedAnswer, decode_answer
from gateway.cli.doctor.live.budget import ProbeBudget
from gateway.cli.doctor.live.checks import compute_probe_cost, find_deviations, find_price
from gateway.cli.doctor.live.probes import PROBES, ProbeName
from gateway.cli.doctor.live.recording import JudgedProbe
from gateway.cli.doctor.live.send import ProbeOutcome, ProbeSender
from gateway.cli.doctor.live.series import PlannedProbe, ProbeSeries
from gateway.core.price import compute_reservation

_MAX_CONCURRENT_PROBES = 4
_ZERO = Decimal(0)
UNKNOWN_PRICE = "its price is unknown"
OVER_BUDGET = "the budget is too small for what they may cost"
_FINAL_KINDS = frozenset({"upstream_auth", "upstream_model", "upstream_unreachable"})
"""Problems of a first probe after which all others of its series would fail too."""


class SkippedProbe(msgspec.Struct, frozen=True):
    """A probe that was not sent, and why."""

    series: ProbeSeries
    name: ProbeName
    reason: str


class LiveReport(msgspec.Struct):
    """All that a live check has found out."""

    judged: list[JudgedProbe] = []
    skipped: list[SkippedProbe] = []
    known_usd: Decimal = _ZERO
    """The cost of all answers whose cost is known."""
    charged_usd: Decimal = _ZERO
    """That cost, with the most that the other answers may have cost."""
    unpriced: int = 0
    """Sent probes of which nothing bounds the cost, since their model has no price."""


class LiveCheck:
    """One run over some series of probes."""

    def __init__(
        self, sender: ProbeSender, budget: ProbeBudget, *, sends_unpriced: bool = False
    ) -> None:
        """`sends_unpriced`: probe models without a price too, whose cost no budget bounds."""
        self._sender = sender
        self._budget = budget
        self._sends_unpriced = sends_unpriced
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT_PROBES)
        self._final_problems: dict[str, str] = {}
        """Why a series does not go on, by the name of the series."""
        self._prompt_tokens: dict[str, int] = {}
        """The tokens of the question that `cut` and `leave` ask, by the name of the series."""
        self.report = LiveReport()

    async def run(self, all_series: Sequence[ProbeSeries], tick: Callable[[], None]) -> LiveReport:
        """Send the probes; call `tick` after each, sent or not."""
        for probe in PROBES:
            step = sorted(_pick(all_series, probe.name), key=lambda item: item[1].max_usd or _ZERO)
            async with asyncio.TaskGroup() as tasks:
                for series, planned in step:
                    await self._slots.acquire()
                    reserved = await self._reserve(series, planned)
                    if reserved is None:
                        self._slots.release()
                        tick()
                        continue
                    tasks.create_task(self._send(series, planned, reserved, tick))
        self.report.charged_usd = self._budget.charged
        return self.report

    async def _reserve(self, series: ProbeSeries, planned: PlannedProbe) -> Decimal | None:
        """Reserve what a probe may cost; return None, and note the reason, if it must not go."""
        reason = self._final_problems.get(series.name, "")
        max_usd = planned.max_usd
        if not reason and max_usd is None:
            if self._sends_unpriced:
                self.report.unpriced += 1
                max_usd = _ZERO
            else:
                reason = UNKNOWN_PRICE
        if not reason and max_usd is not None and await self._budget.reserve(max_usd):
            return max_usd
        if not reason:
            reason = OVER_BUDGET
        self.report.skipped.append(SkippedProbe(series, planned.probe.name, reason))
        return None

    async def _send(
        self,
        series: ProbeSeries,
        planned: PlannedProbe,
        reserved: Decimal,
        tick: Callable[[], None],
    ) -> None:
        outcome = None
        try:
            outcome = await self._sender.send(series, planned.probe)
        finally:
            charged = reserved if outcome is None else self._find_charge(outcome, reserved)
            await self._budget.settle(reserved, charged)
            self._slots.release()
        self.report.judged.append(judge(outcome))
        if outcome.problem is not None and outcome.problem.kind in _FINAL_KINDS:
            self._final_problems[series.name] = f"its probe {planned.probe.name} has failed"
        tick()

    def _find_charge(self, outcome: ProbeOutcome, reserved: Decimal) -> Decimal:
        """Return what a probe is charged with: its cost, or the most that it may have cost."""
        problem, probe = outcome.problem, outcome.probe
        if outcome.exchange.status not in (0, 200) or (
            problem is not None and problem.spent == "no"
        ):
            return _ZERO
        if probe.is_left:
            return self._bound_left(outcome, reserved)
        if probe.name == "cut" and outcome.usage is not None and outcome.usage.prompt:
            self._prompt_tokens[outcome.series.name] = outcome.usage.prompt
        cost = compute_probe_cost(outcome)
        costs = [usd for usd in (cost.computed, cost.billed) if usd is not None]
        if not costs or problem is not None:
            return max([reserved, *costs])
        self.report.known_usd += cost.usd or _ZERO
        return max(costs)

    def _bound_left(self, outcome: ProbeOutcome, reserved: Decimal) -> Decimal:
        """Return the most that a stream may have cost which the gateway has left."""
        price, target = find_price(outcome), outcome.series.candidate.target
        prompt_tokens = self._prompt_tokens.get(outcome.series.name)
        if price is None:
            return reserved
        max_output = target.compute_max_output(outcome.probe.find_max_output(target), 1)
        bound = compute_reservation(price, prompt_tokens, max_output)
        return reserved if bound is None else min(reserved, bound)


def judge(outcome: ProbeOutcome) -> JudgedProbe:
    """Read the answer of a probe, and find what differs."""
    answer = DecodedAnswer()
    if outcome.exchange.status == 200:
        try:
            answer = decode_answer(
                outcome.series.dialect, outcome.exchange.body, is_stream=outcome.probe.is_stream
            )
        except Exception as error:  # noqa: BLE001 - no answer of a provider may end the check
            answer = DecodedAnswer(error=f"its decoder fails with {type(error).__name__}")
    return JudgedProbe(outcome, answer, [*find_deviations(outcome, answer)])


def _pick(
    all_series: Sequence[ProbeSeries], name: ProbeName
) -> Iterator[tuple[ProbeSeries, PlannedProbe]]:
    """Yield the probe of a name of each series that has it."""
    for series in all_series:
        for planned in series.planned:
            if planned.probe.name == name:
                yield series, planned
