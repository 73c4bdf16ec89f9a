"""What the world says of a call before it is decided: plain values, the same for every door."""

import msgspec

from gateway.core.target import Tier
from gateway.core.turn_evidence import EvidenceRise


class Score(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a classifier says of one prompt; 0 <= fast <= smart <= 1."""

    fast: float
    """Probability that the fast tier suffices: that the smart one would not do better."""
    smart: float
    """Probability that the smart tier suffices: that the reasoning one would not do better."""
    exemplar: str = ""
    """The name of the exemplar that it is near; empty where it is near none."""
    near: float = 0.0
    """How near, 0 to 1."""
    because: tuple[float, ...] = ()
    """What the classifier's `why` tells of it, in its own order; nothing of the text."""


class ShareCut(msgspec.Struct, frozen=True):
    """Where bounds on shares end a tier, on the axis of need of `routing/share.py`."""

    reasoning: float
    """What stands before it may be reasoned; 1 and more cuts nothing."""
    smart: float
    """What stands before it, and is not reasoned, may go to smart; 2 and more cuts nothing."""


class Thresholds(msgspec.Struct, frozen=True):
    """Where the tiers part."""

    fast: float
    """The least `Score.fast` that goes to fast."""
    smart: float
    """The least `Score.smart` that goes to smart."""
    id: str
    """The name under which this snapshot stands on an entry."""
    cut: ShareCut | None = None
    """What recent traffic takes away from the tiers above; None takes nothing."""
    bounds: tuple[float, float] | None = None
    """The shares of reasoning and smart that `cut` is made for."""


class DialTerms(msgspec.Struct, frozen=True, omit_defaults=True):
    """The terms of a choice of the quality dial, beside the score and the prices."""

    lab: str
    tokens: tuple[int, ...]
    """Expected tokens of an answer of the lab, by tier."""
    price: float | None
    """The price of quality; None leaves it to the reference set."""
    has_own_reference: bool = False
    """True if the price is by a reference set of own calls."""


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a conversation is sitting on."""

    lab: str
    tier: Tier
    target: str
    """The name of the target that served it last."""
    account: str | None = None
    model: str | None = None
    """A model that was named, so that nothing of the tier is added; None leaves it to the tier."""
    tokens: int = 0
    """Tokens of its prompt that the provider may have in its prompt cache."""
    turns: int = 0
    """User turns that had been seen."""
    first: str = ""
    """A short hash of its first user message; empty where that is not known."""
    calls: int = 0
    """Answers that it has had."""
    output: int = 0
    """Tokens of them all."""
    turns_below: int = 0
    """User turns in a row that by themselves needed less than its tier."""
    rise: EvidenceRise | None = None
    """The last evidence that its answers were no good; None where it keeps no tier any more."""
    arm: str | None = None
    """The arm of its last decision by rules."""
    keeps: float = 300.0
    """Seconds for which the provider's prompt cache keeps what is not used."""
    at: float = 0.0
    """When it was last served, seconds since the epoch."""


class DecisionContext(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a decision reads beside the call and the configuration."""

    at: float = 0.0
    """When the call was received, seconds since the epoch: rules, prices and seats know time."""
    seat: Session | None = None
    unseated: str = ""
    """Why the target of the seat is not asked in its turn; empty where it is."""
    ceiling: Tier | None = None
    """The dearest tier that a budget leaves, whatever else would be decided."""
    thresholds: Thresholds | None = None
    """Of the key's own traffic; None leaves the classifier its own. They never send more up."""
    judged: Score | None = None
    """What a model said that was asked to judge the prompt."""
    dial: DialTerms | None = None
    """Of a recorded decision; None leaves it to what own calls tell now."""
    unjudged: str | None = None
    """Why a model that should have judged it said nothing; None where none was to."""


EMPTY_CONTEXT = DecisionContext()
"""Of a call that is decided apart from all others."""
