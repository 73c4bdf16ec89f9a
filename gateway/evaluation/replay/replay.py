"""Goes through a log in order of time and decides each call again, conversation by conversation."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import NOTHING
from gateway.core.decision_record import DecisionRecord
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import ReplayRow
from gateway.core.target import Target
from gateway.evaluation.replay import cost
from gateway.evaluation.replay.conversations import (
    ANSWERED,
    ReplayedConversation,
    ReplayedConversations,
)
from gateway.evaluation.replay.cost import ReplayedCost
from gateway.evaluation.replay.tier_share import ReplayedShares
from gateway.evaluation.replay.totals import ReplayedOutcome, ReplayTotals
from gateway.routing.errors import MissingFeatureError
from gateway.routing.features import Features
from gateway.routing.replay_decision import RecordedFeatures, evidence
from gateway.routing.router import Router, decide
from gateway.routing.tier_share import ShareBounds
from gateway.settings.schema.root import Config

type Text = Callable[[ReplayRow, RecordedFeatures], Features | None]
"""The features of a call whose text is kept; None where it is not."""

_ALONE = ConversationTurn()
_GENERATE = "generate"
_UNTOLD = "what it was decided on"


class _Decided(NamedTuple):
    outcome: ReplayedOutcome
    decision: Decision | None
    plan: Plan | None


class LedgerReplay:
    """Takes rows in order of time; `sums` is what they come to."""

    def __init__(
        self,
        router: Router,
        *,
        text: Text | None = None,
        lacks: Iterable[str] = (),
        bounds: ShareBounds | None = None,
        most: int = 20,
    ) -> None:
        """`most` changed calls are kept: those that change most money first.

        `bounds` are those on the shares of tiers. Where a call was held against thresholds that
        were made for others, or for none, they are made anew of the turns that are replayed.

        `lacks` are fields of evidence that nothing of this configuration gives: of calls that
        another one has decided they are left out.
        """
        self._router = msgspec.structs.replace(router, clock=float)
        self._guards = frozenset(one.part.name for one in router.rules.guards)
        self._text = text
        own = None if router.classifier is None else router.classifier.thresholds
        self._shares = None if bounds is None or own is None else ReplayedShares(bounds, own)
        self._lacks = {name: getattr(NOTHING, name) for name in lacks}
        self._talks = ReplayedConversations(router.catalogue)
        self.sums = ReplayTotals(most)

    def take(self, row: ReplayRow) -> None:
        """Decide one call again."""
        basis = row.basis
        if basis is None:
            if row.lab is None and row.state == "refused":
                self.sums.apart += 1  # before anything was decided
            else:
                self.sums.undecided(row, _UNTOLD)
            return
        talk = self._talks.of(row, basis)
        turn = basis.turn or _ALONE
        try:
            after = self._again(row, basis, talk, turn)
        except MissingFeatureError as error:
            self._talks.log(talk, row)
            self.sums.undecided(row, str(error))
            return
        before = was(row)
        same = before.place == after.outcome.place
        bill = None
        if same and not talk.strayed:
            self._talks.log(talk, row)
        else:
            bill = self._moved(row, talk, turn, after, same=same)
        self.sums.take(row, before, after.outcome, bill)

    def _again(
        self,
        row: ReplayRow,
        basis: DecisionRecord,
        talk: ReplayedConversation,
        turn: ConversationTurn,
    ) -> _Decided:
        """Raises MissingFeatureError."""
        seen = RecordedFeatures(row, basis)
        known = talk.evidence(evidence(row, basis), turn)
        if row.config != self._router.catalogue.version:
            if self._lacks:
                known = msgspec.structs.replace(known, **self._lacks)
            if self._shares is not None:
                known = self._shares.evidence(row, known)
        call: Features = seen
        while True:
            try:
                decision, plan = decide(self._router, call, seen.client, known)
            except ProblemError as error:
                return _Decided(ReplayedOutcome(by=error.problem.kind), None, None)
            except MissingFeatureError:
                kept = None if self._text is None or call is not seen else self._text(row, seen)
                if kept is None:
                    raise
                call = kept
                continue
            self.sums.assumed += seen.assumed
            if self._shares is not None and basis.operation == _GENERATE:
                self._shares.note(row, decision)
            self.sums.guards.update(
                one.why for one in decision.trace if one.step == "guard" and one.why in self._guards
            )
            by = decision.rule or decision.source
            outcome = ReplayedOutcome(decision.lab, decision.tier, plan.targets[0].name, by)
            return _Decided(outcome, decision, plan)

    def _moved(
        self,
        row: ReplayRow,
        talk: ReplayedConversation,
        turn: ConversationTurn,
        after: _Decided,
        *,
        same: bool,
    ) -> ReplayedCost | None:
        """A call that is elsewhere, or whose conversation was; None where nothing is to be paid."""
        talk.strayed = True
        decision, plan = after.decision, after.plan
        if decision is None or plan is None or not answered(row):
            return None
        target: Target = plan.targets[0]
        effort = target.effort if row.basis is None else row.basis.effort or target.effort
        bill = cost.bill(row, target, talk.cached(target, effort, row.at))
        talk.served(target, effort, bill.kept, row.at)
        talk.sits(row, turn, decision, plan, bill.kept)
        if same and target.name != f"{row.provider}/{row.model}":
            return None  # another target has taken over, and would again
        return bill


def walker(
    router: Router, config: Config, text: Text | None = None, most: int = 20
) -> LedgerReplay:
    """Return what decides again as a configuration does; `router` is its own."""
    share = config.routing.max_share
    bounds = ShareBounds(reasoning=share.reasoning, smart=share.smart)
    lacks = [] if (bounded := bounds != ShareBounds(reasoning=1, smart=1)) else ["thresholds"]
    if not any(budget.then for budget in config.budgets):
        lacks.append("ceiling")
    if config.routing.judge is None:
        lacks += ["judged", "unjudged"]
    return LedgerReplay(
        router, text=text, lacks=lacks, bounds=bounds if bounded else None, most=most
    )


def answered(row: ReplayRow) -> bool:
    """Whether a provider was paid for an answer."""
    return row.state in ANSWERED and row.cache != "hit"


def was(row: ReplayRow) -> ReplayedOutcome:
    """What was decided for a row."""
    target = None if row.basis is None else row.basis.target
    if target is None:
        return ReplayedOutcome(by=row.problem or "refused")
    return ReplayedOutcome(row.lab, row.tier, target, row.rule or row.source or "")
