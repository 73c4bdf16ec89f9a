"""What rules can never do: conditions that never hold, choices never reached or always overruled.

Nothing is said of a rule that may matter for some call. `subsumption` says what is not found.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

from gateway.core.call import Key
from gateway.core.target import TIERS, Tier
from gateway.routing.lint import unknown_names
from gateway.routing.lint.subsumption import Subsumption
from gateway.routing.lint.unknown_names import inside, rules
from gateway.settings.errors import Mistake, Path, written
from gateway.settings.lifecycle_warnings import targets
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.rules import ChoicePart, GuardPart, RangePart, WhenPart

_INSIDE = 3
"""Of a path to a condition: guards or choices, a number, when."""
_LATER = {"keywords": 1, "tool_names": 1, "tag": 1, "all": 2, "any": 3, "not_": 4}
"""A finding names what excludes another condition first, as a range of tokens before a keyword."""


def errors(source: ConfigSource, dialects: Collection[str]) -> list[Mistake]:
    """Return the rules whose own conditions contradict each other."""
    plain = Subsumption(dialects)
    found: list[Mistake] = []
    for path, when in rules(source.config):
        if not _void(when) and plain.impossible(when):
            found += _contradiction(source, plain, path, when)
    return found


def warnings(
    source: ConfigSource, dialects: Collection[str], keys: Sequence[Key] | None = None
) -> list[Mistake]:
    """Return what of guards and choices is in vain; `keys` are all that may call, None: any may."""
    audit = _Audit(source, dialects, keys)
    names = [*unknown_names.warnings(source, keys)]
    told = {_rule(item) for item in names}
    found = [*audit.branches(), *audit.guards(), *audit.crossed(), *audit.choices()]
    return [*names, *(item for item in found if _rule(item) not in told)]


class _Audit:
    def __init__(
        self, source: ConfigSource, dialects: Collection[str], keys: Sequence[Key] | None
    ) -> None:
        self._source = source
        self._keys = keys
        self._guards = source.config.guards
        self._plain = Subsumption(dialects, keys, self._guards)
        self._settled = Subsumption(dialects, keys, self._guards, settled=True)

    def branches(self) -> Iterator[Mistake]:
        """Yield parts of conditions that never hold."""
        impossible = self._plain.impossible
        for path, when in rules(self._source.config):
            if impossible(when):
                continue  # an error
            for place, part in inside(path, when):
                alone = len(place) > _INSIDE and place[-2:-1] == ("any",)
                if alone and impossible(part):
                    yield self._warn(place, "never holds: the others decide alone.")
            rest = when.model_copy(update={"any": None})
            for at, part in enumerate(when.any or ()):
                if not impossible(part) and impossible(rest, part):
                    message = "never holds with what else must hold: the others decide alone."
                    yield self._warn((*path, "any", at), message)

    def guards(self) -> Iterator[Mistake]:
        """Yield guards that no call can match."""
        for at, guard in enumerate(self._guards):
            if self._plain.impossible(guard.when):
                yield self._warn(("guards", at, "when"), self._never())

    def crossed(self) -> Iterator[Mistake]:
        """Yield guards that hold together, one of which asks for more than another allows."""
        implies = self._plain.implies
        for at, guard in enumerate(self._guards):
            for other in self._guards:
                if guard.min_tier is None or other.max_tier is None or other is guard:
                    continue
                if _above(guard.min_tier, other.max_tier) and (
                    implies(guard.when, other.when) or implies(other.when, guard.when)
                ):
                    message = (
                        f"{guard.min_tier} is above {other.max_tier}, all that {other.name!r} "
                        f"allows: where both match, {other.max_tier} holds."
                    )
                    yield self._warn(("guards", at, "min_tier"), message)

    def choices(self) -> Iterator[Mistake]:
        """Yield choices that are never reached, and those of which guards leave nothing."""
        choices = self._source.config.choices
        for at, choice in enumerate(choices):
            here: Path = ("choices", at)
            if self._settled.impossible(choice.when):
                yield self._warn((*here, "when"), self._never())
            elif first := self._cover(choice.when, choices[:at]):
                yield self._warn(here, f"is never reached: {first} matches first.")
            else:
                yield from self._overruled(here, choice)

    def _overruled(self, here: Path, choice: ChoicePart) -> Iterator[Mistake]:
        """Yield what guards do to all calls that match a choice."""
        if names := self._against(choice.when, lambda guard: guard.refuse is not None):
            yield self._warn(here, f"decides nothing: {names} refuses every call that it matches.")
            return
        if choice.model is not None:
            yield from self._unserved(here, choice.model, choice.when)
        elif choice.tier is not None and (names := self._bounded(choice.tier, choice.when)):
            message = f"no call gets {choice.tier}: {names} does not let one that matches."
            yield self._warn((*here, "tier"), message)
        if choice.lab is not None and (names := self._denied(choice.lab, choice.when)):
            message = f"no call goes to {choice.lab}: {names} does not let one that matches."
            yield self._warn((*here, "lab"), message)

    def _unserved(self, here: Path, model: str, when: WhenPart) -> Iterator[Mistake]:
        places = {
            (lab, tier)
            for _, lab, tier, provider, target in targets(self._source)
            if model in (target.model, f"{provider}/{target.model}")
        }
        names = [self._bounded(tier, when) or self._denied(lab, when) for lab, tier in places]
        if names and all(names):
            message = f"no call gets {model}: {min(names)} does not let one that matches."
            yield self._warn((*here, "model"), message)

    def _bounded(self, tier: Tier, when: WhenPart) -> str:
        """Return the guards that keep all these calls from a tier; empty where they do not."""
        names = self._against(when, lambda g: g.max_tier is not None and _above(tier, g.max_tier))
        # A bound from above that is just this tier stands before all from below.
        if not names and not any(guard.max_tier == tier for guard in self._guards):
            names = self._against(
                when, lambda g: g.min_tier is not None and _above(g.min_tier, tier)
            )
        return names

    def _denied(self, lab: str, when: WhenPart) -> str:
        def denies(guard: GuardPart) -> bool:
            return lab in (guard.deny or ()) or (guard.allow is not None and lab not in guard.allow)

        return self._against(when, denies)

    def _against(self, when: WhenPart, does: Callable[[GuardPart], bool]) -> str:
        """Return the guards that do something, and of which one matches whenever `when` does."""
        return self._cover(when, [guard for guard in self._guards if does(guard)])

    def _cover(self, when: WhenPart, rules: Sequence[GuardPart | ChoicePart]) -> str:
        """Return the names of few rules of which one matches whenever `when` does."""
        alone = (rule for rule in rules if self._settled.implies(when, rule.when))
        if (first := next(alone, None)) is not None:
            return repr(first.name)

        def covered(by: Sequence[GuardPart | ChoicePart]) -> bool:
            return self._settled.impossible(when, but=(rule.when for rule in by))

        left = [*rules]
        if not covered(left):
            return ""
        for rule in rules:
            fewer = [one for one in left if one is not rule]
            if covered(fewer):
                left = fewer
        return " or ".join(repr(rule.name) for rule in left)

    def _never(self) -> str:
        if self._keys is None:
            return "never matches: guards set tags that it must not have."
        return "never matches, with the keys that there are and the tags that they may send."

    def _warn(self, path: Path, message: str) -> Mistake:
        return self._source.mistake(path, message, warn=True)


def _contradiction(
    source: ConfigSource, plain: Subsumption, path: Path, when: WhenPart
) -> Iterator[Mistake]:
    """Yield what of a rule cannot hold, alone or together with what."""
    items = [*_items(path, when)]
    alone = [place for place, item in items if plain.impossible(item)]
    if alone:
        for place in alone:
            yield source.mistake(place, "never holds: the rule never matches.")
        return
    for at, (place, item) in enumerate(items):
        for other, earlier in items[:at]:
            if plain.impossible(earlier, item):
                with_ = written(other[_INSIDE:])
                message = f"cannot hold together with {with_}: the rule never matches."
                yield source.mistake(place, message)
                return
    yield source.mistake(path, "these conditions cannot all hold: the rule never matches.")


def _items(path: Path, when: WhenPart) -> Iterator[tuple[Path, WhenPart]]:
    """Yield what must hold together, each with its place; groups of `all` are taken apart."""
    parts = [(name, part) for name, part in when if part is not None]
    for name, part in sorted(parts, key=lambda one: _LATER.get(one[0], 0)):
        if name == "all":
            for at, one in enumerate(part):
                yield from _items((*path, "all", at), one)
        else:
            yield (*path, name.rstrip("_")), WhenPart().model_copy(update={name: part})


def _rule(item: Mistake) -> str:
    """Return the rule that a finding is of, as choices[2]."""
    return item.path.partition(".")[0]


def _void(when: WhenPart) -> bool:
    """Return True if a range in it ends before it begins, which is an error by itself."""
    return any(
        isinstance(value, RangePart)
        and value.min is not None
        and value.max is not None
        and value.min > value.max
        for _, part in inside((), when)
        for _, value in part
    )


def _above(tier: Tier, other: Tier) -> bool:
    return TIERS.index(tier) > TIERS.index(other)
