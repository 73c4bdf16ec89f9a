"""Ask a model which tier a turn needs, before the gateway decides.

The gateway asks only where the classifier would decide, not where a pin, a rule, a session or an
exemplar does. It asks through itself, as a call of its own with the key and the tags of the
original call. So the same limits, budgets and guards hold, and no lab reads what the original call
may not be sent to. The ledger has a row of it, with the tag `judge` and the original call's id
followed by `.judge`. The call names its model, so no judge's call is ever judged.

The judged text is data, whatever it says. A text that speaks to the judge can at most choose its
own tier, within the bounds of guards and shares. If no verdict comes in time, the classifier
decides, and the trace says so.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec

from gateway.core.call import Call, Key, RequestOptions
from gateway.core.decision import Decision
from gateway.core.decision_context import DecisionContext, Score
from gateway.ledger.redaction import Redactor
from gateway.pipeline.judge.judge_question import JudgeQuestion
from gateway.pipeline.judge.verdict_memory import VerdictMemory, make_verdict_key
from gateway.pipeline.judged_text import prepare_judged_text
from gateway.pipeline.subrequest import SubrequestServer, restrict_key, serve_subrequest
from gateway.routing.classifier_decision import find_classifier_decision, may_reuse_opinion
from gateway.routing.decision_margin import find_margin
from gateway.routing.features import Features
from gateway.routing.judge_calibration import JudgeCalibration
from gateway.routing.router import Router

TAG = "judge"
ID_SUFFIX = ".judge"
"""The suffix that makes the id of a judge's call from that of the original call."""
_NOT_ASKED_REASON = "not asked here: a call would be judged first"


class JudgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When a judge is asked, and what its verdicts mean."""

    timeout: float
    """Seconds to wait for a verdict."""
    unsure_below: float | None = None
    """The margin of the classifier below which it counts as unsure; None asks about every turn."""
    calibration: JudgeCalibration | None = None
    redactors: Sequence[Redactor] = ()
    """Functions that strike out what the operator configures, in the text that the judge sees."""


class Judge:
    """A judge, which asks one model."""

    def __init__(
        self,
        question: JudgeQuestion,
        settings: JudgeSettings,
        memory: VerdictMemory,
        *,
        server: Callable[[], SubrequestServer] | None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`server` is None if the provider of the model is off."""
        self._question = question
        self._settings = settings
        self._memory = memory
        self._server = server
        self._clock = clock
        self._wall = wall

    async def __call__(
        self,
        router: Router,
        call: Call,
        features: Features,
        context: DecisionContext,
        *,
        may_ask: bool = True,
    ) -> DecisionContext:
        """Return the context with a verdict, or with the reason why there is none.

        Set `may_ask` if a model may be asked; otherwise only a remembered verdict counts.
        """
        decision = None
        if not call.id.endswith(ID_SUFFIX):
            decision = find_classifier_decision(router, call, features, context)
        if decision is None or decision.no_judge or self._is_sure(router, decision, context):
            return context
        memory = self._memory
        verdict_key = make_verdict_key(call.key, self._question.identity, features.text)
        may_reuse = may_reuse_opinion(decision, call)
        score = memory.find(verdict_key) if may_reuse else None
        reason: str | None = None
        if score is None and not may_ask:
            reason = _NOT_ASKED_REASON
        elif score is None:
            key = restrict_key(call.key, router, features, context, (*decision.tags, TAG))
            score, reason = await self._ask_score(call, key, features.text)
            if score is not None and may_reuse:
                memory.save(verdict_key, score)
        if may_ask:
            memory.judged_turns += score is not None
            memory.unjudged_turns += score is None
        return self._apply(context, score, reason)

    def _is_sure(self, router: Router, decision: Decision, context: DecisionContext) -> bool:
        """Return True if the classifier is sure enough to decide alone."""
        unsure_below = self._settings.unsure_below
        return (
            unsure_below is not None and find_margin(router, decision, context.at) >= unsure_below
        )

    async def _ask_score(self, call: Call, key: Key, text: str) -> tuple[Score | None, str | None]:
        """Ask for the verdict; return its score, or the reason why there is none."""
        memory, timeout, limit = self._memory, self._settings.timeout, self._question.max_in_flight
        if self._server is None:
            return None, "no provider of the judge is on"
        if memory.is_paused:
            return None, "the gateway pauses the judge after failures"
        if limit is not None and memory.in_flight >= limit:
            return None, f"{limit} questions to the judge are in flight"
        started_at = self._clock()
        memory.start_call()
        try:
            text = await asyncio.to_thread(prepare_judged_text, text, self._settings.redactors)
            reply = await serve_subrequest(
                self._server(), self._make_call(call, key, text), timeout
            )
        finally:
            memory.end_call(self._clock() - started_at)
        if reply is None:
            reason = f"no verdict within {timeout:g} s"
            memory.record_failure(reason)
            return None, reason
        if reply.status != 200:
            reason = f"the judge's call ended with status {reply.status}"
            if reply.status >= 500:
                memory.record_failure(reason)
            return None, reason
        memory.record_success()
        score = self._question.read_score(reply.body)
        return score, None if score is not None else "the answer of the judge is not a verdict"

    def _apply(
        self, context: DecisionContext, score: Score | None, reason: str | None
    ) -> DecisionContext:
        """Return the context with a score, calibrated, or with the reason why there is none."""
        calibration = self._settings.calibration
        if score is None or calibration is None:
            judged, uncalibrated = score, None
        else:
            judged, uncalibrated = calibration.apply(score), score
        return msgspec.structs.replace(
            context,
            judged=judged,
            judge_kind=context.judge_kind if score is None else self._question.kind,
            uncalibrated=uncalibrated,
            unjudged=reason,
        )

    def _make_call(self, call: Call, key: Key, text: str) -> Call:
        return Call(
            id=f"{call.id}{ID_SUFFIX}",
            dialect=self._question.dialect,
            operation=self._question.operation,
            body=self._question.make_body(text),
            trace=call.trace,
            key=key,
            options=RequestOptions(cache="off", on_loss="drop-and-tell", complete="off"),
            client_timeout=self._settings.timeout,
            received_at=self._wall(),
            started_at=self._clock(),
        )
