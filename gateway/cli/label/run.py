"""One run of the command `label`: each drawn prompt is asked on its tiers, and answers compared."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import msgspec

from gateway.cli.label.asking import GivenAnswer, LabelCall, LabelEngine, NotAskedError
from gateway.cli.label.label_file import LabelFile
from gateway.cli.label.stored_prompts import StoredPrompt
from gateway.cli.spending import RunBudget
from gateway.core.jsonio import Json
from gateway.core.target import TIERS, Tier
from gateway.evaluation.labelling.comparison import (
    MAX_ANSWER_CHARS,
    MAX_REQUEST_CHARS,
    PROMPT_VERSION,
    OrderResult,
    build_judge_body,
    parse_preference,
    shorten,
)
from gateway.evaluation.labelling.sampled_label import (
    SOURCE_PREFIX,
    Judgement,
    SampleDraw,
    TierAnswer,
    build_label_row,
)
from gateway.evaluation.labelling.stored_request import describe_request
from gateway.evaluation.labelling.strata import DrawnPrompt
from gateway.ledger.label_pairs import LabelPair, LabelPairs, ShownAnswer

_MAX_FAILURES = 10
"""Prompts in a row without answers after which the run ends: something is wrong for all."""
_ZERO = Decimal(0)


class LabelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run: the tiers that answer, and who compares."""

    tiers: tuple[Tier, ...]
    lab: str | None = None
    judge: str | None = None
    """The model that compares; None leaves it to a person."""
    max_output: int
    """Tokens that an answer may have, with its reasoning."""
    seed: int
    parallel: int

    @property
    def lower_tiers(self) -> tuple[Tier, ...]:
        """The tiers that are compared with the highest one."""
        return self.tiers[:-1]

    @property
    def upper_tier(self) -> Tier:
        """The highest tier."""
        return self.tiers[-1]


class RunSummary(msgspec.Struct):
    """The outcome of a run."""

    labels: int = 0
    """Labels, or prompts whose answers wait for a person."""
    charged_usd: Decimal = _ZERO
    """The known cost of all calls, and the most that others may have cost."""
    not_labelled: Counter[str] = msgspec.field(default_factory=Counter)
    """Drawn prompts without a label, by the reason."""
    ended_by: str = ""
    """Why the run ended before all prompts were labelled; empty if it did not."""
    comparisons: int = 0
    """Pairs of answers that a model compared in both orders."""
    splits: int = 0
    """Comparisons on which it said one tier in one order, and not in the other."""
    judged_itself: set[str] = msgspec.field(default_factory=set)
    """Targets that may both answer and judge."""


class PlannedPrompt(NamedTuple):
    """A drawn prompt with all calls that its label takes."""

    drawn: DrawnPrompt
    prompt: StoredPrompt
    answers: Mapping[Tier, LabelCall]
    max_usd: Decimal
    expected_usd: Decimal


