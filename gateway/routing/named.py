"""What is decided of calls that name their model, kept for those that differ in nothing it reads.

Such a decision depends on a few plain things, and an application asks for the same ones again and
again. What reads the time, a seat, a rule, a header of the caller's or the content itself is
decided anew each time. `decide` stays the only one who decides.
"""

from gateway.core.call import NO_STEER, Key
from gateway.core.decision import Decision, Plan
from gateway.core.evidence import Evidence
from gateway.dialects import Dialect
from gateway.routing.decide import Router, decide
from gateway.routing.features import Features, tokens

_MOST = 512
"""Decisions that are kept; names of members are the clients' own, so that there may be many."""

type _Asked = tuple[object, ...]


class Named:
    """The decisions of one router."""

    __slots__ = ("_made", "_most", "_router")

    def __init__(self, router: Router) -> None:
        self._router = router
        self._most = _least(router)
        self._made: dict[_Asked, tuple[Key, Decision, Plan]] = {}

    def decide(self, call: Features, dialect: Dialect, evidence: Evidence) -> tuple[Decision, Plan]:
        """As `decide` of the room; its trace has the times of the first of its like.

        Raises ProblemError.
        """
        router, prompt, key, most = self._router, call.prompt, call.key, self._most
        if (
            evidence.seat is not None
            or evidence.ceiling is not None
            or router.rules.guards
            or call.steer is not NO_STEER
            or dialect.operation != "generate"
            or prompt.images
            or prompt.files
            or prompt.audio
            or (most is not None and tokens(prompt) > most)
        ):
            return decide(router, call, dialect, evidence)
        asked = (
            prompt.model, dialect.name, key.tenant, key.name, prompt.members, not prompt.tools,
            prompt.forced_tool, prompt.json_schema, prompt.effort, prompt.logprobs,
        )  # fmt: skip
        known = self._made.get(asked)
        if known is not None and known[0] is key:
            return known[1], known[2]
        decision, plan = decide(router, call, dialect, evidence)
        if decision.source == "pin" and not call.doors:  # none was tried in another dialect
            if len(self._made) >= _MOST:
                self._made.clear()
            self._made[asked] = key, decision, plan
        return decision, plan


def _least(router: Router) -> int | None:
    """The tokens up to which a prompt fits whatever may be weighed; None: nothing has a bound."""
    windows = [
        target.facts.window
        for lab in router.catalogue.labs.values()
        for targets in lab.tiers.values()
        for target in targets
        if target.provider.on and target.facts.window is not None
    ]
    return min(windows, default=None)
