"""Conditions as functions: compiled once, tested for every call, the cheap ones first."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from operator import attrgetter

from gateway.routing.classify import TurnAssessment
from gateway.routing.errors import CelError, ScoreError
from gateway.routing.rules.context import (
    RuleContext,
    Test,
    describe_missing_score,
    find_week_second,
)
from gateway.routing.rules.patterns import Path, PatternPool, compile_glob, make_word_pattern
from gateway.settings.schema.rules import RangePart, WhenPart
from gateway.settings.schema.schedule import TimePart


def compile_condition(condition: WhenPart, path: Path, patterns: PatternPool, rule: str) -> Test:
    """Return the test of a condition; add what cannot be compiled to the errors of `patterns`."""
    tests = list(_list_tests(condition, path, patterns, rule))
    return tests[0] if len(tests) == 1 else _combine_all(tests)


def _combine_all(tests: Sequence[Test]) -> Test:
    if len(tests) == 2:
        first, second = tests
        return lambda context: first(context) and second(context)

    def test(context: RuleContext) -> bool:
        for member in tests:  # noqa: SIM110 - a generator would cost more than most tests
            if not member(context):
                return False
        return True

    return test


def _combine_any(tests: Sequence[Test]) -> Test:
    def test(context: RuleContext) -> bool:
        for member in tests:  # noqa: SIM110 - as above
            if member(context):
                return True
        return False

    return test


def _list_tests(
    condition: WhenPart, path: Path, patterns: PatternPool, rule: str
) -> Iterable[Test]:
    """Yield tests, the cheap ones first: numbers, flags, names, patterns, words, scores, groups."""
    yield from _list_number_tests(condition)
    yield from _list_flag_tests(condition)
    yield from _list_name_tests(condition)
    if condition.time is not None:
        yield _test_time(condition.time)
    if condition.keywords is not None:
        yield _test_pattern(
            patterns.add(make_word_pattern(condition.keywords), (*path, "keywords"))
        )
    if condition.matches is not None:
        yield _test_pattern(patterns.add(condition.matches, (*path, "matches")))
    yield from _list_text_tests(condition)
    yield from _list_fact_tests(condition, path, patterns)
    yield from _list_score_tests(condition, rule)
    if condition.any is not None:
        yield _combine_any(
            [
                compile_condition(child, (*path, "any", index), patterns, rule)
                for index, child in enumerate(condition.any)
            ]
        )
    if condition.all is not None:
        yield _combine_all(
            [
                compile_condition(child, (*path, "all", index), patterns, rule)
                for index, child in enumerate(condition.all)
            ]
        )
    if condition.not_ is not None:
        negated = compile_condition(condition.not_, (*path, "not"), patterns, rule)
        yield lambda context: not negated(context)
    if condition.cel is not None:
        yield _test_expression(condition.cel, (*path, "cel"), patterns, rule)


_NUMBER_READERS: tuple[tuple[str, Callable[[RuleContext], float]], ...] = (
    ("user_tokens", attrgetter("call.user_tokens")),
    ("prompt_tokens", attrgetter("call.prompt_tokens")),
    ("turns", attrgetter("call.prompt.user_turns")),
    ("tools", attrgetter("call.tools")),
    ("images", attrgetter("call.prompt.images")),
    ("files", attrgetter("call.prompt.files")),
    ("audio", attrgetter("call.prompt.audio")),
)
"""Readers in C where possible, because every call runs these tests."""


def _list_number_tests(condition: WhenPart) -> Iterable[Test]:
    for name, read in _NUMBER_READERS:
        limits: RangePart | None = getattr(condition, name)
        if name == "tools" and limits in (RangePart(min=1), RangePart(max=0)):
            yield _test_tools_offered(expected=limits == RangePart(min=1))
        elif limits is not None:
            yield _test_range(limits, read)


def _test_tools_offered(*, expected: bool) -> Test:
    """Return a test for the presence of tools, which needs no count."""
    return lambda context: bool(context.call.prompt.tools) is expected


def _list_text_tests(condition: WhenPart) -> Iterable[Test]:
    """Yield tests of the signals of the last user turn."""
    if condition.language is not None:
        languages = frozenset(condition.language)
        yield lambda context: context.call.language in languages
    if condition.code is not None:
        yield _test_range(condition.code, attrgetter("call.signals.total_code"))
    if condition.maths is not None:
        yield _test_range(condition.maths, attrgetter("call.signals.maths"))


def _list_fact_tests(condition: WhenPart, path: Path, patterns: PatternPool) -> Iterable[Test]:
    """Yield tests of facts that only some rules read; a fact that the call lacks never matches."""
    if condition.max_tokens is not None:
        yield _test_optional(condition.max_tokens, attrgetter("call.prompt.max_output"))
    if condition.effort is not None:
        efforts = frozenset(condition.effort)
        yield lambda context: context.call.prompt.effort in efforts
    if condition.temperature is not None:
        yield _test_optional(condition.temperature, attrgetter("call.facts.temperature"))
    if condition.user is not None:
        yield _test_label(condition.user, attrgetter("call.facts.user"))
    for name, values in (condition.metadata or {}).items():
        yield _test_label(values, partial(_read_label, name))
    if condition.system_keywords is not None:
        pattern = make_word_pattern(condition.system_keywords)
        yield _test_system_pattern(patterns.add(pattern, (*path, "system_keywords")))
    if condition.system_matches is not None:
        yield _test_system_pattern(
            patterns.add(condition.system_matches, (*path, "system_matches"))
        )


def _read_label(name: str, context: RuleContext) -> str:
    return context.call.facts.metadata.get(name, "")


def _test_label(names: Sequence[str], read: Callable[[RuleContext], str]) -> Test:
    """Return a test of a name that a request may lack.

    `*` matches every name, but no missing one.
    """
    is_named = _test_name(names, read)
    return lambda context: read(context) != "" and is_named(context)


def _test_optional(limits: RangePart, read: Callable[[RuleContext], float | None]) -> Test:
    """Return a test of a number that a request may lack."""
    low, high = _read_ends(limits)

    def test(context: RuleContext) -> bool:
        value = read(context)
        return value is not None and low <= value <= high

    return test


def _test_system_pattern(pattern_index: int) -> Test:
    return lambda context: pattern_index in context.system_hits


def _list_score_tests(condition: WhenPart, rule: str) -> Iterable[Test]:
    """Yield tests of the classifier's score, which costs more than all tests before it."""
    if condition.need is not None:
        yield _test_score(condition.need, attrgetter("need"), rule)
    if condition.confidence is not None:
        yield _test_score(condition.confidence, attrgetter("confidence"), rule)


