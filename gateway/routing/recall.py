"""What was decided for a call of the ledger, and why: decided again, or what its row keeps."""

from gateway.core.decision import Decision, Plan
from gateway.core.errors import ProblemError
from gateway.core.jsonio import Json
from gateway.core.ledger_rows import FinalRow
from gateway.routing import explain
from gateway.routing.features import MissingFeatureError
from gateway.routing.replay_decision import again
from gateway.routing.router import Router

_KEPT = ("id", "config", "lab", "tier", "source", "rule", "confidence", "tags")


def recall(router: Router, row: FinalRow) -> tuple[Decision, Plan] | str:
    """The decision where this configuration made it, else why its steps are not known.

    Raises ProblemError where the call was refused.
    """
    if row.config != router.catalogue.version:
        return f"Another configuration decided it, {row.config}: its steps are not known any more."
    try:
        return again(router, row)
    except MissingFeatureError as error:
        return f"Its steps are not known: the ledger does not have {error}."


def kept(row: FinalRow, why: str) -> dict[str, Json]:
    """What a row says of its decision, where its steps are not known; `why` they are not."""
    told = {name: getattr(row, name) for name in _KEPT}
    return {**told, "why": why, "trace": None, "basis": row.basis}


def view(router: Router, row: FinalRow) -> dict[str, Json]:
    """The decision of a row as `explain` has it, or what is kept of it."""
    try:
        found = recall(router, row)
    except ProblemError as error:
        return kept(row, f"It was refused: {error.problem.message}")
    if isinstance(found, str):
        return kept(row, found)
    decision, plan = found
    return explain.view(decision, plan, [None] * len(plan.targets), row.at)
