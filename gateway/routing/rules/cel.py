"""The only use of CEL, the Common Expression Language; needs the extra `cel`.

An expression is type-checked when it is compiled. Its cost is bounded: its text is cut, its
patterns are RE2's, and the engine stops it after 10,000 steps of its loops. An expression that
fails does not match, and never breaks a call. Language: https://github.com/google/cel-spec
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from cel_expr_python import cel

from gateway.routing.classifier.text_signals import HEAD_CHARS, MAX_CHARS
from gateway.routing.errors import CelError, MissingFeatureError, ScoreError
from gateway.routing.features import Features
from gateway.routing.rules.context import RuleContext, Test, describe_missing_score
from gateway.settings.errors import suggest_name

_STRING_LIST = cel.Type.List(cel.Type.STRING)
_FIELD_READERS: dict[str, tuple[cel.Type, Callable[[RuleContext], object]]] = {
    "text": (cel.Type.STRING, lambda context: _shorten(context.call.text)),
    "user_tokens": (cel.Type.INT, lambda context: context.call.user_tokens),
    "prompt_tokens": (cel.Type.INT, lambda context: context.call.prompt_tokens),
    "turns": (cel.Type.INT, lambda context: context.call.prompt.user_turns),
    "code": (cel.Type.DOUBLE, lambda context: context.call.signals.total_code),
    "maths": (cel.Type.DOUBLE, lambda context: context.call.signals.maths),
    "need": (cel.Type.DOUBLE, lambda context: context.assess_turn().need),
    "confidence": (cel.Type.DOUBLE, lambda context: context.assess_turn().confidence),
    "language": (cel.Type.STRING, lambda context: context.call.language),
    "tools": (_STRING_LIST, lambda context: list(context.call.prompt.tools)),
    "tool_loop": (cel.Type.BOOL, lambda context: context.call.prompt.tool_loop),
    "images": (cel.Type.INT, lambda context: context.call.prompt.images),
    "files": (cel.Type.INT, lambda context: context.call.prompt.files),
    "audio": (cel.Type.INT, lambda context: context.call.prompt.audio),
    "json_schema": (cel.Type.BOOL, lambda context: context.call.prompt.json_schema),
    "stream": (cel.Type.BOOL, lambda context: context.call.prompt.stream),
    "kind": (cel.Type.STRING, lambda context: context.call.turn.kind),
    "task": (cel.Type.STRING, lambda context: context.call.turn.task),
    "evidence": (_STRING_LIST, lambda context: sorted(context.call.evidence_names)),
    "client": (cel.Type.STRING, lambda context: context.call.turn.client),
    "dialect": (cel.Type.STRING, lambda context: context.call.dialect),
    "asked": (cel.Type.STRING, lambda context: context.call.prompt.model),
    "key": (cel.Type.STRING, lambda context: context.call.key.name),
    "tenant": (cel.Type.STRING, lambda context: context.call.key.tenant),
    "tags": (_STRING_LIST, lambda context: sorted(context.tags)),
    "system": (cel.Type.STRING, lambda context: _shorten(context.call.facts.system)),
    "user": (cel.Type.STRING, lambda context: context.call.facts.user),
    "metadata": (
        cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        lambda context: dict(context.call.facts.metadata),
    ),
    "max_tokens": (cel.Type.INT, lambda context: context.call.prompt.max_output or 0),
    "temperature": (cel.Type.DOUBLE, lambda context: _read_temperature(context.call)),
    "effort": (cel.Type.STRING, lambda context: context.call.prompt.effort or ""),
    "at": (
        cel.Type.TIMESTAMP,
        lambda context: datetime.fromtimestamp(context.decision_context.at, UTC),
    ),
}
FIELDS = frozenset(_FIELD_READERS)
"""The fields of `call` that an expression may read."""
_FIELD_PATTERN = re.compile(r"\bcall\s*\.\s*(\w+)")
_FAILURE_PHRASES = {
    "Iteration budget": "it takes too many steps",
    "by zero": "it divides by zero",
    "Index error": "a list has no such item",
}
"""Reasons for a failed expression, by a part of the engine's message. The message itself may quote
the call."""


def compile_expression(text: str, rule: str) -> Test:
    """Return the test of an expression. Raises CelError if it is no condition."""
    variables = {
        f"call.{name}": _FIELD_READERS[name]
        for name in _FIELD_PATTERN.findall(text)
        if name in FIELDS
    }
    env = cel.NewEnv(variables={name: cel_type for name, (cel_type, _) in variables.items()})
    try:
        expression = env.compile(text)
    except RuntimeError as error:
        raise _make_error(str(error)) from None
    cel_type = expression.return_type()
    if cel_type != cel.Type.BOOL:
        raise CelError(f"is {cel_type.name().lower()}, and a condition must be true or false")
    readers = [(name, read) for name, (_, read) in variables.items()]

    def test(context: RuleContext) -> bool:
        try:
            value = expression.eval(data={name: read(context) for name, read in readers})
            if value.type() == cel.Type.BOOL:
                return value.value() is True
            failure = str(value.value())
        except MissingFeatureError:
            raise
        except ScoreError as error:
            context.failed_rules[rule] = describe_missing_score(error)
            return False
        except Exception as error:  # noqa: BLE001 - whatever it does, a call is served
            failure = str(error)
        reason = next(
            (phrase for marker, phrase in _FAILURE_PHRASES.items() if marker in failure),
            "so the condition is false",
        )
        context.failed_rules[rule] = f"its expression failed, {reason}"
        return False

    return test


def _read_temperature(call: Features) -> float:
    """Return the temperature; -1 if the request sets none."""
    temperature = call.facts.temperature
    return -1.0 if temperature is None else float(temperature)


def _shorten(text: str) -> str:
    return (
        text if len(text) <= MAX_CHARS else f"{text[:HEAD_CHARS]}\n{text[HEAD_CHARS - MAX_CHARS :]}"
    )


def _make_error(error: str) -> CelError:
    """Make an error from the engine's first finding, without its excerpt of the expression."""
    match = re.search(r"<input>:(\d+):(\d+): (.*)", error)
    if match is None:
        return CelError("is not an expression")
    line, column, finding = match.groups()
    description = finding.replace(" (in container '')", "")
    hint = ""
    if name := re.search(r"undeclared reference to '(call\.)?(\w+)'", description):
        hint = suggest_name(name[2], FIELDS) if name[1] else ""
        hint = f"Write it as call.{name[2]}." if not name[1] and name[2] in FIELDS else hint
    return CelError(f"{description}, at {line}:{column}", hint)
