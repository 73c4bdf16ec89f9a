"""Which conditions can never hold together, and which follow from others.

A case is what some conditions leave of each property of a call: `{"turns": 3 and more, "stream":
True}`. `is_impossible` starts with one case that allows every call. Each condition makes the cases
narrower; `any` makes one case of each of its parts. The check drops a case in which a property has
no value left. If no case is left, no call matches.

The verdict "impossible" is certain. The check does not find everything that is impossible:

- It knows a pattern and a CEL expression only by their text. It does not see that every text with
  one pattern has another, too.
- It relates only these properties: a keyword needs tokens, a tool's name needs a tool, a key limits
  the tags, a guard sets tags. It does not compare `user_tokens` with `prompt_tokens`, or the hours
  of two time zones.
- It does not intersect two names with `*`: `a*` and `*b` may meet.
- If several rules cover another one together, each must leave at most one case of it.
- It makes at most 32 cases, and splits at most 100,000 times. For conditions with very many
  alternatives it finds less.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple, get_args

from gateway.core.call import Key
from gateway.core.conversation import CallKind
from gateway.routing.rules.patterns import (
    compile_glob,
    contains_keyword,
    is_unspaced,
    matches_every_text,
)
from gateway.settings.schema.rules import LANGUAGES, GuardPart, RangePart, WhenPart

_COUNT_PROPERTIES = ("user_tokens", "prompt_tokens", "turns", "tools", "images", "files", "audio")
_FRACTION_PROPERTIES = ("code", "maths")
_SCORE_PROPERTIES = ("need", "confidence")
"""Properties that are numbers of the classifier's score, which not every turn has."""
_OPAQUE_PROPERTIES = frozenset(
    {"matches", "cel", "system_keywords", "system_matches", "effort", "metadata", "user"}
)
"""Properties that the check compares only by their text."""
_ABSENT = -math.inf
"""The value in place of a number that a call lacks, so that no range includes it."""
_NAME_PROPERTIES = ("asked", "key", "client", "task")
"""Properties of which each call has exactly one text."""
_WORD_PROPERTIES = ("keywords", "tool_names", "tag", "evidence", *_NAME_PROPERTIES)
_MAX_COUNT = 2**62
"""A number above any count."""
_MAX_CASES = 32
_MAX_STEPS = 100_000
_RARE_LETTER = "\ua66e"
"""A letter that hardly any word has."""
_BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class Spans:
    """Ranges of numbers, each from a first to a last number, both included."""

    spans: tuple[tuple[float, float], ...]
    is_integral: bool = True
    """True if only whole numbers count."""

    def __bool__(self) -> bool:
        """Return True if there is any number."""
        return bool(self.spans)

    def __and__(self, other: "Spans") -> "Spans":
        """Return the numbers that are in both."""
        pairs = ((max(a, c), min(b, d)) for a, b in self.spans for c, d in other.spans)
        return Spans(tuple(pair for pair in pairs if pair[0] <= pair[1]), self.is_integral)

    def __sub__(self, other: "Spans") -> "Spans":
        """Return the numbers that are not in the other."""
        remaining = self
        for low, high in other.spans:
            low_end = low - 1 if self.is_integral else math.nextafter(low, -math.inf)
            high_start = high + 1 if self.is_integral else math.nextafter(high, math.inf)
            remaining &= Spans(((-math.inf, low_end), (high_start, math.inf)))
        return remaining


_WEEK_SECONDS = Spans(((0, 7 * 86_400 - 1),))
"""The seconds of a week."""
_TRUE_ONLY = frozenset({True})
_TRUE_OR_FALSE = frozenset({True, False})


class Words(NamedTuple):
    """A call with one word of each group in `required_groups`, and no word in `forbidden`."""

    required_groups: frozenset[frozenset[str]] = frozenset()
    forbidden: frozenset[str] = frozenset()


type Case = Mapping[str, Any]
"""The allowed values by property: a frozenset, Spans or Words. An absent property may have any
value."""
type Narrowing = Callable[[list[Case]], list[Case]]


