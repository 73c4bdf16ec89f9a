"""Run a live check: all first probes, then all second ones, cheapest first, within the budget."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from decimal import Decimal

import msgspec

from gateway.cli.doctor.live.answer import DecodedAnswer, decode_answer
from gateway.cli.doctor.live.checks import compute_probe_cost, find_deviations, find_price
from gateway.cli.doctor.live.probes import PROBES, ProbeName
from gateway.cli.doctor.live.recording import JudgedProbe
from gateway.cli.doctor.live.send import ProbeOutcome, ProbeSender
from gateway.cli.doctor.live.series import PlannedProbe, ProbeSeries, sum_fees
from gateway.cli.spending import RunBudget
from gateway.core.price import compute_reservation

_MAX_PROBES_PER_PROVIDER = 2
_MAX_WAIT_SECONDS = 30.0
"""The longest wait for a provider that limits the rate."""
_ZERO = Decimal(0)
AFTER_FAILURE = "an earlier probe has failed"
UNKNOWN_PRICE = "its price is unknown"
OVER_BUDGET = "the budget has less left than they may cost"
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
    """The known cost, and the most that all other answers may have cost."""
    unpriced: int = 0
    """Sent probes of which nothing bounds the cost, since their model has no price."""


class LiveCheck:
    """One run over some series of probes."""

    def __init__(
        self,
        sender: ProbeSender,
        budget: RunBudget,
        *,
        sends_unpriced: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`sends_unpriced`: probe models without a price too, whose cost no budget bounds."""
        self._sender = sender
        self._budget = budget
        self._sends_unpriced = sends_unpriced
        self._sleep = sleep
        self._slots = defaultdict[str, asyncio.Semaphore](
            lambda: asyncio.Semaphore(_MAX_PROBES_PER_PROVIDER)
        )
        """Places for probes in flight, by the name of a provider."""
        self._failed_endpoints: set[tuple[str, str, str]] = set()
        """The endpoints of series that do not go on."""
        self._prompt_tokens: dict[tuple[str, str, str], int] = {}
        """The tokens of the question that `cut` and `leave` ask, by endpoint."""
        self.report = LiveReport()

    async def run(self, all_series: Sequence[ProbeSeries], tick: Callable[[], None]) -> LiveReport:
        """Send the probes; call `tick` after each, sent or not."""
        for probe in PROBES:
            step = sorted(_pick(all_series, probe.name), key=lambda item: item[1].max_usd or _ZERO)
            async with asyncio.TaskGroup() as tasks:
                for series, planned in step:
                    tasks.create_task(self._try(series, planned, tick))
        self.report.charged_usd = self._budget.charged
        return self.report

    async def _try(
        self, series: ProbeSeries, planned: PlannedProbe, tick: Callable[[], None]
    ) -> None:
        """Send a probe if it may be sent, once a connection to its provider is free."""
        async with self._slots[series.candidate.target.provider.name]:
            reason = await self._reserve(series, planned)
            if reason:
                self.report.skipped.append(SkippedProbe(series, planned.probe.name, reason))
            else:
                await self._send(series, planned)
        tick()

    async def _reserve(self, series: ProbeSeries, planned: PlannedProbe) -> str:
        """Reserve what a probe may cost; return why it must not be sent, or an empty text."""
        if series.endpoint in self._failed_endpoints:
            return AFTER_FAILURE
        if planned.max_usd is None and not self._sends_unpriced:
            return UNKNOWN_PRICE
        if not await self._budget.reserve(planned.max_usd or _ZERO):
            return OVER_BUDGET
        self.report.unpriced += planned.max_usd is None
        return ""

    async def _send(self, series: ProbeSeries, planned: PlannedProbe) -> None:
        """Send a probe; if the provider asks to wait a little, send it once more after that."""
        outcome = await self._sender.send(series, planned.probe)
        self.report.judged.append(judge(outcome))
        problem = outcome.problem
        if (
            problem is not None
            and problem.kind == "upstream_rate_limited"
            and problem.retry_after is not None
            and problem.retry_after <= _MAX_WAIT_SECONDS
        ):
            await self._sleep(problem.retry_after)
            outcome = await self._sender.send(series, planned.probe)
            self.report.judged.append(judge(outcome))
        if outcome.problem is not None and outcome.problem.kind in _FINAL_KINDS:
            self._failed_endpoints.add(series.endpoint)
        reserved = planned.max_usd or _ZERO
        await self._budget.settle(reserved, self._find_charge(outcome, reserved))

    def _find_charge(self, outcome: ProbeOutcome, reserved: Decimal) -> Decimal:
        """Return what a probe is charged with: its cost, or the most that it may have cost."""
        problem, probe = outcome.problem, outcome.probe
        if problem is not None and problem.spent == "no":
            return _ZERO
        if probe.is_left:
            return self._bound_left(outcome, reserved)
        if probe.name == "cut" and outcome.usage is not None and outcome.usage.prompt:
            self._prompt_tokens[outcome.series.endpoint] = outcome.usage.prompt
        cost = compute_probe_cost(outcome)
        costs = [usd for usd in (cost.computed, cost.billed) if usd is not None]
        if not costs or problem is not None:
            return max([reserved, *costs])
        self.report.known_usd += cost.usd or _ZERO
        return max(costs)

    def _bound_left(self, outcome: ProbeOutcome, reserved: Decimal) -> Decimal:
        """Return the most that a stream may have cost which the gateway has left."""
        price, target = find_price(outcome), outcome.series.candidate.target
        prompt_tokens = self._prompt_tokens.get(outcome.series.endpoint)
        if price is None:
            return reserved
        max_output = target.compute_max_output(outcome.probe.find_max_output(target), 1)
        bound = compute_reservation(price, prompt_tokens, max_output)
        return reserved if bound is None else min(reserved, bound + sum_fees(price))


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
