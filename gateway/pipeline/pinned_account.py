"""Find the account that has what a call continues, and that is therefore asked first or alone."""

from collections.abc import Mapping

from gateway.cache.response_store import ResponseChain
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import Session
from gateway.dialects.tool_reasoning import ReasoningNote
from gateway.routing.features import Features
from gateway.upstream.retry import PinnedAccount


def find_pinned_account(
    features: Features,
    chain: ResponseChain,
    notes: Mapping[str, ReasoningNote] | None,
    session: Session | None,
    decision: Decision,
    plan: Plan,
) -> PinnedAccount | None:
    """Return the account that has what a call continues; None if no account has anything."""
    if features.object_place is not None:  # the objects that the call names
        return PinnedAccount(*features.object_place, is_only=True)
    if notes:  # the reasoning of the answer that was noted last
        last_note = list(notes.values())[-1]
        return PinnedAccount(last_note.provider, last_note.account, last_note.model)
    if chain.provider is not None and chain.account is not None:  # the earlier answer
        return PinnedAccount(chain.provider, chain.account)
    if decision.account is not None:  # the prompt in its cache; its target comes first
        target = plan.targets[0]
        return PinnedAccount(target.provider.name, decision.account, target.model, is_session=True)
    if session is not None and session.account is not None:  # the same, for a pinned call
        return _find_session_account(session, session.account, plan)
    return None


def _find_session_account(session: Session, account: str, plan: Plan) -> PinnedAccount | None:
    """Return the account of a pinned call's session.

    Return None unless its target comes first, or is equal to the first.
    """
    first_target = plan.targets[0]
    for target in plan.targets:
        if target.name == session.target and (
            target is first_target or target.shares_group(first_target)
        ):
            return PinnedAccount(target.provider.name, account, target.model, is_session=True)
    return None