class Subsumption:
    """Finds what is impossible with some keys, and with the tags that guards set."""

    def __init__(
        self,
        dialects: Collection[str],
        keys: Sequence[Key] | None = None,
        guards: Sequence[GuardPart] = (),
        *,
        are_tags_settled: bool = False,
    ) -> None:
        """`keys` are all keys; None if any key may call.

        Set `are_tags_settled` for calls whose tags no guard will change any more, as choices see
        them.
        """
        self._keys = keys
        self._guards = guards if are_tags_settled else ()
        self._steps_left = _MAX_STEPS
        self._guard_tags = {tag for guard in guards for tag in guard.tag or ()}
        self._domains: dict[str, Any] = {
            **dict.fromkeys(_COUNT_PROPERTIES, Spans(((0, _MAX_COUNT),))),
            **dict.fromkeys(_FRACTION_PROPERTIES, Spans(((0, 1),), is_integral=False)),
            **dict.fromkeys(
                _SCORE_PROPERTIES, Spans(((_ABSENT, _ABSENT), (0, 1)), is_integral=False)
            ),
            "max_tokens": Spans(((_ABSENT, _ABSENT), (-_MAX_COUNT, _MAX_COUNT))),
            "temperature": Spans(
                ((_ABSENT, _ABSENT), (-_MAX_COUNT, _MAX_COUNT)), is_integral=False
            ),
            "dialect": frozenset(dialects),
            "language": frozenset(LANGUAGES),
            "kind": frozenset(get_args(CallKind.__value__)),
            "key": frozenset(key.name for key in keys or ()),
        }

    def is_impossible(self, *conditions: WhenPart, excluding: Iterable[WhenPart] = ()) -> bool:
        """Return True if no call matches all of `conditions` and none of `excluding`."""
        cases: list[Case] = [{}]
        for condition in conditions:
            cases = self._narrow(cases, condition)
        for condition in excluding:
            split_cases = [(case, self._narrow([case], condition, holds=False)) for case in cases]
            cases = [
                narrowed
                for case, remaining in split_cases
                for narrowed in (remaining if len(remaining) < 2 else [case])
            ]
        return not cases

    def implies(self, condition: WhenPart, implied: WhenPart) -> bool:
        """Return True if every call that matches `condition` matches `implied`, too."""
        return self.is_impossible(condition, excluding=[implied])

    def _narrow(self, cases: list[Case], condition: WhenPart, *, holds: bool = True) -> list[Case]:
        """Return the part of the cases in which a condition holds, or does not hold."""
        narrowings = [
            partial(self._narrow_property, name, value, holds)
            for name, value in condition
            if value is not None
        ]
        return _narrow_all(cases, narrowings) if holds else self._narrow_any(cases, narrowings)

    def _narrow_property(self, name: str, value: Any, holds: bool, cases: list[Case]) -> list[Case]:  # noqa: FBT001
        if name == "traffic":
            return cases  # each rule has a part of its own, so two parts never exclude each other
        if name == "not_":
            return self._narrow(cases, value, holds=not holds)
        if name in {"any", "all"}:
            narrowings = [
                lambda subset, item=item: self._narrow(subset, item, holds=holds) for item in value
            ]
            return (
                _narrow_all(cases, narrowings)
                if (name == "all") is holds
                else self._narrow_any(cases, narrowings)
            )
        if name in _WORD_PROPERTIES and not (name == "key" and self._keys is not None):
            words = frozenset(
                " ".join(word.split()) if name == "keywords" else word for word in value
            )
            return [
                item
                for case in cases
                for item in self._narrow_words(case, name, words, holds=holds)
            ]
        name, domain, values = self._get_values(name, value)
        return _intersect(cases, name, domain, values & domain if holds else domain - values)

    def _get_values(self, name: str, value: Any) -> tuple[str, Any, Any]:
        """Return a property, its possible values, and the values that a condition allows."""
        domain = self._domains.get(name, _TRUE_OR_FALSE)
        if isinstance(value, RangePart):
            first, last = domain.spans[-1]  # an earlier span is for a missing number
            low = first if value.min is None else value.min
            high = last if value.max is None else value.max
            ends = (math.ceil(low), math.floor(high)) if domain.is_integral else (low, high)
            return name, domain, Spans((ends,), domain.is_integral)
        if name == "time":
            spans = tuple((start, end - 1) for start, end in value.week_spans)
            return f"time {value.zone}", _WEEK_SECONDS, Spans(spans)
        if name == "key":
            return name, domain, frozenset(filter(compile_glob(value), domain))
        if name in _OPAQUE_PROPERTIES:
            is_always_true = name == "matches" and matches_every_text(value)
            return f"{name} {value}", _TRUE_ONLY if is_always_true else _TRUE_OR_FALSE, _TRUE_ONLY
        return name, domain, frozenset(value if isinstance(value, list) else [value])

    def _narrow_any(self, cases: list[Case], narrowings: Sequence[Narrowing]) -> list[Case]:
        """Return the cases under any of these narrowings; all cases if they become too many."""
        narrowed_cases: list[Case] = []
        for case in cases:
            self._steps_left -= len(narrowings)
            split_cases = [narrowed for narrowing in narrowings for narrowed in narrowing([case])]
            narrowed_cases += [case] if case in split_cases else split_cases
            if len(narrowed_cases) > _MAX_CASES or self._steps_left < 0:
                return cases
        return narrowed_cases

    def _narrow_words(
        self, case: Case, name: str, words: frozenset[str], *, holds: bool
    ) -> list[Case]:
        """Return the part of a case in which a call has one of these words, or none of them."""
        current: Words = case.get(name, Words())
        required_groups = current.required_groups | {words} if holds else current.required_groups
        forbidden = current.forbidden if holds else current.forbidden | words
        groups = _reduce_groups(name, required_groups, forbidden)
        if not all(groups) or (name in _NAME_PROPERTIES and _covers_all_names(forbidden)):
            return []
        narrowed = {**case, name: Words(groups, forbidden)}
        if narrowed == case:
            return [case]
        cases: list[Case] = [narrowed]
        for property_name, values in self._derive_bounds(name, groups, forbidden):
            cases = _intersect(cases, property_name, self._domains[property_name], values)
        if name == "tag" and not holds:
            for guard in self._guards:
                if not words.isdisjoint(guard.tag or ()):
                    cases = self._narrow(cases, guard.when, holds=False)
        return cases

    def _derive_bounds(
        self, name: str, groups: frozenset[frozenset[str]], forbidden: frozenset[str]
    ) -> Iterator[tuple[str, Any]]:
        """Yield the bounds on other properties that follow from words."""
        if name == "keywords":
            for group in groups:
                yield "user_tokens", Spans(((min(map(_count_min_tokens, group)), _MAX_COUNT),))
        if name == "tool_names":
            if groups:
                yield "tools", Spans(((1, _MAX_COUNT),))
            if _covers_all_names(forbidden):
                yield "tools", Spans(((0, 0),))
        if name == "tag" and self._keys is not None:
            for group in groups:
                if self._guard_tags.isdisjoint(group):
                    allowed_keys = (
                        key for key in self._keys if any(may_set(key, tag) for tag in group)
                    )
                    yield "key", frozenset(key.name for key in allowed_keys)
            yield "key", frozenset(key.name for key in self._keys if forbidden.isdisjoint(key.tags))


