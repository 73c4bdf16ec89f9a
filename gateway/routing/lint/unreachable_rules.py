"""Rules without effect: conditions that never hold, choices never reached or always overruled.

The check reports no rule that may matter for some call. `subsumption` says what it does not find.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

from gateway.core.call import Key
from gateway.core.target import TIERS, Tier
from gateway.routing.lint import unknown_names
from gateway.routing.lint.subsumption import Subsumption
from gateway.routing.lint.unknown_names import list_conditions, walk_condition
from gateway.settings.errors import Mistake, Path, format_path
from gateway.settings.lifecycle_warnings import list_targets
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.rules import ChoicePart, GuardPart, RangePart, WhenPart

_RULE_PATH_LENGTH = 3
"""The length of a path to a rule's condition: guards or choices, a number, when."""
_FINDING_ORDER = {"keywords": 1, "tool_names": 1, "tag": 1, "all": 2, "any": 3, "not_": 4}
"""The order of conditions in a contradiction; unlisted ones come first. A finding is at the later
of two conditions and names the earlier, such as a range of tokens before a keyword."""
_SHARE_CONDITIONS = frozenset(("code", "maths", "need", "confidence"))
_SHARE_HINT = "It goes from 0 to 1: write {min: 0.3}."


def list_errors(source: ConfigSource, dialects: Collection[str]) -> list[Mistake]:
    """Return the rules whose own conditions contradict each other."""
    subsumption = Subsumption(dialects)
    mistakes: list[Mistake] = []
    for path, condition in list_conditions(source.config):
        if not _has_empty_range(condition) and subsumption.is_impossible(condition):
            mistakes += _find_contradiction(source, subsumption, path, condition)
    return mistakes


def list_warnings(
    source: ConfigSource, dialects: Collection[str], keys: Sequence[Key] | None = None
) -> list[Mistake]:
    """Return warnings about guards and choices that have no effect.

    `keys` are all keys; None if any key may call.
    """
    audit = _Audit(source, dialects, keys)
    name_mistakes = [*unknown_names.list_warnings(source, keys)]
    reported_rules = {_get_rule_path(item) for item in name_mistakes}
    mistakes = [
        *audit.check_branches(),
        *audit.check_guards(),
        *audit.check_crossed_guards(),
        *audit.check_choices(),
    ]
    return [
        *name_mistakes,
        *(item for item in mistakes if _get_rule_path(item) not in reported_rules),
    ]


