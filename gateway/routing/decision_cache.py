"""What is decided of calls that name their model, kept for those that differ in nothing it reads.

Such a decision depends on a few plain things, and an application asks for the same ones again and
again. What reads the time, a seat, a rule, a header of the caller's or the content itself is
decided anew each time, and then what serves it is planned once, as it depends on no more. `decide`
stays the only one who decides.
"""

from gateway.core.call import NO_OPTIONS
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext
from gateway.dialects import Dialect
from gateway.routing import model_name as model_names
from gateway.routing.features import Features, estimate_tokens
from gateway.routing.plan import PlanKey
from gateway.routing.router import Router, decide

_MAX_ENTRIES = 512
"""Decisions that are kept; names of members are the clients' own, so that there may be many."""

type _CacheKey = tuple[object, ...]


class DecisionCache:
    """The decisions of one router."""

    __slots__ = ("_has_no_guards", "_max_safe_tokens", "_plan_keys", "_router")

    def __init__(self, router: Router) -> None:
        self._router = router
        self._max_safe_tokens = _find_smallest_window(router)
        self._has_no_guards = not router.rules.guards
        self._plan_keys: dict[_CacheKey, PlanKey] = {}

    def decide(
        self, call: Features, dialect: Dialect, context: DecisionContext
    ) -> tuple[Decision, Plan]:
        """As `decide` of the room; its trace has the times of the first of its like.

        Raises ProblemError.
        """
        router = self._router
        prompt = call.prompt
        key = call.key
        max_safe_tokens = self._max_safe_tokens
        if (
            call.options is not NO_OPTIONS
            or dialect.operation != "generate"
            or prompt.images
            or prompt.files
            or prompt.audio
            or (max_safe_tokens is not None and estimate_tokens(prompt) > max_safe_tokens)
        ):
            return decide(router, call, dialect, context)
        cache_key = (
            prompt.model, dialect.name, key.tenant, key.name, prompt.members, not prompt.tools,
            prompt.forced_tool, prompt.json_schema, prompt.effort, prompt.logprobs,
            prompt.continuation_member,
        )  # fmt: skip
        plan_key = self._plan_keys.get(cache_key)
        if plan_key is None or plan_key.key is not key:
            requested_model = model_names.read(call, router.catalogue)
            if len(self._plan_keys) >= _MAX_ENTRIES:
                self._plan_keys.clear()
            plan_key = self._plan_keys[cache_key] = PlanKey(key, requested_model)
        if plan_key.requested_model.is_tier_open or not self._has_no_guards:
            return decide(router, call, dialect, context, plan_key)
        if context.seat is not None or context.ceiling is not None:
            return decide(router, call, dialect, context, plan_key)
        if plan_key.decision_and_plan is None:
            decision_and_plan = decide(router, call, dialect, context, plan_key)
            if call.translation_checks:  # one was tried in another dialect
                return decision_and_plan
            plan_key.decision_and_plan = decision_and_plan
        return plan_key.decision_and_plan


def _find_smallest_window(router: Router) -> int | None:
    """The tokens up to which a prompt fits whatever may be weighed; None: nothing has a bound."""
    windows = [
        target.facts.prompt_window
        for lab in router.catalogue.labs.values()
        for targets in lab.tiers.values()
        for target in targets
        if target.provider.enabled and target.facts.prompt_window is not None
    ]
    return min(windows, default=None)
