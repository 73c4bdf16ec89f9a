"""Replay of a log: each call is decided again in order of time, with its conversation."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import EMPTY_CONTEXT, DecisionContext
from gateway.core.decision_record import DecisionRecord
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import ReplayRow
from gateway.core.target import Target
from gateway.dialects import OPERATIONS
from gateway.evaluation.replay import cost
from gateway.evaluation.replay.conversations import (
    ANSWERED_STATES,
    ReplayedConversation,
    ReplayedConversations,
)
from gateway.evaluation.replay.cost import ReplayedCost
from gateway.evaluation.replay.escalations import ReplayedEscalations
from gateway.evaluation.replay.output_tokens import TierOutputTokens
from gateway.evaluation.replay.tier_share import ReplayedShares
from gateway.evaluation.replay.totals import ReplayedOutcome, ReplayTotals
from gateway.routing.errors import MissingFeatureError
from gateway.routing.features import Features
from gateway.routing.replay_decision import RecordedFeatures, read_context
from gateway.routing.router import Router, decide
from gateway.routing.tier_share import ShareBounds
from gateway.settings.schema.root import Config

type TextReader = Callable[[ReplayRow, RecordedFeatures], Features | None]
"""A function that returns the features of a call with its text; None if the text is not kept."""

_EMPTY_TURN = ConversationTurn()
_GENERATE_OPERATION = "generate"
_MISSING_RECORD = "the inputs of the decision"


class _ReplayedDecision(NamedTuple):
    outcome: ReplayedOutcome
    decision: Decision | None
    plan: Plan | None
    call: Features
    context: DecisionContext


class LedgerReplay:
    """A replay of rows, which must come in order of time. `totals` adds up the results."""

    def __init__(
        self,
        router: Router,
        *,
        read_text: TextReader | None = None,
        missing_fields: Iterable[str] = (),
        share_bounds: ShareBounds | None = None,
        max_changed: int = 20,
    ) -> None:
        """Begin a replay without rows.

        `read_text` gives the features of calls whose text is kept.

        `max_changed` is the number of changed calls to keep. Calls that change most money come
        first.

        `share_bounds` are the bounds on the shares of tiers. If a call was decided under other
        bounds, or none, the replay computes the thresholds from the turns that it replays.

        `missing_fields` are fields of the decision context that this configuration never fills.
        The replay drops them from calls that another configuration decided.
        """
        self._router = msgspec.structs.replace(router, clock=float)
        self._guard_names = frozenset(guard.definition.name for guard in router.rules.guards)
        self._read_text = read_text
        own_thresholds = None if router.classifier is None else router.classifier.thresholds
        self._shares = (
            None
            if share_bounds is None or own_thresholds is None
            else ReplayedShares(share_bounds, own_thresholds)
        )
        self._missing_values = {name: getattr(EMPTY_CONTEXT, name) for name in missing_fields}
        self._conversations = ReplayedConversations(router.catalogue)
        self._output_tokens = TierOutputTokens(router.own_traffic)
        self.totals = ReplayTotals(max_changed)
        self._escalations = ReplayedEscalations(
            self._router, self._output_tokens, self.totals.escalations
        )

    def replay_row(self, row: ReplayRow) -> None:
        """Decide one call again."""
        record = row.basis
        if record is None:
            if row.lab is None and row.state == "refused":
                self.totals.refused_early += 1  # the gateway refused it before any decision
            else:
                self.totals.add_undecided(row, _MISSING_RECORD)
            return
        conversation = self._conversations.find(row, record)
        turn = record.turn or _EMPTY_TURN
        try:
            replayed = self._decide_again(row, record, conversation, turn)
        except MissingFeatureError as error:
            self._conversations.record_logged(conversation, row)
            self.totals.add_undecided(row, str(error))
            return
        if was_answered(row):
            self._output_tokens.add(row)
            self.totals.sample.add_answer(row)
        recorded_outcome = read_outcome(row)
        is_same = recorded_outcome.destination == replayed.outcome.destination
        if replayed.decision is not None and was_answered(row):
            self._escalations.add_answer(
                row,
                replayed.call,
                OPERATIONS[row.dialect, record.operation],
                replayed.context,
                replayed.decision,
                is_same=is_same,
            )
        replayed_cost = None
        if is_same and not conversation.has_diverged:
            self._conversations.record_logged(conversation, row)
        else:
            replayed_cost = self._price_moved_call(
                row, conversation, turn, replayed, is_same=is_same
            )
        self.totals.add(row, recorded_outcome, replayed.outcome, replayed_cost)

    def _decide_again(
        self,
        row: ReplayRow,
        record: DecisionRecord,
        conversation: ReplayedConversation,
        turn: ConversationTurn,
    ) -> _ReplayedDecision:
        """Decide the call of a row by this configuration; a refusal is an outcome too.

        Raises MissingFeatureError if the decision needs data that the row does not keep.
        """
        recorded_features = RecordedFeatures(row, record)
        context = conversation.build_context(read_context(row, record), turn)
        if row.config != self._router.catalogue.version:
            if context.dial is not None:  # answers keep their lengths, but costs may differ
                dial_terms = msgspec.structs.replace(context.dial, price=None)
                context = msgspec.structs.replace(context, dial=dial_terms)
            if self._missing_values:
                context = msgspec.structs.replace(context, **self._missing_values)
            if self._shares is not None:
                context = self._shares.adjust_context(row, context)
        call: Features = recorded_features
        while True:
            try:
                decision, plan = decide(
                    self._router, call, recorded_features.client_dialect, context
                )
            except ProblemError as error:
                outcome = ReplayedOutcome(decider=error.problem.kind)
                return _ReplayedDecision(outcome, None, None, call, context)
            except MissingFeatureError:
                text_features = (
                    None
                    if self._read_text is None or call is not recorded_features
                    else self._read_text(row, recorded_features)
                )
                if text_features is None:
                    raise
                call = text_features
                continue
            self.totals.assumed_translations += recorded_features.assumes_translation
            if self._shares is not None and record.operation == _GENERATE_OPERATION:
                self._shares.add_turn(row, decision)
            self.totals.guards.update(
                step.reason
                for step in decision.trace
                if step.step == "guard" and step.reason in self._guard_names
            )
            decider = decision.rule or decision.source
            outcome = ReplayedOutcome(decision.lab, decision.tier, plan.targets[0].name, decider)
            return _ReplayedDecision(outcome, decision, plan, call, context)

    def _price_moved_call(
        self,
        row: ReplayRow,
        conversation: ReplayedConversation,
        turn: ConversationTurn,
        replayed: _ReplayedDecision,
        *,
        is_same: bool,
    ) -> ReplayedCost | None:
        """Return the cost of a call that moves, or whose conversation moved before it.

        None if no provider is paid. None too if another target took over, and would again.
        """
        conversation.has_diverged = True
        decision, plan = replayed.decision, replayed.plan
        if decision is None or plan is None or not was_answered(row):
            return None
        target: Target = plan.targets[0]
        effort = target.effort if row.basis is None else row.basis.effort or target.effort
        replayed_cost = cost.compute_replayed_cost(
            row,
            target,
            conversation.count_cached_tokens(target, effort, row.at),
            self._output_tokens.compute_ratio(row.lab, row.tier, decision.tier),
        )
        conversation.record_served(target, effort, replayed_cost.kept_tokens, row.at)
        conversation.record_session(row, turn, decision, plan, replayed_cost.kept_tokens)
        if is_same and target.name != f"{row.provider}/{row.model}":
            return None  # another target took over, and would do so again
        return replayed_cost


def build_replay(
    router: Router, config: Config, read_text: TextReader | None = None, max_changed: int = 20
) -> LedgerReplay:
    """Return a replay that decides as a configuration does; `router` is built from `config`."""
    max_share = config.routing.max_share
    share_bounds = ShareBounds(reasoning=max_share.reasoning, smart=max_share.smart)
    missing_fields = (
        [] if (is_bounded := share_bounds != ShareBounds(reasoning=1, smart=1)) else ["thresholds"]
    )
    if not any(budget.then for budget in config.budgets):
        missing_fields.append("ceiling")
    if config.routing.meaning is None:
        missing_fields += ["nearest", "uncompared"]
    if config.routing.judge is None:
        missing_fields += ["judged", "unjudged"]
    return LedgerReplay(
        router,
        read_text=read_text,
        missing_fields=missing_fields,
        share_bounds=share_bounds if is_bounded else None,
        max_changed=max_changed,
    )


def was_answered(row: ReplayRow) -> bool:
    """Return True if a provider was paid for an answer."""
    return row.state in ANSWERED_STATES and row.cache != "hit"


def read_outcome(row: ReplayRow) -> ReplayedOutcome:
    """Return the outcome that the log has for a row."""
    target = None if row.basis is None else row.basis.target
    if target is None:
        return ReplayedOutcome(decider=row.problem or "refused")
    tier = row.tier if row.escalated is None else row.escalated
    return ReplayedOutcome(row.lab, tier, target, row.rule or row.source or "")
