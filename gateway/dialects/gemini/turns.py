"""Contents as turns in no dialect: parts, calls without ids, and state in its slots."""

from collections.abc import Iterator
from itertools import groupby
from typing import Literal

from gateway.core import jsonio
from gateway.core.canonical_request import (
    CanonicalTurn,
    Foreign,
    Media,
    Part,
    Role,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)
from gateway.core.errors import invalid_request
from gateway.core.jsonio import Json
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini import request
from gateway.dialects.gemini import tools as partial
from gateway.dialects.gemini.content import Object
from gateway.dialects.gemini.signature import Sign

_ROLES: dict[str, Role] = {"model": "assistant", "system": "system"}
_BESIDE = frozenset(
    {
        "thought", "thoughtSignature", "partMetadata", "videoMetadata", "mediaResolution",
        "mediaProcessing",
    }
)  # fmt: skip
"""Members that stand beside what a part is."""
_OUTPUTS = ("output", "result", "error")
"""Members that alone hold what a function gave; Google's SDKs write these."""
_DETAILS = {"MEDIA_RESOLUTION_LOW": "low", "MEDIA_RESOLUTION_HIGH": "high"}
_UPLOADS = ("https://generativelanguage.googleapis.com/", "gs://", "files/")
"""How addresses of files begin that only Google can open."""
_KINDS: dict[str, Literal["image", "audio", "video"]] = {
    "image": "image", "audio": "audio", "video": "video",
}  # fmt: skip


def read(value: Object) -> tuple[CanonicalTurn, ...]:
    """All turns of a request, the system instruction first."""
    system = request.system(value)
    found = []
    if isinstance(system, str):
        found.append(CanonicalTurn(role="system", parts=(Text(text=system),), source=system))
    elif isinstance(system, dict):
        parts = tuple(_Calls().parts(wire.rows(system.get("parts"))))
        found.append(CanonicalTurn(role="system", parts=parts, source=system))
    calls = _Calls()
    for role, contents in groupby(wire.rows(value["contents"]), key=_role):
        # A model's neighbours are one: Google's SDK keeps each chunk of a stream as a content.
        for rows in [[*contents]] if role == "assistant" else ([row] for row in contents):
            said = [part for row in rows for part in wire.rows(row.get("parts"))]
            source = rows[0] if len(rows) == 1 else rows
            found.append(
                CanonicalTurn(role=role, parts=tuple(calls.parts(_joined(said))), source=source)
            )
    return tuple(turn for turn in found if turn.parts)


def _joined(parts: list[Object]) -> list[Object]:
    """Put calls together that came in pieces. Raises ProblemError: invalid_request."""
    try:
        return partial.joined(parts)
    except ValueError:
        message = "Pieces of a functionCall do not fit together: send its `args` whole."
        raise invalid_request(message, "contents") from None


def _role(content: Object) -> Role:
    return _ROLES.get(wire.text(content.get("role")) or "", "user")


class _Calls:
    """Reads parts, and knows which calls still want their result: ids may be left out."""

    def __init__(self) -> None:
        self._count = 0
        self._open: list[tuple[str, str]] = []

    def parts(self, rows: list[Object]) -> Iterator[Part]:
        """The parts of one turn; a thought that came in pieces is one."""
        thought: list[Object] = []
        for row in rows:
            if row.get("thought") is True and not _kinds(row, "text"):
                thought.append(row)
                if Sign(row).state is not None:
                    yield _thought(thought)
                    thought = []
                continue
            if thought:
                yield _thought(thought)
                thought = []
            yield from self._part(row)
        if thought:
            yield _thought(thought)

    def _part(self, row: Object) -> Iterator[Part]:
        kinds = _kinds(row)
        kind = kinds[0] if kinds else ""
        value = wire.get(row, kind) if kind else None
        sign = Sign(row)
        if kind == "text" and isinstance(value, str):
            if value:
                yield Text(text=value, source=row)
        elif kind == "functionCall" and isinstance(value, dict):
            yield self._use(value, sign, row)
            return
        elif kind == "functionResponse" and isinstance(value, dict):
            yield self._result(value, row)
        elif kind in ("inlineData", "fileData") and isinstance(value, dict):
            yield media(row, kind, value)
        elif kind:
            yield Foreign(kind=kind, source=row)
        if sign.state is not None:
            yield _state(sign, "", row)

    def _use(self, call: Object, sign: Sign, row: Object) -> ToolUse:
        self._count += 1
        name, id = wire.text(call.get("name")) or "", wire.text(call.get("id"))
        id = id or f"call_{self._count}"
        self._open.append((id, name))
        args = call.get("args")
        return ToolUse(
            id=id,
            name=name,
            arguments=jsonio.dumps(args if isinstance(args, dict) else {}).decode(),
            state=sign.state,
            maker=sign.maker,
            source=row,
        )

    def _result(self, result: Object, row: Object) -> ToolResult:
        name = wire.text(result.get("name"))
        id = wire.text(result.get("id")) or self._first(name)
        self._open = [call for call in self._open if call[0] != id]
        response = wire.group(result, "response")
        parts: list[Text | Media] = [Text(text=_output(response))]
        parts += [
            media(inner, kind, wire.group(inner, kind))
            for inner in wire.rows(result.get("parts"))
            for kind in ("inlineData", "fileData")
            if wire.group(inner, kind)
        ]
        error = set(response) == {"error"}
        return ToolResult(id=id, name=name, parts=tuple(parts), error=error, source=row)

    def _first(self, name: str | None) -> str:
        """The first call without its result: of that name, else of any."""
        for id, called in self._open:
            if called == name:
                return id
        if self._open:
            return self._open[0][0]
        self._count += 1
        return f"call_{self._count}"


def media(row: Object, kind: str, value: Object) -> Media:
    """Data that stands in the request, or a file that it points to."""
    type = wire.text(wire.get(value, "mimeType"))
    family = (type or "").partition("/")[0]
    name = wire.text(wire.get(value, "displayName"))
    level = wire.get(wire.group(row, "mediaResolution"), "level")
    data, url, id = None, None, None
    if kind == "inlineData":
        data = (wire.text(value.get("data")) or "").replace("-", "+").replace("_", "/")
    else:
        url = wire.text(wire.get(value, "fileUri")) or ""
        if url.startswith(_UPLOADS):
            url, id = None, url
        elif type is None and "youtu" in url:
            family = "video"
    return Media(
        kind=_KINDS.get(family, "file"),
        type=type,
        data=data,
        url=url,
        id=id,
        name=name,
        detail=_DETAILS.get(level) if isinstance(level, str) else None,
        source=row,
    )


def _kinds(row: Object, but: str = "") -> list[str]:
    """What a part is: the names of its members, but for those that stand beside it."""
    names = (wire.camel(name) for name, item in row.items() if item is not None)
    return [name for name in names if name not in _BESIDE and name != but]


def _thought(rows: list[Object]) -> Thought:
    return _state(Sign(rows[-1]), "".join(wire.text(row.get("text")) or "" for row in rows), rows)


def _state(sign: Sign, text: str, source: Json) -> Thought:
    return Thought(
        text=text,
        state=sign.state,
        redacted=sign.redacted,
        maker=sign.maker,
        source=source,
    )


def _output(response: Object) -> str:
    if len(response) == 1:
        (name, value), *_ = response.items()
        if name in _OUTPUTS:
            return value if isinstance(value, str) else jsonio.dumps(value).decode()
    return jsonio.dumps(response).decode() if response else ""