class _Audit:
    def __init__(
        self, source: ConfigSource, dialects: Collection[str], keys: Sequence[Key] | None
    ) -> None:
        self._source = source
        self._keys = keys
        self._guards = source.config.guards
        self._subsumption = Subsumption(dialects, keys, self._guards)
        self._settled_subsumption = Subsumption(dialects, keys, self._guards, are_tags_settled=True)

    def check_branches(self) -> Iterator[Mistake]:
        """Yield branches of conditions that never hold."""
        is_impossible = self._subsumption.is_impossible
        for path, condition in list_conditions(self._source.config):
            if is_impossible(condition):
                continue  # `list_errors` reports it
            for inner_path, inner in walk_condition(path, condition):
                is_any_branch = len(inner_path) > _RULE_PATH_LENGTH and inner_path[-2:-1] == (
                    "any",
                )
                if is_any_branch and is_impossible(inner):
                    yield self._warn(inner_path, "never holds: the others decide alone.")
            remaining = condition.model_copy(update={"any": None})
            for index, inner in enumerate(condition.any or ()):
                if not is_impossible(inner) and is_impossible(remaining, inner):
                    message = "never holds with what else must hold: the others decide alone."
                    yield self._warn((*path, "any", index), message)

    def check_guards(self) -> Iterator[Mistake]:
        """Yield guards that no call can match."""
        for index, guard in enumerate(self._guards):
            if self._subsumption.is_impossible(guard.when):
                yield self._warn(("guards", index, "when"), self._explain_never())

    def check_crossed_guards(self) -> Iterator[Mistake]:
        """Yield guards whose `min_tier` is above the `max_tier` of a guard that matches too."""
        implies = self._subsumption.implies
        for index, guard in enumerate(self._guards):
            for other_guard in self._guards:
                if guard.min_tier is None or other_guard.max_tier is None or other_guard is guard:
                    continue
                if _is_above(guard.min_tier, other_guard.max_tier) and (
                    implies(guard.when, other_guard.when) or implies(other_guard.when, guard.when)
                ):
                    message = (
                        f"{guard.min_tier} is above {other_guard.max_tier}, "
                        f"all that {other_guard.name!r} "
                        f"allows: where both match, {other_guard.max_tier} holds."
                    )
                    yield self._warn(("guards", index, "min_tier"), message)

    def check_choices(self) -> Iterator[Mistake]:
        """Yield choices that are never reached, and choices that guards always overrule."""
        choices = self._source.config.choices
        for index, choice in enumerate(choices):
            path: Path = ("choices", index)
            if self._settled_subsumption.is_impossible(choice.when):
                yield self._warn((*path, "when"), self._explain_never())
            elif covering_rules := self._find_cover(choice.when, choices[:index]):
                yield self._warn(path, f"is never reached: {covering_rules} matches first.")
            else:
                yield from self._check_overruled(path, choice)

    def _check_overruled(self, path: Path, choice: ChoicePart) -> Iterator[Mistake]:
        """Yield what guards prevent for all calls that match a choice."""
        if guard_names := self._find_guards(choice.when, lambda guard: guard.refuse is not None):
            yield self._warn(
                path, f"decides nothing: {guard_names} refuses every call that it matches."
            )
            return
        if choice.model is not None:
            yield from self._check_unserved(path, choice.model, choice.when)
        elif choice.tier is not None and (
            guard_names := self._find_tier_guards(choice.tier, choice.when)
        ):
            message = f"no call gets {choice.tier}: {guard_names} does not let one that matches."
            yield self._warn((*path, "tier"), message)
        if choice.lab is not None and (
            guard_names := self._find_lab_guards(choice.lab, choice.when)
        ):
            message = f"no call goes to {choice.lab}: {guard_names} does not let one that matches."
            yield self._warn((*path, "lab"), message)

    def _check_unserved(self, path: Path, model: str, condition: WhenPart) -> Iterator[Mistake]:
        endpoints = {
            (lab, tier)
            for _, lab, tier, provider, target in list_targets(self._source)
            if model in (target.model, f"{provider}/{target.model}")
        }
        guard_names = [
            self._find_tier_guards(tier, condition) or self._find_lab_guards(lab, condition)
            for lab, tier in endpoints
        ]
        if guard_names and all(guard_names):
            message = f"no call gets {model}: {min(guard_names)} does not let one that matches."
            yield self._warn((*path, "model"), message)

    def _find_tier_guards(self, tier: Tier, condition: WhenPart) -> str:
        """Return the guards that keep all these calls from a tier; empty if a call may get it."""
        guard_names = self._find_guards(
            condition, lambda g: g.max_tier is not None and _is_above(tier, g.max_tier)
        )
        # A `max_tier` of exactly this tier takes precedence over every `min_tier`.
        if not guard_names and not any(guard.max_tier == tier for guard in self._guards):
            guard_names = self._find_guards(
                condition, lambda g: g.min_tier is not None and _is_above(g.min_tier, tier)
            )
        return guard_names

    def _find_lab_guards(self, lab: str, condition: WhenPart) -> str:
        def denies(guard: GuardPart) -> bool:
            return lab in (guard.deny or ()) or (guard.allow is not None and lab not in guard.allow)

        return self._find_guards(condition, denies)

    def _find_guards(self, condition: WhenPart, predicate: Callable[[GuardPart], bool]) -> str:
        """Return guards with a property, of which one matches whenever `condition` does."""
        return self._find_cover(condition, [guard for guard in self._guards if predicate(guard)])

    def _find_cover(self, condition: WhenPart, candidates: Sequence[GuardPart | ChoicePart]) -> str:
        """Return the names of few rules, of which one matches whenever `condition` does."""
        single_covers = (
            rule for rule in candidates if self._settled_subsumption.implies(condition, rule.when)
        )
        if (single_cover := next(single_covers, None)) is not None:
            return repr(single_cover.name)

        def is_covered(covers: Sequence[GuardPart | ChoicePart]) -> bool:
            return self._settled_subsumption.is_impossible(
                condition, excluding=(rule.when for rule in covers)
            )

        remaining = [*candidates]
        if not is_covered(remaining):
            return ""
        for rule in candidates:
            fewer = [candidate for candidate in remaining if candidate is not rule]
            if is_covered(fewer):
                remaining = fewer
        return " or ".join(repr(rule.name) for rule in remaining)

    def _explain_never(self) -> str:
        if self._keys is None:
            return "never matches: guards set tags that it must not have."
        return "never matches, with the keys that there are and the tags that they may send."

    def _warn(self, path: Path, message: str) -> Mistake:
        return self._source.make_mistake(path, message, warn=True)


def _find_contradiction(
    source: ConfigSource, subsumption: Subsumption, path: Path, condition: WhenPart
) -> Iterator[Mistake]:
    """Yield the parts of a rule that cannot hold, alone or together with another part."""
    items = [*_split_condition(path, condition)]
    impossible_paths = [item_path for item_path, item in items if subsumption.is_impossible(item)]
    if impossible_paths:
        for item_path in impossible_paths:
            hint = _SHARE_HINT if item_path[-1] in _SHARE_CONDITIONS else ""
            yield source.make_mistake(item_path, "never holds: the rule never matches.", hint)
        return
    for index, (item_path, item) in enumerate(items):
        for earlier_path, earlier in items[:index]:
            if subsumption.is_impossible(earlier, item):
                earlier_text = format_path(earlier_path[_RULE_PATH_LENGTH:])
                message = f"cannot hold together with {earlier_text}: the rule never matches."
                yield source.make_mistake(item_path, message)
                return
    yield source.make_mistake(path, "these conditions cannot all hold: the rule never matches.")


def _split_condition(path: Path, condition: WhenPart) -> Iterator[tuple[Path, WhenPart]]:
    """Yield the conditions that must hold together, each with its path; split groups of `all`."""
    parts = [(name, value) for name, value in condition if value is not None]
    for name, value in sorted(parts, key=lambda item: _FINDING_ORDER.get(item[0], 0)):
        if name == "all":
            for index, item in enumerate(value):
                yield from _split_condition((*path, "all", index), item)
        else:
            yield (*path, name.rstrip("_")), WhenPart().model_copy(update={name: value})


def _get_rule_path(item: Mistake) -> str:
    """Return the path of the rule that a finding is about, such as choices[2]."""
    return item.path.partition(".")[0]


def _has_empty_range(condition: WhenPart) -> bool:
    """Return True if some range ends before it begins, which another check reports."""
    return any(
        isinstance(value, RangePart)
        and value.min is not None
        and value.max is not None
        and value.min > value.max
        for _, inner in walk_condition((), condition)
        for _, value in inner
    )


def _is_above(tier: Tier, other: Tier) -> bool:
    return TIERS.index(tier) > TIERS.index(other)
