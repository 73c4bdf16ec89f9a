"""Guards: the bounds of every decision, whatever made it."""

from collections.abc import Iterable

import msgspec

from gateway.core.call import CompleteMode, EscalateMode, Strategy
from gateway.core.decision import TraceStep
from gateway.core.quality import find_position
from gateway.core.target import TIERS, Tier
from gateway.routing.features import Features
from gateway.routing.rules.compile import RuleSet
from gateway.routing.rules.context import RuleContext
from gateway.settings.schema.rules import GuardPart

_NO_TAGS: frozenset[str] = frozenset()
_HIGHEST_TIER = len(TIERS) - 1


class GuardBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The combined bounds of all guards that match."""

    low: int = 0
    high: int = _HIGHEST_TIER
    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    refuse: str | None = None
    no_cache: bool = False
    cache: bool = False
    """True if a guard turns the response cache on."""
    no_judge: bool = False
    """True if a guard keeps the text from models that help to decide."""
    complete: tuple[CompleteMode, str] | None = None
    """The mode of the first guard that sets one, and the guard's name."""
    escalate: tuple[EscalateMode, str] | None = None
    """The mode of the first guard that sets `escalate`, and the guard's name."""
    quality: tuple[float, str] | None = None
    """The share of quality of the first guard that sets one, and the guard's name."""
    conversation: Strategy | None = None
    """The strategy of the first guard that sets one."""
    tags: frozenset[str] = frozenset()
    steps: tuple[TraceStep, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the guards that match, in the order of the configuration."""
        return tuple([step.reason for step in self.steps])

    @property
    def limits_tiers(self) -> bool:
        """True if the bounds exclude some tier."""
        return self.low > 0 or self.high < _HIGHEST_TIER

    def clamp_tier(self, tier: Tier) -> Tier:
        """Return the tier, moved into the bounds; the cheaper bound wins if they contradict."""
        return TIERS[min(max(TIERS.index(tier), self.low), self.high)]

    def with_ceiling(self, ceiling: Tier) -> "GuardBounds":
        """Return these bounds with a ceiling: no tier above it."""
        high = min(self.high, TIERS.index(ceiling))
        return msgspec.structs.replace(self, high=high, low=min(self.low, high))

    def allows_lab(self, lab: str) -> bool:
        """True if a lab may be used."""
        return lab not in self.deny and (self.allow is None or lab in self.allow)


NO_BOUNDS = GuardBounds()
"""The bounds of a call that no guard matches and that has no tags."""


def evaluate_guards(rules: RuleSet, context: RuleContext) -> GuardBounds:
    """Evaluate all guards. Each guard sees the tags that the others set, whatever their order."""
    call = context.call
    if call.options.tags or call.key.tags:
        context.tags = _list_sent_tags(call).union(call.key.tags)
    while True:
        context.arms.clear()  # guards may have matched with other tags
        matching_guards = [guard for guard in rules.guards if guard.test(context)]
        if not matching_guards:
            return GuardBounds(tags=context.tags) if context.tags else NO_BOUNDS
        all_tags = context.tags.union(*(guard.definition.tag or () for guard in matching_guards))
        if all_tags == context.tags:
            break
        context.tags = all_tags
    return _combine_guards([guard.definition for guard in matching_guards], context.tags)


def _list_sent_tags(call: Features) -> frozenset[str]:
    allowed = call.key.allowed_tags
    if not call.options.tags:
        return _NO_TAGS
    return frozenset(tag for tag in call.options.tags if allowed is None or tag in allowed)


def _combine_guards(definitions: list[GuardPart], tags: frozenset[str]) -> GuardBounds:
    allowed_labs = [
        frozenset(definition.allow) for definition in definitions if definition.allow is not None
    ]
    return GuardBounds(
        low=max(
            (TIERS.index(p.min_tier) for p in definitions if p.min_tier is not None), default=0
        ),
        high=min(
            (TIERS.index(p.max_tier) for p in definitions if p.max_tier is not None),
            default=_HIGHEST_TIER,
        ),
        allow=frozenset.intersection(*allowed_labs) if allowed_labs else None,
        deny=_union(definition.deny for definition in definitions),
        refuse=next(
            (definition.refuse for definition in definitions if definition.refuse is not None), None
        ),
        no_cache=any(definition.no_cache for definition in definitions),
        cache=any(definition.cache == "on" for definition in definitions),
        no_judge=any(definition.judge == "off" for definition in definitions),
        conversation=next(
            (p.conversation for p in definitions if p.conversation is not None), None
        ),
        quality=next(((p.quality, p.name) for p in definitions if p.quality is not None), None),
        complete=next(((p.complete, p.name) for p in definitions if p.complete is not None), None),
        escalate=next(((p.escalate, p.name) for p in definitions if p.escalate is not None), None),
        tags=tags,
        steps=tuple(
            TraceStep(step="guard", matched=True, effect=_describe_effect(p), reason=p.name)
            for p in definitions
        ),
    )


def _union(groups: Iterable[list[str] | None]) -> frozenset[str]:
    return frozenset(name for group in groups for name in group or ())


def _describe_effect(definition: GuardPart) -> str:
    settings = {
        "min_tier": definition.min_tier,
        "max_tier": definition.max_tier,
        "allow": definition.allow and " ".join(definition.allow),
        "deny": definition.deny and " ".join(definition.deny),
        "tag": definition.tag and " ".join(definition.tag),
        "cache": definition.cache,
        "judge": definition.judge,
        "complete": definition.complete,
        "escalate": definition.escalate,
        "conversation": definition.conversation,
        "quality": None if definition.quality is None else f"{find_position(definition.quality):g}",
    }
    effects = [f"{name} {value}" for name, value in settings.items() if value]
    effects += ["refuse"] if definition.refuse is not None else []
    return ", ".join([*effects, "no cache"] if definition.no_cache else effects)
