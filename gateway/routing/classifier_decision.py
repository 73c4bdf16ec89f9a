"""Recognise a user's turn whose tier only the classifier decides."""

from gateway.core.call import Call
from gateway.core.decision import Decision
from gateway.core.decision_context import DecisionContext
from gateway.core.errors import ProblemError
from gateway.dialects import OPERATIONS
from gateway.routing.features import Features
from gateway.routing.router import Router, decide


def find_classifier_decision(
    router: Router, call: Call, features: Features, context: DecisionContext
) -> Decision | None:
    """Return the decision on a user's turn if the classifier makes it, without an exemplar.

    If a score was used to keep a conversation at its target, the classifier made that decision
    too. Otherwise return None.
    """
    if call.operation != "generate" or not features.has_text or features.turn.kind == "side":
        return None
    try:
        decision, _ = decide(router, features, OPERATIONS[call.dialect, call.operation], context)
    except ProblemError:
        return None
    score = decision.score
    return None if score is None or score.exemplar else decision


def may_reuse_opinion(decision: Decision, call: Call) -> bool:
    """Return True if what a model said of an earlier turn with this text may count for a call.

    Such opinions are verdicts of judges and comparisons of meanings.
    """
    options = call.options
    return not decision.no_cache and options.cache != "off" and not options.wants_new_answer
