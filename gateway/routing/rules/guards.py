"""Guards: what bounds a decision whatever made it."""

from collections.abc import Iterable

import msgspec

from gateway.core.call import Complete, Strategy
from gateway.core.decision import TraceStep
from gateway.core.target import TIERS, Tier
from gateway.routing.features import Features
from gateway.routing.rules.compile import RuleSet
from gateway.routing.rules.context import RuleContext
from gateway.settings.schema.rules import GuardPart

_NONE: frozenset[str] = frozenset()
_HIGHEST = len(TIERS) - 1


class GuardBounds(msgspec.Struct, frozen=True, kw_only=True):
    """What all guards that match come to."""

    low: int = 0
    high: int = _HIGHEST
    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    refuse: str | None = None
    no_cache: bool = False
    cache: bool = False
    """True if a guard turns the response cache on."""
    complete: tuple[Complete, str] | None = None
    """What the first guard that speaks of it says, and its name."""
    conversation: Strategy | None = None
    """What the first guard that speaks of it says."""
    tags: frozenset[str] = frozenset()
    steps: tuple[TraceStep, ...] = ()

    @property
    def free(self) -> bool:
        """Whether they bound nothing, whatever tags there are."""
        return not self.steps and self.high == _HIGHEST

    @property
    def tiered(self) -> bool:
        """True if some tier is out of bounds."""
        return self.low > 0 or self.high < _HIGHEST

    def tier(self, tier: Tier) -> Tier:
        """The tier, moved into bounds; where they contradict each other the cheaper bound holds."""
        return TIERS[min(max(TIERS.index(tier), self.low), self.high)]

    def under(self, ceiling: Tier) -> "GuardBounds":
        """The same, and no dearer than a tier."""
        high = min(self.high, TIERS.index(ceiling))
        return msgspec.structs.replace(self, high=high, low=min(self.low, high))

    def lab(self, lab: str) -> bool:
        """Whether a lab may be used."""
        return lab not in self.deny and (self.allow is None or lab in self.allow)


FREE = GuardBounds()
"""Of a call that no guard bounds, and that has no tags."""


def bound(rules: RuleSet, view: RuleContext) -> GuardBounds:
    """Evaluate all guards; a tag that one sets is seen by every other, whatever their order."""
    call = view.call
    if call.steer.tags or call.key.tags:
        view.tags = _sent(call).union(call.key.tags)
    while True:
        hits = [guard for guard in rules.guards if guard.test(view)]
        if not hits:
            return GuardBounds(tags=view.tags) if view.tags else FREE
        more = view.tags.union(*(guard.part.tag or () for guard in hits))
        if more == view.tags:
            break
        view.tags = more
    return _sum([guard.part for guard in hits], view.tags)


def _sent(call: Features) -> frozenset[str]:
    allowed = call.key.allowed_tags
    if not call.steer.tags:
        return _NONE
    return frozenset(tag for tag in call.steer.tags if allowed is None or tag in allowed)


def _sum(hits: list[GuardPart], tags: frozenset[str]) -> GuardBounds:
    allows = [frozenset(part.allow) for part in hits if part.allow is not None]
    return GuardBounds(
        low=max((TIERS.index(p.min_tier) for p in hits if p.min_tier is not None), default=0),
        high=min(
            (TIERS.index(p.max_tier) for p in hits if p.max_tier is not None),
            default=_HIGHEST,
        ),
        allow=frozenset.intersection(*allows) if allows else None,
        deny=_all(part.deny for part in hits),
        refuse=next((part.refuse for part in hits if part.refuse is not None), None),
        no_cache=any(part.no_cache for part in hits),
        cache=any(part.cache == "on" for part in hits),
        conversation=next((p.conversation for p in hits if p.conversation is not None), None),
        complete=next(((p.complete, p.name) for p in hits if p.complete is not None), None),
        tags=tags,
        steps=tuple(
            TraceStep(step="guard", matched=True, effect=_effect(p), why=p.name) for p in hits
        ),
    )


def _all(groups: Iterable[list[str] | None]) -> frozenset[str]:
    return frozenset(name for group in groups for name in group or ())


def _effect(part: GuardPart) -> str:
    words = {
        "min_tier": part.min_tier,
        "max_tier": part.max_tier,
        "allow": part.allow and " ".join(part.allow),
        "deny": part.deny and " ".join(part.deny),
        "tag": part.tag and " ".join(part.tag),
        "cache": part.cache,
        "complete": part.complete,
        "conversation": part.conversation,
    }
    said = [f"{name} {value}" for name, value in words.items() if value]
    said += ["refuse"] if part.refuse is not None else []
    return ", ".join([*said, "no cache"] if part.no_cache else said)
