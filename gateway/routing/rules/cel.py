"""The one door to CEL, the Common Expression Language; the extra `cel`.

An expression is type-checked when it is compiled. What it may cost is bounded: its text is cut, its
patterns are RE2's, and the engine ends it after 10,000 steps of its loops. One that fails does not
hold, and never breaks a call. Language: https://github.com/google/cel-spec
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from cel_expr_python import cel

from gateway.routing.classifier.text_signals import HEAD, LIMIT
from gateway.routing.errors import CelError, MissingFeatureError
from gateway.routing.rules.context import RuleContext, Test
from gateway.settings.errors import nearest

_TEXTS = cel.Type.List(cel.Type.STRING)
_KNOWN: dict[str, tuple[cel.Type, Callable[[RuleContext], object]]] = {
    "text": (cel.Type.STRING, lambda view: _cut(view.call.text)),
    "user_tokens": (cel.Type.INT, lambda view: view.call.user_tokens),
    "prompt_tokens": (cel.Type.INT, lambda view: view.call.prompt_tokens),
    "turns": (cel.Type.INT, lambda view: view.call.prompt.user_turns),
    "code": (cel.Type.DOUBLE, lambda view: view.call.scan.code),
    "maths": (cel.Type.DOUBLE, lambda view: view.call.scan.maths),
    "language": (cel.Type.STRING, lambda view: view.call.language),
    "tools": (_TEXTS, lambda view: list(view.call.prompt.tools)),
    "tool_loop": (cel.Type.BOOL, lambda view: view.call.prompt.tool_loop),
    "images": (cel.Type.INT, lambda view: view.call.prompt.images),
    "files": (cel.Type.INT, lambda view: view.call.prompt.files),
    "audio": (cel.Type.INT, lambda view: view.call.prompt.audio),
    "json_schema": (cel.Type.BOOL, lambda view: view.call.prompt.json_schema),
    "stream": (cel.Type.BOOL, lambda view: view.call.prompt.stream),
    "turn": (cel.Type.STRING, lambda view: view.call.turn.kind),
    "task": (cel.Type.STRING, lambda view: view.call.turn.task),
    "client": (cel.Type.STRING, lambda view: view.call.turn.client),
    "dialect": (cel.Type.STRING, lambda view: view.call.dialect),
    "asked": (cel.Type.STRING, lambda view: view.call.prompt.model),
    "key": (cel.Type.STRING, lambda view: view.call.key.name),
    "tenant": (cel.Type.STRING, lambda view: view.call.key.tenant),
    "tags": (_TEXTS, lambda view: sorted(view.tags)),
    "at": (cel.Type.TIMESTAMP, lambda view: datetime.fromtimestamp(view.evidence.at, UTC)),
}
FIELDS = frozenset(_KNOWN)
"""What may be asked of `call`."""
_FIELD = re.compile(r"\bcall\s*\.\s*(\w+)")
_FAILURES = {
    "Iteration budget": "it takes too many steps",
    "by zero": "it divides by zero",
    "Index error": "a list has no such item",
}
"""Why an expression failed, where the engine's words hold nothing of the call."""


def compiled(text: str, rule: str) -> Test:
    """Whether an expression holds. Raises CelError."""
    used = {f"call.{name}": _KNOWN[name] for name in _FIELD.findall(text) if name in FIELDS}
    env = cel.NewEnv(variables={name: kind for name, (kind, _) in used.items()})
    try:
        expression = env.compile(text)
    except RuntimeError as error:
        raise _wrong(str(error)) from None
    kind = expression.return_type()
    if kind != cel.Type.BOOL:
        raise CelError(f"is {kind.name().lower()}, and a condition must be true or false")
    reads = [(name, read) for name, (_, read) in used.items()]

    def test(view: RuleContext) -> bool:
        try:
            value = expression.eval(data={name: read(view) for name, read in reads})
            if value.type() == cel.Type.BOOL:
                return value.value() is True
            why = str(value.value())
        except MissingFeatureError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it does, a call is served
            why = str(error)
        told = next(
            (word for sign, word in _FAILURES.items() if sign in why), "so it does not hold"
        )
        view.failed[rule] = told
        return False

    return test


def _cut(text: str) -> str:
    return text if len(text) <= LIMIT else f"{text[:HEAD]}\n{text[HEAD - LIMIT :]}"


def _wrong(error: str) -> CelError:
    """What is wrong in the engine's words: its first finding, without its picture of the place."""
    match = re.search(r"<input>:(\d+):(\d+): (.*)", error)
    if match is None:
        return CelError("is no expression")
    line, column, what = match.groups()
    said = what.replace(" (in container '')", "")
    hint = ""
    if name := re.search(r"undeclared reference to '(call\.)?(\w+)'", said):
        hint = nearest(name[2], FIELDS) if name[1] else ""
        hint = f"Write it as call.{name[2]}." if not name[1] and name[2] in FIELDS else hint
    return CelError(f"{said}, at {line}:{column}", hint)
