"""What is decided of calls that name their model, kept for those that differ in nothing it reads.

Such a decision depends on a few plain things, and an application asks for the same ones again and
again. What reads the time, a seat, a rule, a header of the caller's or the content itself is
decided anew each time, and then what serves it is planned once, as it depends on no more. `decide`
stays the only one who decides.
"""

from gateway.core.call import NO_STEER
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext
from gateway.dialects import Dialect
from gateway.routing import model_name as pins
from gateway.routing.features import Features, tokens
from gateway.routing.plan import PlanKey
from gateway.routing.router import Router, decide

_MOST = 512
"""Decisions that are kept; names of members are the clients' own, so that there may be many."""

type _Asked = tuple[object, ...]


class DecisionCache:
    """The decisions of one router."""

    __slots__ = ("_bare", "_made", "_most", "_router")

    def __init__(self, router: Router) -> None:
        self._router = router
        self._most = _least(router)
        self._bare = not router.rules.guards
        self._made: dict[_Asked, PlanKey] = {}

    def decide(
        self, call: Features, dialect: Dialect, evidence: DecisionContext
    ) -> tuple[Decision, Plan]:
        """As `decide` of the room; its trace has the times of the first of its like.

        Raises ProblemError.
        """
        router, prompt, key, most = self._router, call.prompt, call.key, self._most
        if (
            call.steer is not NO_STEER
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
            prompt.continues,
        )  # fmt: skip
        alike = self._made.get(asked)
        if alike is None or alike.key is not key:
            pin = pins.read(call, router.catalogue)
            if len(self._made) >= _MOST:
                self._made.clear()
            alike = self._made[asked] = PlanKey(key, pin)
        if alike.pin.open or not self._bare:
            return decide(router, call, dialect, evidence, alike)
        if evidence.seat is not None or evidence.ceiling is not None:
            return decide(router, call, dialect, evidence, alike)
        if alike.decided is None:
            found = decide(router, call, dialect, evidence, alike)
            if call.doors:  # one was tried in another dialect
                return found
            alike.decided = found
        return alike.decided


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
