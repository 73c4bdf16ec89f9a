"""Conditions as formulas: what can be known of all calls at once, before there is one.

What the formulas say of a call is true of it; of what they do not know (whether a text that has one
word has another, which hours two zones share) any combination is taken to be possible. So what is
impossible here never happens; what is possible here may still never happen.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import get_args

from gateway.core.call import Key
from gateway.core.turn import Kind
from gateway.routing.search import everywhere, found, glob, unspaced
from gateway.routing.solve import Every, Fact, Formula, Literal, Some, Space
from gateway.settings.mistake import Path
from gateway.settings.rule import LANGUAGES, GuardPart, Range, When
from gateway.settings.schema import Config

_COUNTS = ("user_tokens", "prompt_tokens", "turns", "tools", "images", "files", "audio")
_SHARES = ("code", "maths")
_FLAGS = ("tool_loop", "json_schema", "stream")
_NAMES = ("asked", "key", "client", "task")
_YES, _NO = 2, 1
_OTHER = "\0"
_LETTER = "\ua66e"
"""One that hardly any word has."""
_BYTES_A_TOKEN = 4
_KINDS: tuple[Kind, ...] = get_args(Kind.__value__)


class Theory:
    """What conditions may say, and the formulas of those that are given."""

    def __init__(
        self, whens: Iterable[When], dialects: Collection[str], keys: Sequence[Key] | None = None
    ) -> None:
        """`keys` are all that there are; None where any may call."""
        parts = [part for when in whens for _, part in inside((), when)]
        self._keys = keys
        self._full: dict[str, int] = {}
        self._cells: dict[str, list[tuple[float, float]]] = {}
        self._values: dict[str, list[str]] = {
            "dialect": [*dialects], "language": [*LANGUAGES], "turn": [*_KINDS],
        }  # fmt: skip
        self._facts: list[Fact] = []
        self._numbers(parts)
        self._times(parts)
        for name in _FLAGS:
            self._full[name] = _YES | _NO
        for name in _NAMES:
            self._named(name, [word for part in parts for word in getattr(part, name) or ()])
        for name, values in self._values.items():
            self._full[name] = (1 << len(values)) - 1
        self._tools([word for part in parts for word in part.tool_names or ()])
        self._words([word for part in parts for word in part.keywords or ()])
        for part in parts:
            if part.matches is not None:
                self._flag(f"matches {part.matches}")
                if everywhere(part.matches):
                    self._facts.append(_fact(Literal(f"matches {part.matches}", _YES)))
            if part.cel is not None:
                self._flag(f"cel {part.cel}")
            for tag in part.tag or ():
                self._flag(f"tag {tag}")

    def space(self, guards: Sequence[GuardPart] = (), *, settled: bool = True) -> Space:
        """All variables and what holds of them, where these guards may set tags.

        `settled`: of calls whose tags no guard will change any more, as choices see them.
        """
        return Space(self._full, (*self._facts, *self._tags(guards, settled=settled)))

    def formula(self, when: When) -> Formula:
        """A condition. Raises KeyError for one that was not given at first."""
        return Every(tuple(formula for _, formula in self.items((), when)))

    def items(self, path: Path, when: When) -> Iterator[tuple[Path, Formula]]:
        """What must hold together, each with its place; groups of `all` are taken apart."""
        yield from self._plain(path, when)
        for name in _NAMES:
            if (names := getattr(when, name)) is not None:
                yield (*path, name), _any(self._name(name, one) for one in names)
        for name, kind in (("tool_names", "tool"), ("keywords", "word"), ("tag", "tag")):
            if (names := getattr(when, name)) is not None:
                forms = {_spelt(one) if kind == "word" else one for one in names}
                yield (*path, name), _any(Literal(f"{kind} {one}", _YES) for one in sorted(forms))
        for at, part in enumerate(when.all or ()):
            yield from self.items((*path, "all", at), part)
        if when.any is not None:
            yield (*path, "any"), _any(map(self.formula, when.any))
        if when.not_ is not None:
            yield (*path, "not"), Space(self._full).negation(self.formula(when.not_))

    def _plain(self, path: Path, when: When) -> Iterator[tuple[Path, Formula]]:
        """Conditions on one variable."""
        for name in (*_COUNTS, *_SHARES):
            if (limits := getattr(when, name)) is not None:
                low = -math.inf if limits.min is None else limits.min
                high = math.inf if limits.max is None else limits.max
                yield (*path, name), self._between(name, [(low, high)])
        for name in _FLAGS:
            if (flag := getattr(when, name)) is not None:
                yield (*path, name), Literal(name, _YES if flag else _NO)
        for name in ("dialect", "language", "turn"):
            if (names := getattr(when, name)) is not None:
                yield (*path, name), self._one_of(name, names)
        for name in ("matches", "cel"):
            if (text := getattr(when, name)) is not None:
                yield (*path, name), Literal(f"{name} {text}", _YES)
        if when.time is not None:
            spans = [(start, end - 1) for start, end in when.time.spans]
            yield (*path, "time"), self._between(f"time {when.time.zone}", spans)

    def _flag(self, name: str) -> None:
        self._full[name] = _YES | _NO

    # Numbers: cells between the bounds that some condition has.

    def _numbers(self, parts: Sequence[When]) -> None:
        for name in _COUNTS:
            cuts = {0.0, 1.0}
            for limits in _ranges(parts, name):
                cuts |= {float(math.ceil(b)) for b in (limits.min,) if b is not None and b > 0}
                cuts |= {
                    float(math.floor(b)) + 1 for b in (limits.max,) if b is not None and b >= 0
                }
            if name == "user_tokens":
                cuts |= {_least(word) for part in parts for word in part.keywords or ()}
            starts = sorted(cuts)
            self._put(
                name, [*zip(starts, [end - 1 for end in starts[1:]] + [math.inf], strict=True)]
            )
        for name in _SHARES:
            marks = {0.0, 1.0}
            for limits in _ranges(parts, name):
                marks |= {b for b in (limits.min, limits.max) if b is not None and 0 <= b <= 1}
            points = sorted(marks)
            cells = [(point, point) for point in points]
            # Between two points; its ends stand for what is just inside.
            cells += [
                (math.nextafter(low, 2), math.nextafter(high, -1)) for low, high in pairwise(points)
            ]
            self._put(name, cells)

    def _times(self, parts: Sequence[When]) -> None:
        cuts: dict[str, set[float]] = {}
        for part in parts:
            if part.time is not None:
                ends = {float(end) for span in part.time.spans for end in span}
                cuts.setdefault(part.time.zone, {0.0}).update(ends)
        for zone, ends in cuts.items():
            starts = sorted(ends - {7 * 86_400.0})
            ends_of = [end - 1 for end in starts[1:]] + [7 * 86_400.0 - 1]
            self._put(f"time {zone}", [*zip(starts, ends_of, strict=True)])

    def _put(self, name: str, cells: list[tuple[float, float]]) -> None:
        self._cells[name] = cells
        self._full[name] = (1 << len(cells)) - 1

    def _between(self, name: str, spans: Iterable[tuple[float, float]]) -> Literal:
        """In one of these spans, both ends included; no cell is in one of them in part."""
        within = [*spans]
        mask = sum(
            1 << at
            for at, (start, end) in enumerate(self._cells[name])
            if any(low <= start and end <= high for low, high in within)
        )
        return Literal(name, mask)

    # Names: a value for each that some condition has, and one for all others.

    def _named(self, name: str, words: Sequence[str]) -> None:
        if name == "key" and self._keys is not None:
            self._values[name] = [*dict.fromkeys(key.name for key in self._keys)]
            return
        stars = [*dict.fromkeys(word for word in words if "*" in word)]
        exact = dict.fromkeys(word for word in words if "*" not in word)
        self._values[name] = [*exact, _OTHER]
        for word in stars:
            self._flag(f"{name} {word}")
        self._facts += _implied(name, stars)

    def _one_of(self, name: str, words: Iterable[str]) -> Literal:
        values = self._values[name]
        return Literal(name, sum(1 << at for at, value in enumerate(values) if value in words))

    def _name(self, name: str, word: str) -> Formula:
        if "*" not in word:
            return self._one_of(name, [word])
        like = glob([word])
        values = self._values[name]
        known = self._one_of(name, [value for value in values if value != _OTHER and like(value)])
        if _OTHER not in values:
            return known
        other = Every((self._one_of(name, [_OTHER]), Literal(f"{name} {word}", _YES)))
        return Some((known, other))

    def _tools(self, words: Iterable[str]) -> None:
        names = [*dict.fromkeys(words)]
        some = self._between("tools", [(1, math.inf)])
        for name in names:
            self._flag(f"tool {name}")
            self._facts.append(_fact(Literal(f"tool {name}", _NO), some))
            if not name.strip("*"):
                none = self._between("tools", [(0, 0)])
                self._facts.append(_fact(Literal(f"tool {name}", _YES), none))
        self._facts += _implied("tool", names)

    def _words(self, words: Iterable[str]) -> None:
        """A text that has a phrase has the words in it, and is as long."""
        spelt = [*dict.fromkeys(map(_spelt, words))]
        for word in spelt:
            self._flag(f"word {word}")
            long = self._between("user_tokens", [(_least(word), math.inf)])
            about = frozenset({f"word {word}"})  # a length alone makes no word matter
            self._facts.append(Fact(Some((Literal(f"word {word}", _NO), long)), about))
        folded = [(word, word.casefold()) for word in spelt]
        for word, long_one in folded:
            for other, short in folded:
                if short in long_one and other != word and _has(word, other):
                    yes = Literal(f"word {other}", _YES)
                    self._facts.append(_fact(Literal(f"word {word}", _NO), yes))

    def _tags(self, guards: Sequence[GuardPart], *, settled: bool) -> Iterator[Fact]:
        """Who may set a tag, and who always does."""
        tags = [name.removeprefix("tag ") for name in self._full if name.startswith("tag ")]
        plain = Space(self._full)
        for tag in tags:
            yes, no = Literal(f"tag {tag}", _YES), Literal(f"tag {tag}", _NO)
            setting = [guard for guard in guards if tag in (guard.tag or ())]
            if settled:
                for guard in setting:
                    yield _fact(plain.negation(self.formula(guard.when)), yes)
            if self._keys is None:
                continue
            own = self._one_of("key", [key.name for key in self._keys if tag in key.tags])
            yield _fact(plain.negation(own), yes)
            if not setting:
                may = [key.name for key in self._keys if may_set(key, tag)]
                yield _fact(no, self._one_of("key", may))


def may_set(key: Key, tag: str) -> bool:
    """Whether calls of a key may have a tag that no guard sets."""
    return tag in key.tags or key.allowed_tags is None or tag in key.allowed_tags


def rules(config: Config) -> Iterator[tuple[Path, When]]:
    """The conditions of all rules, each with its place."""
    for at, guard in enumerate(config.guards):
        yield ("guards", at, "when"), guard.when
    for at, choice in enumerate(config.choices):
        yield ("choices", at, "when"), choice.when


def inside(path: Path, when: When) -> Iterator[tuple[Path, When]]:
    """A condition and all that stand inside it."""
    yield path, when
    for name, inner in (("any", when.any), ("all", when.all)):
        for at, item in enumerate(inner or ()):
            yield from inside((*path, name, at), item)
    if when.not_ is not None:
        yield from inside((*path, "not"), when.not_)


def _any(formulas: Iterable[Formula]) -> Formula:
    parts = tuple(formulas)
    return parts[0] if len(parts) == 1 else Some(parts)


def _ranges(parts: Iterable[When], name: str) -> Iterator[Range]:
    return (limits for part in parts if (limits := getattr(part, name)) is not None)


def _implied(name: str, words: Sequence[str]) -> Iterator[Fact]:
    """What has a name of one form has one of another that takes in the first."""
    for word in words:
        stand = word.replace("*", "\0")  # a sign that only a * takes
        for other in words:
            if other != word and "*" in other and glob([other])(stand):
                yield _fact(Literal(f"{name} {word}", _NO), Literal(f"{name} {other}", _YES))
    for word in words:
        if name != "tool" and not word.strip("*"):
            yield _fact(Literal(f"{name} {word}", _YES))


def _fact(*parts: Formula) -> Fact:
    """That one of these holds, of interest to whoever asks about any of its variables."""
    return Fact(Some(parts), frozenset(name for part in parts for name in _variables(part)))


def _variables(formula: Formula) -> Iterator[str]:
    if isinstance(formula, Literal):
        yield formula.variable
    else:
        for part in formula.parts:
            yield from _variables(part)


def _spelt(word: str) -> str:
    return " ".join(word.split())


def _least(word: str) -> float:
    """Tokens that a text with a word has at least: each letter is a byte or more."""
    return float(-(-len(_spelt(word)) // _BYTES_A_TOKEN))


def _has(word: str, other: str) -> bool:
    """Whether every text with a word or phrase has another, too, that stands in it as letters."""
    if _LETTER in other:
        return False
    # A word without edges may stand inside another: what is around it is no edge.
    return found(other, f"{_LETTER}{word}{_LETTER}" if unspaced(word) else word)