def may_set(key: Key, tag: str) -> bool:
    """Return True if calls of a key may have a tag that no guard sets."""
    return tag in key.tags or key.allowed_tags is None or tag in key.allowed_tags


def _narrow_all(cases: list[Case], narrowings: Iterable[Narrowing]) -> list[Case]:
    """Return the cases under all of these narrowings, one after another."""
    for narrowing in narrowings:
        cases = narrowing(cases)
    return cases


def _intersect(cases: list[Case], name: str, domain: Any, values: Any) -> list[Case]:
    intersections = ((case, case.get(name, domain) & values) for case in cases)
    return [{**case, name: remaining} for case, remaining in intersections if remaining]


@lru_cache(1024)
def _reduce_groups(
    name: str, groups: frozenset[frozenset[str]], forbidden: frozenset[str]
) -> frozenset[frozenset[str]]:
    """Return groups without forbidden words, and without names that another group lacks."""
    folded_words = [(forbidden_word, forbidden_word.casefold()) for forbidden_word in forbidden]
    matches_wildcard = compile_glob(
        [forbidden_word for forbidden_word in forbidden if "*" in forbidden_word]
    )

    def is_covered(word: str) -> bool:
        """Return True if every text with this word has a forbidden word, too."""
        if name == "keywords":
            text = word.casefold()
            return any(
                folded_word in text and _always_contains(word, forbidden_word)
                for forbidden_word, folded_word in folded_words
            )
        return name not in ("tag", "evidence") and matches_wildcard(
            word.replace("*", "\0")
        )  # only a * matches the NUL

    reduced_groups = [
        [word for word in group - forbidden if not is_covered(word)] for group in groups
    ]
    if name in _NAME_PROPERTIES:
        matchers = [compile_glob(group) for group in reduced_groups]
        reduced_groups = [
            [
                group_word
                for group_word in group
                if "*" in group_word or all(matches(group_word) for matches in matchers)
            ]
            for group in reduced_groups
        ]
    return frozenset(map(frozenset, reduced_groups))


def _covers_all_names(names: Iterable[str]) -> bool:
    """Return True if these patterns match every name between them."""
    return not all(name.strip("*") for name in names)


@lru_cache(4096)
def _always_contains(word: str, contained: str) -> bool:
    """Return True if every text with a word or phrase also has another one inside it."""
    if _RARE_LETTER in contained:
        return False
    # A word of a script without spaces may stand inside another word, so the letters around it give
    # no word edge.
    return contains_keyword(
        contained, f"{_RARE_LETTER}{word}{_RARE_LETTER}" if is_unspaced(word) else word
    )


def _count_min_tokens(word: str) -> int:
    """Return the minimum tokens of a text with a word: each letter is at least one byte."""
    return -(-len(word) // _BYTES_PER_TOKEN)
