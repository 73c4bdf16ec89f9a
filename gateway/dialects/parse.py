"""A request body as every dialect begins to read it: one strict JSON object and its members.

An application sends the same tools with each of its calls, and of those that are long most is a
schema that only the provider reads. Such a member is read once: from its second time on its bytes
are known, and an outline stands for it.

Where a request goes that was sent to the door of another dialect: a sentence for its error.
"""

from collections.abc import Callable

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError, invalid
from gateway.core.jsonio import Json, JsonError, Members
from gateway.core.prompt import Prompt
from gateway.dialects.base import LazyObject, RequestBody

_CHAT = " A Chat Completions request goes to POST /v1/chat/completions."
_EITHER = f"{_CHAT[:-1]}, one of the Messages API to POST /v1/messages."
_MESSAGES = " A request of the Messages API goes to POST /v1/messages."
_RESPONSES = " A Responses request goes to POST /v1/responses."
_GEMINI = " A Gemini request goes to POST /v1beta/models/{model}:generateContent."


def elsewhere(value: dict[str, Json], here: str) -> str:
    """The right door for a body, after a space; empty where no other is known to be right."""
    if "messages" in value:
        if here == "anthropic-messages":
            return _CHAT
        if here == "openai-chat" or _anthropic(value):
            return _MESSAGES if _anthropic(value) else ""
        return _EITHER
    if "input" in value:
        return "" if here == "openai-responses" else _RESPONSES
    return _GEMINI if "contents" in value and here != "gemini" else ""


def _anthropic(value: dict[str, Json]) -> bool:
    """Whether messages are written as only the Messages API has them."""
    tools = value.get("tools")
    first = tools[0] if isinstance(tools, list) and tools else None
    schema = isinstance(first, dict) and "input_schema" in first
    return schema or "system" in value or "stop_sequences" in value


_LONG = 4_096
"""Bytes of a member from which on it is worth to know it."""
_MOST = 8_000_000
"""Bytes of all that are known."""
_MOST_SEEN = 4_096
_SHORT = 200
"""Characters of a text in an outline: of names, not of descriptions."""

type Read = Callable[[dict[str, Json], Members], Prompt]


class _Known:
    """Long members that have come before, each with its outline."""

    def __init__(self) -> None:
        self.size = 0
        self._outlines: dict[bytes, list[Json]] = {}
        self._seen: set[int] = set()
        """Hashes of those that came once."""

    def find(self, raw: bytes) -> list[Json] | None:
        """The outline of a member; None where it is not known."""
        return self._outlines.get(raw)

    def again(self, raw: bytes) -> bool:
        """Whether a member that is not known has come before."""
        name = hash(raw)
        if name in self._seen:
            return True
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen.add(name)
        return False

    def keep(self, raw: bytes, outline: list[Json]) -> None:
        """Know a member from now on."""
        self.size += len(raw)
        if self.size > _MOST:
            self._outlines.clear()
            self.size = len(raw)
        self._outlines[raw] = outline


_known = _Known()


def parse(raw: bytes, prompt: Read, long: str = "") -> RequestBody:
    """Read a body, its prompt by `prompt`. Raises ProblemError: invalid_json, invalid_request.

    `long` names a member that may be known from before.
    """
    if not long or len(raw) < _LONG:
        return _whole(raw, prompt, None)
    members = _cut(raw)
    part = members.get(long) if members is not None else None
    if members is None or part is None or len(part) < _LONG:
        return _whole(raw, prompt, members)
    data = bytes(memoryview(part))
    outline = _known.find(data)
    if outline is not None and (said := _said(members, long, outline)) is not None:
        return RequestBody(raw, members, LazyObject(raw, said), prompt(said, members))
    body = _whole(raw, prompt, members)
    listed = body.value[long]
    if outline is None and isinstance(listed, list) and _known.again(data):
        outline = [_outline(one) for one in listed]
        if prompt({**body.value, long: outline}, members) == body.prompt:
            _known.keep(data, outline)
    return body


def _whole(raw: bytes, prompt: Read, members: Members | None) -> RequestBody:
    try:
        value = jsonio.loads(raw)
        if not isinstance(value, dict):
            raise invalid("The request body must be a JSON object.")
        members = members or jsonio.members(raw)
    except JsonError as error:
        message = f"The request body is not valid JSON: {error}."
        raise ProblemError(Problem(kind="invalid_json", message=message)) from None
    return RequestBody(raw, members, value, prompt(value, members))


def _cut(raw: bytes) -> Members | None:
    try:
        return jsonio.members(raw)
    except JsonError:
        return None  # what is wrong is told by the other reader


def _said(members: Members, long: str, outline: Json) -> dict[str, Json] | None:
    try:
        return {
            name: outline if name == long else jsonio.loads(memoryview(one))
            for name, one in members.items()
        }
    except JsonError:
        return None  # as above


def _outline(one: Json) -> Json:
    """A member of a list without what is long in it, and without what is inside of that."""
    if not isinstance(one, dict):
        return one
    return {name: _brief(value, deep=True) for name, value in one.items()}


def _brief(value: Json, *, deep: bool) -> Json:
    if isinstance(value, dict):
        return {name: _brief(one, deep=False) for name, one in value.items()} if deep else {}
    if isinstance(value, list):
        return []
    return value[:_SHORT] if isinstance(value, str) else value


def is_zero(temperature: Json) -> bool:
    """True if a client sets its temperature to 0; no word and no boolean is a number."""
    return temperature == 0 and not isinstance(temperature, bool)
