"""Whether statements about a call can hold together: a small solver over finite choices.

A variable is something of a call that has one of a few values, each a bit of a mask: a cell of a
range of numbers, one of some names, yes or no. A formula is a literal (a variable and the values
that it may have), all of some formulas, or one of some. What is called impossible is: a search that
takes too long ends without a verdict.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

type Formula = Literal | Every | Some


class Literal(NamedTuple):
    """A variable has one of these values."""

    variable: str
    mask: int


class Every(NamedTuple):
    """All of these hold; of none, it always does."""

    parts: tuple[Formula, ...]


class Some(NamedTuple):
    """One of these holds; of none, it never does."""

    parts: tuple[Formula, ...]


ALWAYS = Every(())
NEVER = Some(())


class Fact(NamedTuple):
    """What always holds, and the variables of which a question makes it matter."""

    formula: Formula
    about: frozenset[str]


class Space:
    """Variables, each with the values that it may have, and what always holds of them."""

    def __init__(
        self, full: Mapping[str, int], facts: Iterable[Fact] = (), steps: int = 1_000_000
    ) -> None:
        """`full` has a bit for each value of a variable; `steps` are those of all searches."""
        self.full = full
        self._left = steps
        self._facts: dict[str, list[Formula]] = {}
        self._known: dict[str, int] = {}
        """What variables are narrowed to whatever is asked."""
        for fact in facts:
            match fact.formula:
                case Some((Literal(variable, mask),)) | Literal(variable, mask):
                    self._known[variable] = self._known.get(variable, full[variable]) & mask
            for name in fact.about:
                self._facts.setdefault(name, []).append(fact.formula)
        self._masks: dict[int, tuple[Formula, dict[str, int]]] = {}

    def negation(self, of: Formula) -> Formula:
        """What holds where a formula does not."""
        match of:
            case Literal(variable, mask):
                return Literal(variable, self.full[variable] & ~mask)
            case Every(parts):
                return Some(tuple(map(self.negation, parts)))
            case _:
                return Every(tuple(map(self.negation, of.parts)))

    def impossible(self, *formulas: Formula, steps: int = 20_000) -> bool:
        """Whether these can never hold together. False too where that takes too many steps."""
        asked = [one for one in formulas if not isinstance(one, Some)]
        choices = [one for one in formulas if isinstance(one, Some)]
        some = self._together([*asked, *self._relevant(asked)], dict(self._known))
        while True:
            # One that some variable can settle, against which nothing speaks, need not be asked.
            masks = self._together(choices, dict(some))
            left = [one for one in choices if not _settled(one, masks)]
            if len(left) == len(choices):
                break
            choices = left
        search = _Search(self.full, min(steps, self._left))
        every = [*asked, *choices]
        try:
            return not search.possible(dict(self._known), [*every, *self._relevant(every)], ())
        except _TooLongError:
            return False
        finally:
            self._left = max(self._left - search.taken, 0)

    def _relevant(self, formulas: Iterable[Formula]) -> list[Formula]:
        """What always holds of the variables in these, and of those in that."""
        found: dict[int, Formula] = {}
        todo = [name for one in formulas for name in self._seen(one)]
        known = set(todo)
        while todo:
            for formula in self._facts.get(todo.pop(), ()):
                if id(formula) not in found:
                    found[id(formula)] = formula
                    fresh = self._seen(formula).keys() - known
                    known |= fresh
                    todo += fresh
        return [*found.values()]

    def _together(self, formulas: Iterable[Formula], found: dict[str, int]) -> dict[str, int]:
        """For each variable the values that suit all that is asked of it; `found` is added to."""
        for one in formulas:
            for name, mask in self._seen(one).items():
                found[name] = found.get(name, mask) & mask
        return found

    def _seen(self, formula: Formula) -> dict[str, int]:
        """The same of one formula; none is looked at twice."""
        known = self._masks.get(id(formula))
        if known is None:
            masks: dict[str, int] = {}
            todo: list[Formula] = [formula]
            while todo:
                match todo.pop():
                    case Literal(variable, mask):
                        masks[variable] = masks.get(variable, self.full[variable]) & mask
                    case group:
                        todo += group.parts
            known = self._masks[id(formula)] = formula, masks  # kept, so that its id stays its own
        return known[1]


def _settled(choices: Some, masks: Mapping[str, int]) -> bool:
    return any(isinstance(part, Literal) and masks[part.variable] for part in choices.parts)


class _TooLongError(Exception):
    """A search has taken all its steps."""


class _Search:
    """One search for values with which formulas hold."""

    def __init__(self, full: Mapping[str, int], steps: int) -> None:
        self._full = full
        self._steps = steps
        self.taken = 0
        """Steps so far."""

    def possible(
        self, domain: dict[str, int], formulas: Iterable[Formula], waiting: Sequence[Some]
    ) -> bool:
        """Whether there are some. `domain` is what variables are narrowed to; it is used up."""
        todo, left = [*formulas], [*waiting]
        while todo:
            narrowed = self._narrow(domain, todo, left)
            if narrowed is None:
                return False
            left = narrowed
            todo = self._agreed(domain, left)
        if not left:
            return True
        first = min(left, key=lambda some: len(some.parts))
        rest = [some for some in left if some is not first]
        excluded: list[Formula] = []
        for part in first.parts:
            if self.possible(dict(domain), [part, *excluded], rest):
                return True
            if isinstance(part, Literal):  # what was tried in vain need not be tried again
                excluded.append(Literal(part.variable, self._full[part.variable] & ~part.mask))
        return False

    def _narrow(
        self, domain: dict[str, int], todo: list[Formula], waiting: list[Some]
    ) -> list[Some] | None:
        """Take on what must hold. What is left to choose from; None where it cannot hold."""
        while todo or waiting:
            changed = False
            while todo:
                match todo.pop():
                    case Literal(variable, mask):
                        before = domain.get(variable, self._full[variable])
                        domain[variable] = after = before & mask
                        if not after:
                            return None
                        changed |= after != before
                    case Every(parts):
                        todo += parts
                    case some:
                        waiting.append(some)
                        changed = True
            if not changed:
                break
            still: list[Some] = []
            for some in waiting:
                match self._under(domain, some):
                    case None:
                        return None
                    case Some(parts) as less if parts:
                        still.append(less)
                    case other:
                        todo.append(other)
            waiting = still
        return waiting

    def _agreed(self, domain: Mapping[str, int], waiting: Iterable[Some]) -> list[Formula]:
        """Variables with a value that suits all that still asks for them."""
        masks: dict[str, int] = {}
        todo: list[Formula] = [*waiting]
        while todo:
            self.taken += 1
            match todo.pop():
                case Literal(variable, mask):
                    known = masks.get(variable, domain.get(variable, self._full[variable]))
                    masks[variable] = known & mask
                case group:
                    todo += group.parts
        return [Literal(variable, mask) for variable, mask in masks.items() if mask]

    def _under(self, domain: Mapping[str, int], of: Formula) -> Formula | None:
        """A formula without what is settled: ALWAYS where all of it holds, None where it cannot."""
        self.taken += 1
        if self.taken > self._steps:
            raise _TooLongError
        match of:
            case Literal(variable, mask):
                known = domain.get(variable, self._full[variable])
                return None if not known & mask else of if known & ~mask else ALWAYS
            case Every(parts):
                kept: list[Formula] = []
                for part in parts:
                    less = self._under(domain, part)
                    if less is None:
                        return None
                    if less != ALWAYS:
                        kept.append(less)
                return kept[0] if len(kept) == 1 else Every(tuple(kept))
            case _:
                kept = []
                for part in of.parts:
                    less = self._under(domain, part)
                    if less == ALWAYS:
                        return ALWAYS
                    if less is not None:
                        kept.append(less)
                if not kept:
                    return None
                return kept[0] if len(kept) == 1 else Some(tuple(kept))
