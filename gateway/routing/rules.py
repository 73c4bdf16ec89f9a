"""Rules as functions: guards bound every decision, the first choice that matches decides.

Conditions are compiled once. All patterns of all rules are one RE2 set: a call's text is searched
once, when the first rule asks for it, in time linear in the text whatever the patterns are.
"""

import re
from collections.abc import Callable, Container, Iterable, Sequence

import msgspec
import re2

from gateway.core.call import Complete
from gateway.core.evidence import NOTHING, Evidence
from gateway.core.target import Tier
from gateway.routing import meaning
from gateway.routing.features import Features
from gateway.routing.pattern import Patterns, together
from gateway.settings.rule import ChoicePart, GuardPart, Range, When

type Test = Callable[[View], bool]
"""Whether a condition holds for a call."""

_CASELESS = re2.Options()
_CASELESS.case_sensitive = False
_CASELESS.log_errors = False
_CASELESS.max_mem = 64_000_000
"""Bytes that all patterns and their search may take; repetitions of classes are what is large."""
_SCRIPTS = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff"
"""Thai, Lao, Japanese and Chinese: written without spaces, so that their words have no edges."""
_UNSPACED = re.compile(f"[{_SCRIPTS}]")
_EDGE = rf"(?:[^\pL\pM\pN_]|[{_SCRIPTS}])"


class View:
    """A call as rules look at it: features, evidence, tags, and the patterns its text has."""

    __slots__ = ("_hits", "_patterns", "call", "evidence", "tags")

    def __init__(
        self, call: Features, patterns: Patterns | None = None, evidence: Evidence = NOTHING
    ) -> None:
        self.call = call
        self.evidence = evidence
        self.tags: frozenset[str] = frozenset()
        """Its own and those that guards gave it; `bound` puts them here."""
        self._patterns = patterns
        self._hits: Container[int] | None = None

    def has(self, pattern: int) -> bool:
        """Whether the last user turn has the pattern of this number."""
        if self._hits is None:
            self._hits = () if self._patterns is None else self.call.hits(self._patterns)
        return pattern in self._hits


