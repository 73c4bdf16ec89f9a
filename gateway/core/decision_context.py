"""The context of a decision, as plain values that are the same for every interface."""

from typing import Literal

import msgspec

from gateway.core.target import Tier
from gateway.core.turn_evidence import EvidenceRise

type JudgeKind = Literal["chat", "decision"]
"""The kind of a judge: `chat` names a tier, `decision` gives each tier a probability."""


class Score(msgspec.Struct, frozen=True, omit_defaults=True):
    """A classifier's score of one prompt; 0 <= fast <= smart <= 1."""

    fast: float
    """The probability that the fast tier suffices: the smart tier would not do better."""
    smart: float
    """The probability that the smart tier suffices: the reasoning tier would not do better."""
    exemplar: str = ""
    """The name of the exemplar that the prompt is near; empty if it is near none."""
    near: float = 0.0
    """The similarity to the exemplar, 0 to 1."""
    because: tuple[float, ...] = ()
    """Numbers from which the classifier explains the score, in its own order; never text."""


class MeaningMatch(msgspec.Struct, frozen=True, omit_defaults=True):
    """The exemplar or route whose meaning is nearest to a turn's, as an embedder measures it."""

    name: str
    tier: Tier
    near: float
    """The cosine of the two vectors, rounded."""
    least: float
    """The cosine from which on a turn gets the tier, as it was configured then."""
    kind: Literal["exemplar", "route"] = "exemplar"

    @property
    def is_near(self) -> bool:
        """True if the turn gets the tier."""
        return self.near >= self.least


class ShareCut(msgspec.Struct, frozen=True):
    """The points where bounds on shares end a tier, on the axis in `routing/tier_share.py`."""

    reasoning: float
    """The end of the reasoning tier: turns before it may go there; 1 and more cuts nothing."""
    smart: float
    """The end of the smart tier: other turns before it may go there; 2 and more cuts nothing."""


class Thresholds(msgspec.Struct, frozen=True):
    """The limits between the tiers, on a classifier's score."""

    fast: float
    """The lowest `Score.fast` that goes to fast."""
    smart: float
    """The lowest `Score.smart` that goes to smart."""
    id: str
    """The name of this snapshot in ledger rows."""
    cut: ShareCut | None = None
    """The cut that recent traffic makes in the upper tiers; None cuts nothing."""
    bounds: tuple[float, float] | None = None
    """The shares of reasoning and smart that `cut` enforces."""


class DialTerms(msgspec.Struct, frozen=True, omit_defaults=True):
    """The terms of a choice by the quality dial, beside the score and the prices."""

    lab: str
    tokens: tuple[int, ...]
    """The expected tokens of an answer of the lab, by tier."""
    price: float | None
    """The price of quality; None takes it from the reference set."""
    has_own_reference: bool = False
    """True if the price comes from a reference set of own calls."""


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The target, account and tier that serve a conversation, and its history so far."""

    lab: str
    tier: Tier
    target: str
    """The name of the target that last served the conversation."""
    account: str | None = None
    model: str | None = None
    """The model that the client named, so the tier adds nothing; None leaves it to the tier."""
    tokens: int = 0
    """Tokens of the prompt that the provider may have in its prompt cache."""
    turns: int = 0
    """The number of user turns at its last call."""
    first: str = ""
    """A short hash of the first user message; empty if unknown."""
    calls: int = 0
    """The number of answers that the conversation has had."""
    output: int = 0
    """The output tokens of all these answers."""
    turns_below: int = 0
    """The user turns in a row that alone needed less than the tier."""
    rise: EvidenceRise | None = None
    """The rise by the last evidence against its answers; None if none keeps the tier."""
    arm: str | None = None
    """The arm of the last decision by rules."""
    keeps: float = 300.0
    """Seconds for which the provider's prompt cache keeps an unused prompt."""
    at: float = 0.0
    """The time when the provider last read the conversation, in seconds since the epoch."""

    @property
    def location(self) -> tuple[str, str, str, str | None]:
        """The lab, tier, target and account that have the conversation."""
        return self.lab, self.tier, self.target, self.account


class DecisionContext(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a decision reads beside the call and the configuration."""

    at: float = 0.0
    """The time when the gateway received the call, in seconds since the epoch.

    Rules, prices and sessions depend on it.
    """
    seat: Session | None = None
    """The session of the conversation; None if it has none."""
    unseated: str = ""
    """The reason why the session's target is unavailable now; empty if it is available."""
    ceiling: Tier | None = None
    """The most expensive tier that a budget allows, whatever else would be decided."""
    thresholds: Thresholds | None = None
    """Thresholds from the key's own traffic, which never raise a tier; None uses the
    classifier's own."""
    nearest: MeaningMatch | None = None
    """The exemplar or route whose meaning is nearest; None if nothing compared meanings."""
    uncompared: str | None = None
    """The reason why meanings that should have been compared were not; None otherwise."""
    judged: Score | None = None
    """The score by a model that judged the prompt; None if none did."""
    judge_kind: JudgeKind = "chat"
    """The kind of the model that gave `judged`."""
    uncalibrated: Score | None = None
    """The score as the judge gave it; None if no calibration changed it."""
    dial: DialTerms | None = None
    """The terms of a recorded decision; None uses the current ones, from own traffic."""
    unjudged: str | None = None
    """The reason why a judge that was due gave no score; None if it did or none was due."""


EMPTY_CONTEXT = DecisionContext()
"""The context of a call that the gateway decides apart from all others."""