def _test_score(limits: RangePart, read: Callable[[TurnAssessment], float], rule: str) -> Test:
    """Return a test of a number of the score; without a score it fails, and the trace says why."""
    low, high = _read_ends(limits)

    def test(context: RuleContext) -> bool:
        try:
            return low <= read(context.assess_turn()) <= high
        except ScoreError as error:
            context.failed_rules[rule] = describe_missing_score(error)
            return False

    return test


def _test_range(limits: RangePart, read: Callable[[RuleContext], float]) -> Test:
    low, high = _read_ends(limits)
    return lambda context: low <= read(context) <= high


def _read_ends(limits: RangePart) -> tuple[float, float]:
    return (
        -math.inf if limits.min is None else limits.min,
        math.inf if limits.max is None else limits.max,
    )


def _list_flag_tests(condition: WhenPart) -> Iterable[Test]:
    if (tool_loop := condition.tool_loop) is not None:
        yield lambda context: context.call.prompt.tool_loop is tool_loop
    if (json_schema := condition.json_schema) is not None:
        yield lambda context: context.call.prompt.json_schema is json_schema
    if (stream := condition.stream) is not None:
        yield lambda context: context.call.prompt.stream is stream


def _list_name_tests(condition: WhenPart) -> Iterable[Test]:
    if condition.dialect is not None:
        dialects = frozenset(condition.dialect)
        yield lambda context: context.call.dialect in dialects
    if condition.kind is not None:
        kinds = frozenset(condition.kind)
        yield lambda context: context.call.turn.kind in kinds
    if condition.task is not None:
        yield _test_name(condition.task, attrgetter("call.turn.task"))
    if condition.evidence is not None:
        evidence = frozenset(condition.evidence)
        yield lambda context: not evidence.isdisjoint(context.call.evidence_names)
    if condition.client is not None:
        yield _test_name(condition.client, attrgetter("call.turn.client"))
    if condition.key is not None:
        yield _test_name(condition.key, attrgetter("call.key.name"))
    if condition.tag is not None:
        tags = frozenset(condition.tag)
        yield lambda context: not tags.isdisjoint(context.tags)
    if condition.asked is not None:
        yield _test_name(condition.asked, attrgetter("call.prompt.model"))
    if condition.tool_names is not None:
        tool_names = frozenset(condition.tool_names)
        if "*" in "".join(tool_names):
            matches = compile_glob(tool_names)
            yield lambda context: any(map(matches, context.call.prompt.tools))
        else:
            yield lambda context: not tool_names.isdisjoint(context.call.prompt.tools)


def _test_name(names: Sequence[str], read: Callable[[RuleContext], str]) -> Test:
    exact_names = frozenset(names)
    if "*" in "".join(exact_names):
        matches = compile_glob(exact_names)
        return lambda context: matches(read(context))
    return lambda context: read(context) in exact_names


def _test_pattern(pattern_index: int) -> Test:
    return lambda context: pattern_index in context.hits


def _test_time(time: TimePart) -> Test:
    zone, edges = time.zone, list[int]()
    for start, end in sorted(time.week_spans):
        if edges and start <= edges[-1]:
            edges[-1] = max(end, edges[-1])
        else:
            edges += (start, end)
    # The condition holds from the first edge to the second, and not from the second to the third.
    return lambda context: (
        bisect_right(edges, find_week_second(context.decision_context.at, zone)) % 2 == 1
    )


def _test_expression(text: str, path: Path, patterns: PatternPool, rule: str) -> Test:
    if find_spec("cel_expr_python") is None:
        hint = "Install it: pip install 'tiergate[cel]'."
        patterns.add_error(path, "needs the extra `cel`", hint)
        return lambda _: False
    from gateway.routing.rules import cel  # noqa: PLC0415 - an extra

    try:
        return cel.compile_expression(text, rule)
    except CelError as error:
        patterns.add_error(path, str(error), error.hint)
        return lambda _: False
