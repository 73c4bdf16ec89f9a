"""Conditions as functions: compiled once, asked for every call, the cheap ones first."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from operator import attrgetter

from gateway.routing.errors import CelError
from gateway.routing.rules.context import RuleContext, Test
from gateway.routing.rules.patterns import Path, PatternPool, glob, words
from gateway.settings.schema.rules import RangePart, WhenPart
from gateway.settings.schema.schedule import TimePart


def compiled(when: WhenPart, path: Path, patterns: PatternPool, rule: str) -> Test:
    """Whether a condition holds. What cannot be compiled is told to `patterns`."""
    tests = list(_tests(when, path, patterns, rule))
    return tests[0] if len(tests) == 1 else _every(tests)


def _every(tests: Sequence[Test]) -> Test:
    if len(tests) == 2:
        first, second = tests
        return lambda view: first(view) and second(view)

    def test(view: RuleContext) -> bool:
        for one in tests:  # noqa: SIM110 - a generator would cost more than most tests
            if not one(view):
                return False
        return True

    return test


def _some(tests: Sequence[Test]) -> Test:
    def test(view: RuleContext) -> bool:
        for one in tests:  # noqa: SIM110 - as above
            if one(view):
                return True
        return False

    return test


def _tests(when: WhenPart, path: Path, patterns: PatternPool, rule: str) -> Iterable[Test]:
    """Cheap tests first: numbers, flags and names, then patterns, what words give away, groups."""
    yield from _numbers(when)
    yield from _flags(when)
    yield from _names(when)
    if when.time is not None:
        yield _within(when.time)
    if when.keywords is not None:
        yield _searched(patterns.add(words(when.keywords), (*path, "keywords")))
    if when.matches is not None:
        yield _searched(patterns.add(when.matches, (*path, "matches")))
    yield from _read(when)
    if when.any is not None:
        yield _some(
            [compiled(x, (*path, "any", n), patterns, rule) for n, x in enumerate(when.any)]
        )
    if when.all is not None:
        yield _every(
            [compiled(x, (*path, "all", n), patterns, rule) for n, x in enumerate(when.all)]
        )
    if when.not_ is not None:
        inner = compiled(when.not_, (*path, "not"), patterns, rule)
        yield lambda view: not inner(view)
    if when.cel is not None:
        yield _expression(when.cel, (*path, "cel"), patterns, rule)


_NUMBERS: tuple[tuple[str, Callable[[RuleContext], float]], ...] = (
    ("user_tokens", attrgetter("call.user_tokens")),
    ("prompt_tokens", attrgetter("call.prompt_tokens")),
    ("turns", attrgetter("call.prompt.user_turns")),
    ("tools", attrgetter("call.tools")),
    ("images", attrgetter("call.prompt.images")),
    ("files", attrgetter("call.prompt.files")),
    ("audio", attrgetter("call.prompt.audio")),
)
"""In C, as far as they go: a condition is asked for every call."""


def _numbers(when: WhenPart) -> Iterable[Test]:
    for name, read in _NUMBERS:
        limits: RangePart | None = getattr(when, name)
        if name == "tools" and limits in (RangePart(min=1), RangePart(max=0)):
            yield _offered(some=limits == RangePart(min=1))
        elif limits is not None:
            yield _between(limits, read)


def _offered(*, some: bool) -> Test:
    """Whether there are any tools, which needs no count."""
    return lambda view: bool(view.call.prompt.tools) is some


def _read(when: WhenPart) -> Iterable[Test]:
    """What the words of the last user turn give away."""
    if when.language is not None:
        languages = frozenset(when.language)
        yield lambda view: view.call.language in languages
    if when.code is not None:
        yield _between(when.code, attrgetter("call.scan.code"))
    if when.maths is not None:
        yield _between(when.maths, attrgetter("call.scan.maths"))


def _between(limits: RangePart, read: Callable[[RuleContext], float]) -> Test:
    low = -math.inf if limits.min is None else limits.min
    high = math.inf if limits.max is None else limits.max
    return lambda view: low <= read(view) <= high


def _flags(when: WhenPart) -> Iterable[Test]:
    if (loop := when.tool_loop) is not None:
        yield lambda view: view.call.prompt.tool_loop is loop
    if (schema := when.json_schema) is not None:
        yield lambda view: view.call.prompt.json_schema is schema
    if (stream := when.stream) is not None:
        yield lambda view: view.call.prompt.stream is stream


def _names(when: WhenPart) -> Iterable[Test]:
    if when.dialect is not None:
        dialects = frozenset(when.dialect)
        yield lambda view: view.call.dialect in dialects
    if when.turn is not None:
        turns = frozenset(when.turn)
        yield lambda view: view.call.turn.kind in turns
    if when.task is not None:
        yield _named(when.task, attrgetter("call.turn.task"))
    if when.client is not None:
        yield _named(when.client, attrgetter("call.turn.client"))
    if when.key is not None:
        yield _named(when.key, attrgetter("call.key.name"))
    if when.tag is not None:
        some = frozenset(when.tag)
        yield lambda view: not some.isdisjoint(view.tags)
    if when.asked is not None:
        yield _named(when.asked, attrgetter("call.prompt.model"))
    if when.tool_names is not None:
        wanted = frozenset(when.tool_names)
        if "*" in "".join(wanted):
            like = glob(wanted)
            yield lambda view: any(map(like, view.call.prompt.tools))
        else:
            yield lambda view: not wanted.isdisjoint(view.call.prompt.tools)


def _named(names: Sequence[str], read: Callable[[RuleContext], str]) -> Test:
    some = frozenset(names)
    if "*" in "".join(some):
        like = glob(some)
        return lambda view: like(read(view))
    return lambda view: read(view) in some


def _searched(number: int) -> Test:
    return lambda view: view.has(number)


def _within(time: TimePart) -> Test:
    zone, edges = time.zone, list[int]()
    for start, end in sorted(time.spans):
        if edges and start <= edges[-1]:
            edges[-1] = max(end, edges[-1])
        else:
            edges += (start, end)
    # Between the first edge and the second it holds, between the second and the third it does not.
    return lambda view: bisect_right(edges, view.time(zone)) % 2 == 1


def _expression(text: str, path: Path, patterns: PatternPool, rule: str) -> Test:
    if find_spec("cel_expr_python") is None:
        hint = "Install it: pip install 'tiergate[cel]'."
        patterns.refuse(path, "needs the extra `cel`", hint)
        return lambda _: False
    from gateway.routing.rules import cel  # noqa: PLC0415 - an extra

    try:
        return cel.compiled(text, rule)
    except CelError as error:
        patterns.refuse(path, str(error), error.hint)
        return lambda _: False
