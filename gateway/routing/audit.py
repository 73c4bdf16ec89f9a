"""What rules can never do: conditions that never hold, choices never reached or always overruled.

Nothing is said of a rule that may matter for some call: see `theory`.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

from gateway.core.call import Key
from gateway.core.target import TIERS, Tier
from gateway.routing import spelling
from gateway.routing.solve import Formula, Space
from gateway.routing.theory import Theory, inside, rules
from gateway.settings.dates import targets
from gateway.settings.load import Source
from gateway.settings.mistake import Mistake, Path, written
from gateway.settings.rule import ChoicePart, GuardPart, Range, When
from gateway.settings.schema import Config

_INSIDE = 3
"""Of a path to a condition: guards or choices, a number, when."""


def errors(source: Source, dialects: Collection[str]) -> list[Mistake]:
    """Rules whose own conditions contradict each other."""
    theory = Theory(_whens(source.config), dialects)
    space = theory.space()
    found: list[Mistake] = []
    for path, when in rules(source.config):
        items = [*theory.items(path, when)]
        if not _void(when) and space.impossible(*(formula for _, formula in items)):
            found += _contradiction(source, space, path, items)
    return found


def warnings(
    source: Source, dialects: Collection[str], keys: Sequence[Key] | None = None
) -> list[Mistake]:
    """What of guards and choices is in vain; `keys` are all that may call, None where any may."""
    audit = _Audit(source, dialects, keys)
    names = [*spelling.warnings(source, keys)]
    told = {_rule(item) for item in names}
    found = [*audit.branches(), *audit.guards(), *audit.crossed(), *audit.choices()]
    return [*names, *(item for item in found if _rule(item) not in told)]


class _Audit:
    def __init__(
        self, source: Source, dialects: Collection[str], keys: Sequence[Key] | None
    ) -> None:
        config = source.config
        self._source = source
        self._keys = keys
        self._theory = theory = Theory(_whens(config), dialects, keys)
        self._space = theory.space(config.guards, settled=False)
        self._settled = theory.space(config.guards)
        self._guards = [(guard, theory.formula(guard.when)) for guard in config.guards]

    def branches(self) -> Iterator[Mistake]:
        """Parts of conditions that never hold."""
        plain = self._space
        for path, when in rules(self._source.config):
            if plain.impossible(self._theory.formula(when)):
                continue  # an error
            for place, part in inside(path, when):
                alone = len(place) > _INSIDE and place[-2:-1] == ("any",)
                if alone and plain.impossible(self._theory.formula(part)):
                    yield self._warn(place, "never holds: the others decide alone.")
            for at, part in enumerate(when.any or ()):
                rest = self._theory.formula(when.model_copy(update={"any": None}))
                formula = self._theory.formula(part)
                if not plain.impossible(formula) and plain.impossible(rest, formula):
                    message = "never holds with what else must hold: the others decide alone."
                    yield self._warn((*path, "any", at), message)

    def guards(self) -> Iterator[Mistake]:
        """Guards that no call can match."""
        for at, (_, formula) in enumerate(self._guards):
            if self._space.impossible(formula):
                yield self._warn(("guards", at, "when"), self._never())

    def crossed(self) -> Iterator[Mistake]:
        """Guards that hold together, one of which asks for more than another allows."""
        for at, (guard, formula) in enumerate(self._guards):
            for other, bound in self._guards:
                if guard.min_tier is None or other.max_tier is None or other is guard:
                    continue
                if _above(guard.min_tier, other.max_tier) and (
                    self._implies(formula, bound) or self._implies(bound, formula)
                ):
                    message = (
                        f"{guard.min_tier} is above {other.max_tier}, all that {other.name!r} "
                        f"allows: where both match, {other.max_tier} holds."
                    )
                    yield self._warn(("guards", at, "min_tier"), message)

    def choices(self) -> Iterator[Mistake]:
        """Choices that are never reached, and those of which guards leave nothing."""
        space, before = self._settled, list[tuple[str, Formula]]()
        for at, choice in enumerate(self._source.config.choices):
            formula = self._theory.formula(choice.when)
            here: Path = ("choices", at)
            if space.impossible(formula):
                yield self._warn((*here, "when"), self._never())
            elif space.impossible(formula, *(not_ for _, not_ in before)):
                first = self._cover([formula], before)
                yield self._warn(here, f"is never reached: {first} matches first.")
            else:
                yield from self._overruled(here, choice, [formula, *(not_ for _, not_ in before)])
            before.append((choice.name, space.negation(formula)))

    def _overruled(self, here: Path, choice: ChoicePart, calls: list[Formula]) -> Iterator[Mistake]:
        """What guards do to all calls that a choice decides."""
        refusing = self._against(lambda guard: guard.refuse is not None)
        if names := self._cover(calls, refusing):
            yield self._warn(here, f"decides nothing: {names} refuses every call that it matches.")
            return
        if choice.model is not None:
            yield from self._unserved(here, choice.model, calls)
        elif choice.tier is not None and (names := self._bounded(choice.tier, calls)):
            message = f"no call gets {choice.tier}: {names} does not let one that matches."
            yield self._warn((*here, "tier"), message)
        if choice.lab is not None and (names := self._denied(choice.lab, calls)):
            message = f"no call goes to {choice.lab}: {names} does not let one that matches."
            yield self._warn((*here, "lab"), message)

    def _unserved(self, here: Path, model: str, calls: list[Formula]) -> Iterator[Mistake]:
        places = {
            (lab, tier)
            for _, lab, tier, provider, target in targets(self._source)
            if model in (target.model, f"{provider}/{target.model}")
        }
        names = [self._bounded(tier, calls) or self._denied(lab, calls) for lab, tier in places]
        if names and all(names):
            message = f"no call gets {model}: {min(names)} does not let one that matches."
            yield self._warn((*here, "model"), message)

    def _bounded(self, tier: Tier, calls: list[Formula]) -> str:
        """The guards that keep all these calls from a tier; empty where they do not."""
        above = self._against(lambda g: g.max_tier is not None and _above(tier, g.max_tier))
        names = self._cover(calls, above)
        # A bound from above that is just this tier stands before all from below.
        if not names and not any(guard.max_tier == tier for guard, _ in self._guards):
            below = self._against(lambda g: g.min_tier is not None and _above(g.min_tier, tier))
            names = self._cover(calls, below)
        return names

    def _denied(self, lab: str, calls: list[Formula]) -> str:
        def denies(guard: GuardPart) -> bool:
            return lab in (guard.deny or ()) or (guard.allow is not None and lab not in guard.allow)

        return self._cover(calls, self._against(denies))

    def _against(self, does: Callable[[GuardPart], bool]) -> list[tuple[str, Formula]]:
        """The names of guards that do something, each with what holds where it does not match."""
        return [(g.name, self._settled.negation(formula)) for g, formula in self._guards if does(g)]

    def _cover(self, calls: Sequence[Formula], rules: Sequence[tuple[str, Formula]]) -> str:
        """Names of few rules of which one always matches these calls; empty where none may."""
        impossible = self._settled.impossible
        if not rules or not impossible(*calls, *(not_ for _, not_ in rules)):
            return ""
        alone = next((name for name, not_ in rules if impossible(*calls, not_)), None)
        if alone is not None:
            return repr(alone)
        left = [*rules]
        for rule in rules:
            fewer = [one for one in left if one is not rule]
            if impossible(*calls, *(not_ for _, not_ in fewer)):
                left = fewer
        return " or ".join(repr(name) for name, _ in left)

    def _implies(self, formula: Formula, other: Formula) -> bool:
        return self._space.impossible(formula, self._space.negation(other))

    def _never(self) -> str:
        if self._keys is None:
            return "never matches: guards set tags that it must not have."
        return "never matches, with the keys that there are and the tags that they may send."

    def _warn(self, path: Path, message: str) -> Mistake:
        return self._source.mistake(path, message, warn=True)


def _contradiction(
    source: Source, space: Space, path: Path, items: list[tuple[Path, Formula]]
) -> Iterator[Mistake]:
    """What of a rule cannot hold, alone or together with what."""
    alone = [place for place, formula in items if space.impossible(formula)]
    if alone:
        yield from (
            source.mistake(place, "never holds: the rule never matches.") for place in alone
        )
        return
    for at, (place, formula) in enumerate(items):
        for other, earlier in items[:at]:
            if space.impossible(formula, earlier):
                with_ = written(other[_INSIDE:])
                message = f"cannot hold together with {with_}: the rule never matches."
                yield source.mistake(place, message)
                return
    yield source.mistake(path, "these conditions cannot all hold: the rule never matches.")


def _rule(item: Mistake) -> str:
    """The rule that a finding is of, as choices[2]."""
    return item.path.partition(".")[0]


def _whens(config: Config) -> list[When]:
    return [when for _, when in rules(config)]


def _void(when: When) -> bool:
    """Whether a range in it ends before it begins, which is an error by itself."""
    return any(
        isinstance(value, Range)
        and value.min is not None
        and value.max is not None
        and value.min > value.max
        for _, part in inside((), when)
        for _, value in part
    )


def _above(tier: Tier, other: Tier) -> bool:
    return TIERS.index(tier) > TIERS.index(other)
