"""Rules as functions: guards bound every decision, the first choice that matches decides.

Conditions are compiled once. Patterns run on RE2, in time linear in the prompt whatever they are.
"""

import re
from collections.abc import Callable, Iterable, Sequence

import msgspec
import re2

from gateway.core.target import Tier
from gateway.routing.features import Features
from gateway.settings.schema import ChoicePart, GuardPart, Range, When

type Test = Callable[[Features, frozenset[str]], bool]
"""Whether a condition holds for a call with these tags."""

_CASELESS = re2.Options()
_CASELESS.case_sensitive = False
_CASELESS.log_errors = False
_UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")
_EDGE = r"[^\pL\pN_]"


class RuleError(ValueError):
    """A condition that cannot be compiled; `path` says where in the rule."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


class Guard(msgspec.Struct, frozen=True):
    """A compiled guard."""

    name: str
    test: Test
    part: GuardPart


class Choice(msgspec.Struct, frozen=True):
    """A compiled choice."""

    name: str
    test: Test
    tier: Tier | None
    lab: str | None
    model: str | None


class Rules(msgspec.Struct, frozen=True):
    """All rules of a configuration, in the order they are written."""

    guards: tuple[Guard, ...] = ()
    choices: tuple[Choice, ...] = ()


def compile_rules(guards: Sequence[GuardPart], choices: Sequence[ChoicePart]) -> Rules:
    """Compile rules. Raises RuleError for a pattern that RE2 does not accept."""
    return Rules(
        tuple(
            Guard(part.name, _test(part.when, ("guards", at, "when")), part)
            for at, part in enumerate(guards)
        ),
        tuple(
            Choice(
                part.name,
                _test(part.when, ("choices", at, "when")),
                part.tier,
                part.lab,
                part.model,
            )
            for at, part in enumerate(choices)
        ),
    )


def _test(when: When, path: tuple[str | int, ...]) -> Test:
    tests = list(_tests(when, path))
    if len(tests) == 1:
        return tests[0]
    return lambda call, tags: all(test(call, tags) for test in tests)


def _tests(when: When, path: tuple[str | int, ...]) -> Iterable[Test]:
    """Cheap tests first: what only reads a number or a flag, then patterns, then groups."""
    yield from _numbers(when)
    yield from _flags(when)
    yield from _names(when)
    if when.keywords is not None:
        yield _search(_words(when.keywords), (*path, "keywords"))
    if when.matches is not None:
        yield _search(when.matches, (*path, "matches"))
    if when.any is not None:
        some = [_test(item, (*path, "any", at)) for at, item in enumerate(when.any)]
        yield lambda call, tags: any(test(call, tags) for test in some)
    if when.all is not None:
        every = [_test(item, (*path, "all", at)) for at, item in enumerate(when.all)]
        yield lambda call, tags: all(test(call, tags) for test in every)
    if when.not_ is not None:
        inner = _test(when.not_, (*path, "not"))
        yield lambda call, tags: not inner(call, tags)


def _numbers(when: When) -> Iterable[Test]:
    if when.user_tokens is not None:
        yield _between(when.user_tokens, lambda call: call.user_tokens)
    if when.prompt_tokens is not None:
        yield _between(when.prompt_tokens, lambda call: call.prompt_tokens)
    if when.turns is not None:
        yield _between(when.turns, lambda call: call.prompt.user_turns)
    if when.code is not None:
        yield _between(when.code, lambda call: call.signals.code)
    if when.maths is not None:
        yield _between(when.maths, lambda call: call.signals.maths)


def _between(limits: Range, read: Callable[[Features], float]) -> Test:
    low = float("-inf") if limits.min is None else limits.min
    high = float("inf") if limits.max is None else limits.max
    return lambda call, _: low <= read(call) <= high


def _flags(when: When) -> Iterable[Test]:
    if (tools := when.tools) is not None:
        yield lambda call, _: bool(call.prompt.tools) is tools
    if (loop := when.tool_loop) is not None:
        yield lambda call, _: call.prompt.tool_loop is loop
    if (images := when.images) is not None:
        yield lambda call, _: (call.prompt.images > 0) is images
    if (schema := when.json_schema) is not None:
        yield lambda call, _: call.prompt.json_schema is schema
    if (stream := when.stream) is not None:
        yield lambda call, _: call.prompt.stream is stream


def _names(when: When) -> Iterable[Test]:
    if when.tool_names is not None:
        wanted = frozenset(when.tool_names)
        yield lambda call, _: not wanted.isdisjoint(call.prompt.tools)
    if when.dialect is not None:
        dialects = frozenset(when.dialect)
        yield lambda call, _: call.dialect in dialects
    if when.asked is not None:
        asked = frozenset(when.asked)
        yield lambda call, _: call.prompt.model in asked
    if when.key is not None:
        keys = frozenset(when.key)
        yield lambda call, _: call.key.name in keys
    if when.tag is not None:
        some = frozenset(when.tag)
        yield lambda _, tags: not some.isdisjoint(tags)


def _search(pattern: str, path: tuple[str | int, ...]) -> Test:
    try:
        compiled = re2.compile(pattern, _CASELESS)
    except re2.error as error:
        reason = error.args[0] if error.args else "not a pattern"
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        raise RuleError(path, f"{pattern!r} is not a regular expression: {text}") from None
    return lambda call, _: compiled.search(call.prompt.user) is not None


def _words(words: Iterable[str]) -> str:
    """A pattern for any of these words, whole; scripts without spaces have no word edges."""
    spaced = [re2.escape(word) for word in words if _UNSPACED.search(word) is None]
    loose = [re2.escape(word) for word in words if _UNSPACED.search(word) is not None]
    whole = [rf"(?:^|{_EDGE})(?:{'|'.join(spaced)})(?:{_EDGE}|$)"] if spaced else []
    return "|".join([*whole, *loose])