class RuleError(ValueError):
    """A condition that cannot be compiled; `path` says where in the rule."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path
        self.every: tuple[RuleError, ...] = (self,)
        """Itself, and all the others of the same rules."""


class Guard(msgspec.Struct, frozen=True):
    """A compiled guard."""

    name: str
    test: Test
    part: GuardPart
    hash: str
    """Of its conditions alone: what an outcome is known by."""


class Choice(msgspec.Struct, frozen=True):
    """A compiled choice."""

    name: str
    test: Test
    tier: Tier | None
    lab: str | None
    model: str | None
    complete: Complete | None
    hash: str
    """Of its conditions alone: what an outcome is known by."""


class Rules(msgspec.Struct, frozen=True):
    """All rules of a configuration, in the order they are written."""

    guards: tuple[Guard, ...] = ()
    choices: tuple[Choice, ...] = ()
    patterns: Patterns | None = None

    def view(self, call: Features, evidence: Evidence = NOTHING) -> View:
        """A call as these rules look at it."""
        return View(call, self.patterns, evidence)


def compile_rules(guards: Sequence[GuardPart], choices: Sequence[ChoicePart]) -> Rules:
    """Compile rules. Raises RuleError for the patterns that RE2 does not accept, all of them."""
    patterns = _Patterns()
    bounds = tuple(
        Guard(
            part.name,
            _test(part.when, ("guards", at, "when"), patterns),
            part,
            meaning.digest(part.when),
        )
        for at, part in enumerate(guards)
    )
    decided = tuple(
        Choice(
            part.name,
            _test(part.when, ("choices", at, "when"), patterns),
            part.tier,
            part.lab,
            part.model,
            part.complete,
            meaning.digest(part.when),
        )
        for at, part in enumerate(choices)
    )
    return Rules(bounds, decided, patterns.compiled())


type _Path = tuple[str | int, ...]


class _Patterns:
    """The patterns of all rules, each by its number."""

    def __init__(self) -> None:
        self._set = re2.Set.SearchSet(_CASELESS)
        self._texts: list[str] = []
        self._wrong: list[RuleError] = []

    def search(self, pattern: str, path: _Path) -> Test:
        try:
            re2.compile(pattern, _CASELESS)  # a set does not say what is wrong
            number = self._set.Add(pattern)
            self._texts.append(pattern)
        except re2.error as error:
            reason = error.args[0] if error.args else "not a pattern"
            text = reason.decode() if isinstance(reason, bytes) else str(reason)
            message = f"{pattern!r} is not a regular expression: {text}"
            self._wrong.append(RuleError(path, message))
            number = -1
        return lambda view: view.has(number)

    def compiled(self) -> Patterns | None:
        """All of them as one, None where there are none. Raises RuleError."""
        if self._wrong:
            first = self._wrong[0]
            first.every = tuple(self._wrong)
            raise first
        if not self._texts:
            return None
        try:
            self._set.Compile()
        except re2.error:
            message = (
                "the patterns of all rules are too large together: "
                "repeat less, as `.{0,40}` in place of `.{0,1000}`"
            )
            raise RuleError((), message) from None
        return together(self._set.Match, self._texts)


def _test(when: When, path: _Path, patterns: _Patterns) -> Test:
    tests = list(_tests(when, path, patterns))
    return tests[0] if len(tests) == 1 else _every(tests)


def _every(tests: Sequence[Test]) -> Test:
    def test(view: View) -> bool:
        for one in tests:  # noqa: SIM110 - a generator would cost more than most tests
            if not one(view):
                return False
        return True

    return test


def _some(tests: Sequence[Test]) -> Test:
    def test(view: View) -> bool:
        for one in tests:  # noqa: SIM110 - as above
            if one(view):
                return True
        return False

    return test


def _tests(when: When, path: _Path, patterns: _Patterns) -> Iterable[Test]:
    """Cheap tests first: what only reads a number or a flag, then patterns, then groups."""
    yield from _numbers(when)
    yield from _flags(when)
    yield from _names(when)
    if when.keywords is not None:
        yield patterns.search(_words(when.keywords), (*path, "keywords"))
    if when.matches is not None:
        yield patterns.search(when.matches, (*path, "matches"))
    if when.any is not None:
        some = [_test(item, (*path, "any", at), patterns) for at, item in enumerate(when.any)]
        yield _some(some)
    if when.all is not None:
        every = [_test(item, (*path, "all", at), patterns) for at, item in enumerate(when.all)]
        yield _every(every)
    if when.not_ is not None:
        inner = _test(when.not_, (*path, "not"), patterns)
        yield lambda view: not inner(view)


def _numbers(when: When) -> Iterable[Test]:
    if when.user_tokens is not None:
        yield _between(when.user_tokens, lambda call: call.user_tokens)
    if when.prompt_tokens is not None:
        yield _between(when.prompt_tokens, lambda call: call.prompt_tokens)
    if when.turns is not None:
        yield _between(when.turns, lambda call: call.prompt.user_turns)
    if when.code is not None:
        yield _between(when.code, lambda call: call.scan.code)
    if when.maths is not None:
        yield _between(when.maths, lambda call: call.scan.maths)


def _between(limits: Range, read: Callable[[Features], float]) -> Test:
    low = float("-inf") if limits.min is None else limits.min
    high = float("inf") if limits.max is None else limits.max
    return lambda view: low <= read(view.call) <= high


def _flags(when: When) -> Iterable[Test]:
    if (tools := when.tools) is not None:
        yield lambda view: bool(view.call.prompt.tools) is tools
    if (loop := when.tool_loop) is not None:
        yield lambda view: view.call.prompt.tool_loop is loop
    if (images := when.images) is not None:
        yield lambda view: (view.call.prompt.images > 0) is images
    if (schema := when.json_schema) is not None:
        yield lambda view: view.call.prompt.json_schema is schema
    if (stream := when.stream) is not None:
        yield lambda view: view.call.prompt.stream is stream


def _names(when: When) -> Iterable[Test]:
    if when.tool_names is not None:
        wanted = frozenset(when.tool_names)
        yield lambda view: not wanted.isdisjoint(view.call.prompt.tools)
    if when.dialect is not None:
        dialects = frozenset(when.dialect)
        yield lambda view: view.call.dialect in dialects
    if when.asked is not None:
        asked = frozenset(when.asked)
        yield lambda view: view.call.prompt.model in asked
    if when.key is not None:
        keys = frozenset(when.key)
        yield lambda view: view.call.key.name in keys
    if when.tag is not None:
        some = frozenset(when.tag)
        yield lambda view: not some.isdisjoint(view.tags)


def _words(words: Iterable[str]) -> str:
    """A pattern for any of these words, whole; scripts without spaces have no word edges."""
    spaced = [_spelt(word) for word in words if _UNSPACED.search(word) is None]
    loose = [_spelt(word) for word in words if _UNSPACED.search(word) is not None]
    whole = [rf"(?:^|{_EDGE})(?:{'|'.join(spaced)})(?:{_EDGE}|$)"] if spaced else []
    return "|".join([*whole, *loose])


def _spelt(word: str) -> str:
    """A word or phrase as it stands in a text, where a line may end inside it."""
    return r"\s+".join(re2.escape(part) for part in word.split())
