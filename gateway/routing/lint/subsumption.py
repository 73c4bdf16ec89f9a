"""Which conditions can never hold together, and which follow from others.

A case is what some conditions leave of each property of a call: `{"turns": 3 and more, "stream":
True}`. `impossible` starts with one case that allows every call. Each condition makes the cases
narrower; `any` makes one case of each of its parts. A case in which a property has no value left
goes. Where no case is left, no call matches.

The verdict "impossible" is certain. The check does not find all that is impossible:

- It knows a pattern and a CEL expression by their text alone. It does not see that every text with
  one pattern has another, too.
- It relates no two properties, but these: a keyword needs tokens, a tool's name needs a tool, a key
  limits the tags, a guard sets tags. It does not compare `user_tokens` with `prompt_tokens`, or the
  hours of two time zones.
- It does not intersect two names with `*`: `a*` and `*b` may meet.
- Of several rules that cover another together, each must leave one case of it at most.
- It makes 32 cases at most, and splits 100,000 times: of conditions with very many alternatives it
  finds less.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple, get_args

from gateway.core.call import Key
from gateway.core.conversation import Kind
from gateway.routing.rules.patterns import everywhere, found, glob, unspaced
from gateway.settings.schema.rules import LANGUAGES, GuardPart, RangePart, WhenPart

_COUNTS = ("user_tokens", "prompt_tokens", "turns", "tools", "images", "files", "audio")
_SHARES = ("code", "maths")
_NAMES = ("asked", "key", "client", "task")
"""Texts of which a call has one each."""
_WORDS = ("keywords", "tool_names", "tag", *_NAMES)
_MOST = 2**62
"""More than any count."""
_MOST_CASES = 32
_STEPS = 100_000
_LETTER = "\ua66e"
"""A letter that hardly any word has."""
_BYTES_A_TOKEN = 4


@dataclass(frozen=True)
class Spans:
    """Numbers from each first to each last, both included."""

    spans: tuple[tuple[float, float], ...]
    whole: bool = True
    """True if only whole numbers count."""

    def __bool__(self) -> bool:
        """Return True if there are any."""
        return bool(self.spans)

    def __and__(self, other: "Spans") -> "Spans":
        """Return the numbers that both have."""
        pairs = ((max(a, c), min(b, d)) for a, b in self.spans for c, d in other.spans)
        return Spans(tuple(pair for pair in pairs if pair[0] <= pair[1]), self.whole)

    def __sub__(self, other: "Spans") -> "Spans":
        """Return the numbers that the other does not have."""
        left = self
        for low, high in other.spans:
            before = low - 1 if self.whole else math.nextafter(low, -math.inf)
            after = high + 1 if self.whole else math.nextafter(high, math.inf)
            left &= Spans(((-math.inf, before), (after, math.inf)))
        return left


_WEEK = Spans(((0, 7 * 86_400 - 1),))
"""Its seconds."""
_YES = frozenset({True})
_EITHER = frozenset({True, False})


class Words(NamedTuple):
    """The call has one word of each group in `wanted`, and none in `barred`."""

    wanted: frozenset[frozenset[str]] = frozenset()
    barred: frozenset[str] = frozenset()


type Case = Mapping[str, Any]
"""By property: a frozenset of values, Spans, or Words. A property that is not there is free."""
type Split = Callable[[list[Case]], list[Case]]


class Subsumption:
    """What is impossible with some keys, and with the tags that guards set."""

    def __init__(
        self,
        dialects: Collection[str],
        keys: Sequence[Key] | None = None,
        guards: Sequence[GuardPart] = (),
        *,
        settled: bool = False,
    ) -> None:
        """`keys` are all that there are; None where any may call.

        `settled` is for calls whose tags no guard will change any more, as choices see them.
        """
        self._keys = keys
        self._guards = guards if settled else ()
        self._steps = _STEPS
        self._set = {tag for guard in guards for tag in guard.tag or ()}
        self._domains: dict[str, Any] = {
            **dict.fromkeys(_COUNTS, Spans(((0, _MOST),))),
            **dict.fromkeys(_SHARES, Spans(((0, 1),), whole=False)),
            "dialect": frozenset(dialects),
            "language": frozenset(LANGUAGES),
            "turn": frozenset(get_args(Kind.__value__)),
            "key": frozenset(key.name for key in keys or ()),
        }

    def impossible(self, *whens: WhenPart, but: Iterable[WhenPart] = ()) -> bool:
        """Return True if no call matches all of `whens` and none of `but`."""
        cases: list[Case] = [{}]
        for when in whens:
            cases = self._narrow(cases, when)
        for when in but:
            split = [(case, self._narrow([case], when, holds=False)) for case in cases]
            cases = [one for case, left in split for one in (left if len(left) < 2 else [case])]
        return not cases

    def implies(self, when: WhenPart, other: WhenPart) -> bool:
        """Return True if the other matches whenever the first does."""
        return self.impossible(when, but=[other])

    def _narrow(self, cases: list[Case], when: WhenPart, *, holds: bool = True) -> list[Case]:
        """Return what is left of cases where a condition holds, or does not."""
        ways = [partial(self._part, name, part, holds) for name, part in when if part is not None]
        return _each(cases, ways) if holds else self._either(cases, ways)

    def _part(self, name: str, part: Any, holds: bool, cases: list[Case]) -> list[Case]:  # noqa: FBT001
        if name == "not_":
            return self._narrow(cases, part, holds=not holds)
        if name in {"any", "all"}:
            ways = [lambda some, one=one: self._narrow(some, one, holds=holds) for one in part]
            return _each(cases, ways) if (name == "all") is holds else self._either(cases, ways)
        if name in _WORDS and not (name == "key" and self._keys is not None):
            words = frozenset(
                " ".join(word.split()) if name == "keywords" else word for word in part
            )
            return [one for case in cases for one in self._words(case, name, words, holds=holds)]
        name, domain, values = self._values(name, part)
        return _bounded(cases, name, domain, values & domain if holds else domain - values)

    def _values(self, name: str, part: Any) -> tuple[str, Any, Any]:
        """Return a property, all values that it may have, and those that a condition allows."""
        domain = self._domains.get(name, _EITHER)
        if isinstance(part, RangePart):
            ((first, last),) = domain.spans
            low = first if part.min is None else part.min
            high = last if part.max is None else part.max
            ends = (math.ceil(low), math.floor(high)) if domain.whole else (low, high)
            return name, domain, Spans((ends,), domain.whole)
        if name == "time":
            spans = tuple((start, end - 1) for start, end in part.spans)
            return f"time {part.zone}", _WEEK, Spans(spans)
        if name == "key":
            return name, domain, frozenset(filter(glob(part), domain))
        if name in {"matches", "cel"}:
            always = name == "matches" and everywhere(part)
            return f"{name} {part}", _YES if always else _EITHER, _YES
        return name, domain, frozenset(part if isinstance(part, list) else [part])

    def _either(self, cases: list[Case], ways: Sequence[Split]) -> list[Case]:
        """Narrow cases in one of these ways; leave them as they are where that makes too many."""
        left: list[Case] = []
        for case in cases:
            self._steps -= len(ways)
            split = [one for way in ways for one in way([case])]
            left += [case] if case in split else split
            if len(left) > _MOST_CASES or self._steps < 0:
                return cases
        return left

    def _words(self, case: Case, name: str, words: frozenset[str], *, holds: bool) -> list[Case]:
        """Return what is left of a case where a call has one of these words, or none."""
        known: Words = case.get(name, Words())
        wanted = known.wanted | {words} if holds else known.wanted
        barred = known.barred if holds else known.barred | words
        groups = _left(name, wanted, barred)
        if not all(groups) or (name in _NAMES and _all_of(barred)):
            return []
        narrow = {**case, name: Words(groups, barred)}
        if narrow == case:
            return [case]
        cases: list[Case] = [narrow]
        for other, values in self._needs(name, groups, barred):
            cases = _bounded(cases, other, self._domains[other], values)
        if name == "tag" and not holds:
            for guard in self._guards:
                if not words.isdisjoint(guard.tag or ()):
                    cases = self._narrow(cases, guard.when, holds=False)
        return cases

    def _needs(
        self, name: str, groups: frozenset[frozenset[str]], barred: frozenset[str]
    ) -> Iterator[tuple[str, Any]]:
        """Yield what words ask of other properties."""
        if name == "keywords":
            for group in groups:
                yield "user_tokens", Spans(((min(map(_least, group)), _MOST),))
        if name == "tool_names":
            if groups:
                yield "tools", Spans(((1, _MOST),))
            if _all_of(barred):
                yield "tools", Spans(((0, 0),))
        if name == "tag" and self._keys is not None:
            for group in groups:
                if self._set.isdisjoint(group):
                    may = (key for key in self._keys if any(may_set(key, tag) for tag in group))
                    yield "key", frozenset(key.name for key in may)
            yield "key", frozenset(key.name for key in self._keys if barred.isdisjoint(key.tags))


def may_set(key: Key, tag: str) -> bool:
    """Return True if calls of a key may have a tag that no guard sets."""
    return tag in key.tags or key.allowed_tags is None or tag in key.allowed_tags


def _each(cases: list[Case], ways: Iterable[Split]) -> list[Case]:
    """Narrow cases in all of these ways."""
    for way in ways:
        cases = way(cases)
    return cases


def _bounded(cases: list[Case], name: str, domain: Any, values: Any) -> list[Case]:
    found = ((case, case.get(name, domain) & values) for case in cases)
    return [{**case, name: left} for case, left in found if left]


@lru_cache(1024)
def _left(
    name: str, groups: frozenset[frozenset[str]], barred: frozenset[str]
) -> frozenset[frozenset[str]]:
    """Return groups without what is barred, and without names that another group does not have."""
    folded = [(bar, bar.casefold()) for bar in barred]
    stars = glob([bar for bar in barred if "*" in bar])

    def taken(word: str) -> bool:
        """Return True if whatever has this word has one that is barred, too."""
        if name == "keywords":
            text = word.casefold()
            return any(short in text and _has(word, bar) for bar, short in folded)
        return name != "tag" and stars(word.replace("*", "\0"))  # only a * takes in the sign

    left = [[word for word in group - barred if not taken(word)] for group in groups]
    if name in _NAMES:
        fits = [glob(group) for group in left]
        left = [[w for w in group if "*" in w or all(fit(w) for fit in fits)] for group in left]
    return frozenset(map(frozenset, left))


def _all_of(names: Iterable[str]) -> bool:
    """Return True if these take in every name."""
    return not all(name.strip("*") for name in names)


@lru_cache(4096)
def _has(word: str, other: str) -> bool:
    """Return True if every text with a word or phrase has another, that stands in it as letters."""
    if _LETTER in other:
        return False
    # A word without edges may stand inside another: what is around it is no edge.
    return found(other, f"{_LETTER}{word}{_LETTER}" if unspaced(word) else word)


def _least(word: str) -> int:
    """Return how many tokens a text with a word has at least: each letter is a byte or more."""
    return -(-len(word) // _BYTES_A_TOKEN)
