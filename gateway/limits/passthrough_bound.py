"""The most that a pass-through call may cost."""

from collections.abc import Sequence

from gateway.core.passthrough import Billing
from gateway.core.target import Target
from gateway.limits.cost_bounds import BoundGap, UsageBound


class PassThroughBound(UsageBound, frozen=True, kw_only=True):
    """The facts about a pass-through call that limits need.

    What is free costs nothing. What nothing bounds has no greatest cost, so a hard budget refuses
    it.
    """

    billing: Billing
    job_micro_usd: int | None = None
    """The micro-USD that the job costs at most which the call begins; None if unknown."""

    def compute_max_cost(self, targets: Sequence[Target]) -> int | None:
        """Return the micro-USD that the call costs at most; None if nothing bounds them."""
        if self.billing == "free":
            return 0
        if self.billing == "job":
            return self.job_micro_usd
        return None if self.billing == "unknown" else super().compute_max_cost(targets)

    def find_gap(self, targets: Sequence[Target]) -> BoundGap:
        """Find out what would bound the cost; see UsageBound."""
        return "operation" if self.billing in ("job", "unknown") else super().find_gap(targets)

    def compute_expected_cost(
        self,
        targets: Sequence[Target],
        expected_output: int,  # noqa: ARG002 - such a call has no usual length
    ) -> int | None:
        """Return the micro-USD that the call costs at most: nothing is known of its usual cost."""
        return self.compute_max_cost(targets)