class LabelRun:
    """Labels prompts, some at a time, while the budget of the run has room for a whole prompt."""

    def __init__(
        self,
        engine: LabelEngine,
        budget: RunBudget,
        options: LabelOptions,
        label_file: LabelFile,
        pairs: LabelPairs,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine, self._budget, self._options = engine, budget, options
        self._label_file, self._pairs, self._now = label_file, pairs, now
        self.summary = RunSummary()
        self._failures = 0

    async def run(
        self,
        drawn: Sequence[DrawnPrompt],
        prompts: Mapping[str, StoredPrompt],
        tick: Callable[[], None],
    ) -> RunSummary:
        """Label the drawn prompts in their order; call `tick` after each."""
        waiting = iter(drawn)

        async def work() -> None:
            for item in waiting:
                if self.summary.ended_by:
                    return
                await self._try(item, prompts[item.candidate.call])
                tick()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._options.parallel):
                tasks.create_task(work())
        self.summary.charged_usd = self._budget.charged
        return self.summary

    async def plan(self, drawn: DrawnPrompt, prompt: StoredPrompt) -> PlannedPrompt:
        """Return a prompt with its calls. Raises NotAskedError if one of them may not be sent."""
        options, engine = self._options, self._engine
        answers = {
            tier: await engine.plan_answer(prompt, tier, options.lab, options.max_output)
            for tier in options.tiers
        }
        verdicts: list[LabelCall] = []
        if options.judge is not None:
            # Whether the judge may read the prompt is known before anything is paid.
            longest = "x" * min(MAX_ANSWER_CHARS, 4 * options.max_output)
            body = self._build_judge_body(prompt, longest, longest)
            planned = await engine.plan_verdict(prompt, body, "plan")
            verdicts = [planned] * (2 * len(options.lower_tiers))
            own = {name for answer in answers.values() for name in answer.targets}
            self.summary.judged_itself |= own.intersection(planned.targets)
        calls = [*answers.values(), *verdicts]
        return PlannedPrompt(
            drawn, prompt, answers,
            sum((call.max_usd for call in calls), _ZERO),
            sum((call.expected_usd for call in calls), _ZERO),
        )  # fmt: skip

    async def _try(self, drawn: DrawnPrompt, prompt: StoredPrompt) -> None:
        try:
            planned = await self.plan(drawn, prompt)
            if not await self._budget.reserve(planned.max_usd):
                self.summary.ended_by = "the budget has less left than one more prompt may cost"
                return
            async with self._settling(planned) as charges:
                await self._label(planned, charges)
        except NotAskedError as error:
            self.summary.not_labelled[str(error)] += 1
            self._failures += 1
            if self._failures >= _MAX_FAILURES:
                self.summary.ended_by = f"{_MAX_FAILURES} prompts in a row got no label"
            return
        self._failures = 0
        self.summary.labels += 1

    @asynccontextmanager
    async def _settling(self, planned: PlannedPrompt) -> AsyncIterator["_Charges"]:
        """Replace the reservation of a prompt by what its calls have cost."""
        charges = _Charges()
        try:
            yield charges
        finally:
            await self._budget.settle(planned.max_usd, charges.usd)

    async def _label(self, planned: PlannedPrompt, charges: "_Charges") -> None:
        """Ask all tiers, then write the judge's label, or leave the answers for a person."""
        given = {tier: await self._ask(call, charges) for tier, call in planned.answers.items()}
        answers = {
            tier: TierAnswer(
                call=answer.call, target=answer.target, served=answer.served, cost=answer.cost
            )
            for tier, answer in given.items()
        }
        members = self._describe_prompt(planned)
        if self._options.judge is None:
            self._pairs.add_pairs(self._make_pairs(planned, members, given, answers))
            return
        results, judgement = await self._compare(
            planned.prompt, given, self._options.judge, charges
        )
        at = self._now().isoformat(timespec="seconds")
        self._label_file.append(build_label_row(members, answers, results, judgement, at))

    async def _compare(
        self,
        prompt: StoredPrompt,
        given: Mapping[Tier, GivenAnswer],
        judge: str,
        charges: "_Charges",
    ) -> tuple[dict[Tier, list[OrderResult]], Judgement]:
        """Ask the judge about each lower tier in both orders. Raises NotAskedError."""
        results: dict[Tier, list[OrderResult]] = {}
        verdicts: list[GivenAnswer] = []
        for tier in self._options.lower_tiers:
            results[tier] = []
            for first, second in self._list_orders(tier):
                body = self._build_judge_body(prompt, given[first].text, given[second].text)
                call = await self._engine.plan_verdict(prompt, body, f"{len(verdicts) + 1}")
                verdict = await self._ask(call, charges)
                better = parse_preference(verdict.text)
                if better is None:
                    raise NotAskedError("the judge gave no verdict")
                verdicts.append(verdict)
                results[tier].append(
                    OrderResult(first=first, second=second, better=better, call=verdict.call)
                )
        self.summary.comparisons += len(results)
        self.summary.splits += sum(
            len({result.winner for result in orders}) > 1 for orders in results.values()
        )
        costs = [verdict.cost for verdict in verdicts]
        return results, Judgement(
            by="model",
            who=judge,
            served=verdicts[0].served,
            version=PROMPT_VERSION,
            cost=None if None in costs else sum((cost for cost in costs if cost), _ZERO),
        )

    def _list_orders(self, tier: Tier) -> tuple[tuple[Tier, Tier], tuple[Tier, Tier]]:
        return (tier, self._options.upper_tier), (self._options.upper_tier, tier)

    def _build_judge_body(self, prompt: StoredPrompt, first: str, second: str) -> bytes:
        texts = (describe_request(prompt.dialect, prompt.body), first, second)
        return build_judge_body(self._options.judge or "", *map(self._engine.redact, texts))

    async def _ask(self, planned: LabelCall, charges: "_Charges") -> GivenAnswer:
        """Ask a call, and charge what it costs; the most if nobody knows."""
        charges.usd += planned.max_usd
        answer = await self._engine.ask(planned)
        charges.usd += answer.charged - planned.max_usd
        return answer

    def _describe_prompt(self, planned: PlannedPrompt) -> dict[str, Json]:
        """Return the members of a label's row that say what was asked, and how it was drawn."""
        prompt, drawn = planned.prompt, planned.drawn
        row, said = prompt.row, prompt.record.said
        draw = SampleDraw(
            stratum=drawn.candidate.stratum,
            stratum_prompts=drawn.stratum_prompts,
            calls=drawn.candidate.calls,
            probability=drawn.probability,
            seed=self._options.seed,
        )
        return {
            "prompt": prompt.body.prompt.user,
            "source": f"{SOURCE_PREFIX}{row.tenant}",
            "key": row.key if prompt.key.name == row.key else None,
            "tags": [] if said is None else [*said.tags],
            "model": row.asked or "auto",
            "call": row.id,
            "conversation": row.conversation,
            "digest": drawn.candidate.digest,
            "draw": msgspec.to_builtins(draw),
        }

    def _make_pairs(
        self,
        planned: PlannedPrompt,
        members: Mapping[str, Json],
        given: Mapping[Tier, GivenAnswer],
        answers: Mapping[Tier, TierAnswer],
    ) -> Iterator[LabelPair]:
        """Yield a pair for each lower tier; the order of its answers is random."""
        prompt, upper = planned.prompt, self._options.upper_tier
        request = shorten(describe_request(prompt.dialect, prompt.body), MAX_REQUEST_CHARS)
        label = {"members": members, "answers": msgspec.to_builtins(answers)}
        for tier in self._options.lower_tiers:
            shown = [
                ShownAnswer(tier=name, text=shorten(given[name].text, MAX_ANSWER_CHARS))
                for name in (tier, upper)
            ]
            name = f"{planned.drawn.candidate.digest}-{tier}"
            Random(f"{self._options.seed} {name}").shuffle(shown)  # noqa: S311 - hides a tier
            yield LabelPair(id=name, request=request, first=shown[0], second=shown[1], label=label)


class _Charges(msgspec.Struct):
    """The cost of the calls of a prompt so far, at most."""

    usd: Decimal = _ZERO


def build_person_row(
    pairs: Sequence[LabelPair], verdicts: Mapping[str, Any], at: str
) -> dict[str, Any] | None:
    """Return the label of a prompt by what people said of its pairs; None if one was skipped."""
    chosen = [verdicts[pair.id] for pair in pairs]
    if any(verdict.better == "skip" for verdict in chosen):
        return None
    answers = msgspec.convert(pairs[0].label["answers"], dict[Tier, TierAnswer])
    upper = max(answers, key=TIERS.index)
    results = {
        (pair.second if pair.first.tier == upper else pair.first).tier: [
            OrderResult(first=pair.first.tier, second=pair.second.tier, better=verdict.better)
        ]
        for pair, verdict in zip(pairs, chosen, strict=True)
    }
    judgement = Judgement(by="person", who=chosen[0].who)
    return build_label_row(pairs[0].label["members"], answers, results, judgement, at)
