"""Caches decisions for calls that name their model and differ only in what no decision reads.

Such a decision depends on few plain things, and an application sends the same ones again and again.
A decision that reads a client's header or the content is made anew each time. So is one that reads
the time, a session or a rule. Its plan still comes from the cache if no guard or budget bounds it.
`decide` remains the only function that decides.
"""

from gateway.core.call import NO_OPTIONS
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext
from gateway.dialects import Dialect
from gateway.routing import model_name as model_names
from gateway.routing.features import Features
from gateway.routing.plan import PlanKey
from gateway.routing.router import Router, decide

_MAX_ENTRIES = 512
"""The maximum number of cached decisions. Clients choose the names of members, so there may be
many."""

type _CacheKey = tuple[object, ...]


class DecisionCache:
    """The cached decisions of one router."""

    __slots__ = ("_has_guards", "_max_safe_tokens", "_plan_keys", "_router")

    def __init__(self, router: Router) -> None:
        self._router = router
        self._max_safe_tokens = _find_smallest_window(router)
        self._has_guards = bool(router.rules.guards)
        self._plan_keys: dict[_CacheKey, PlanKey] = {}

    def decide(
        self, call: Features, dialect: Dialect, context: DecisionContext
    ) -> tuple[Decision, Plan]:
        """Decide a call as `router.decide` does. Raises ProblemError.

        The trace of a cached decision has the times of the first such call.
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
            or call.object_place is not None
            or (max_safe_tokens is not None and call.prompt_tokens > max_safe_tokens)
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
        is_unbound = context.seat is None and context.ceiling is None
        if is_unbound and plan_key.decision_and_plan is not None:
            return plan_key.decision_and_plan
        decision_and_plan = decide(router, call, dialect, context, plan_key)
        if (
            is_unbound
            and not self._has_guards
            and not plan_key.requested_model.is_tier_open
            and not call.translation_checks  # if one was tried: it depends on the content
        ):
            plan_key.decision_and_plan = decision_and_plan
        return decision_and_plan


def _find_smallest_window(router: Router) -> int | None:
    """Return the tokens of a prompt that fits every target; None if no target has a limit."""
    windows = [
        target.facts.prompt_window
        for lab in router.catalogue.labs.values()
        for targets in lab.tiers.values()
        for target in targets
        if target.provider.enabled and target.facts.prompt_window is not None
    ]
    return min(windows, default=None)
