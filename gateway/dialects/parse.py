"""The first reading of a request body, in every dialect: one strict JSON object and its members.

An application sends the same tools with each call. Most of a long tool is a schema that only the
provider reads. The gateway reads such a member once: from the second time on it knows the bytes,
and an outline stands for the member.

This module also writes the error for a request that came to the endpoint of another dialect.
"""

from collections.abc import Callable

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.core.jsonio import Json, JsonError, Members
from gateway.core.prompt import Prompt
from gateway.dialects.base import LazyObject, RequestBody

_CHAT_HINT = " A Chat Completions request goes to POST /v1/chat/completions."
_CHAT_OR_MESSAGES_HINT = f"{_CHAT_HINT[:-1]}, one of the Messages API to POST /v1/messages."
_MESSAGES_HINT = " A request of the Messages API goes to POST /v1/messages."
_RESPONSES_HINT = " A Responses request goes to POST /v1/responses."
_GEMINI_HINT = " A Gemini request goes to POST /v1beta/models/{model}:generateContent."


def suggest_endpoint(value: dict[str, Json], dialect_name: str) -> str:
    """The right endpoint for a body, after a space; empty where no other is known to be right."""
    if "messages" in value:
        if dialect_name == "anthropic-messages":
            return _CHAT_HINT
        if dialect_name == "openai-chat" or _is_anthropic(value):
            return _MESSAGES_HINT if _is_anthropic(value) else ""
        return _CHAT_OR_MESSAGES_HINT
    if "input" in value:
        return "" if dialect_name == "openai-responses" else _RESPONSES_HINT
    return _GEMINI_HINT if "contents" in value and dialect_name != "gemini" else ""


def _is_anthropic(value: dict[str, Json]) -> bool:
    """Return True if messages have a form that only the Messages API knows."""
    tools = value.get("tools")
    first_tool = tools[0] if isinstance(tools, list) and tools else None
    has_input_schema = isinstance(first_tool, dict) and "input_schema" in first_tool
    return has_input_schema or "system" in value or "stop_sequences" in value


_MIN_CACHED_BYTES = 4_096
"""Bytes of a member from which on it is worth to know it."""
_MAX_CACHE_BYTES = 8_000_000
"""Bytes of all that are known."""
_MAX_SEEN_HASHES = 4_096
_MAX_OUTLINE_CHARS = 200
"""Characters of a text in an outline: of names, not of descriptions."""

type PromptReader = Callable[[dict[str, Json], Members], Prompt]


class _OutlineCache:
    """Long members that have come before, each with its outline."""

    def __init__(self) -> None:
        self.size = 0
        self._outlines: dict[bytes, list[Json]] = {}
        self._seen_hashes: set[int] = set()
        """Hashes of the unknown members that came once."""

    def find(self, raw: bytes) -> list[Json] | None:
        """The outline of a member; None where it is not known."""
        return self._outlines.get(raw)

    def has_seen(self, raw: bytes) -> bool:
        """Return True if an unknown member has come before."""
        digest = hash(raw)
        if digest in self._seen_hashes:
            return True
        if len(self._seen_hashes) >= _MAX_SEEN_HASHES:
            self._seen_hashes.clear()
        self._seen_hashes.add(digest)
        return False

    def add(self, raw: bytes, outline: list[Json]) -> None:
        """Know a member from now on."""
        self.size += len(raw)
        if self.size > _MAX_CACHE_BYTES:
            self._outlines.clear()
            self.size = len(raw)
        self._outlines[raw] = outline


_outline_cache = _OutlineCache()


def parse(raw: bytes, read_prompt: PromptReader, long_member: str = "") -> RequestBody:
    """Read a body, its prompt by `read_prompt`. Raises ProblemError: invalid_json, invalid_request.

    `long_member` names a member that may be known from before.
    """
    if not long_member or len(raw) < _MIN_CACHED_BYTES:
        return _parse_fully(raw, read_prompt, None)
    members = _read_members(raw)
    raw_member = members.get(long_member) if members is not None else None
    if members is None or raw_member is None or len(raw_member) < _MIN_CACHED_BYTES:
        return _parse_fully(raw, read_prompt, members)
    data = bytes(memoryview(raw_member))
    outline = _outline_cache.find(data)
    if (
        outline is not None
        # Of a name that stands twice nobody has read the first value: it may be no JSON.
        and not jsonio.has_repeated_member(raw, members)
        and (value := _build_outlined_value(members, long_member, outline)) is not None
    ):
        return RequestBody(raw, members, value, read_prompt(value, members), LazyObject(raw))
    body = _parse_fully(raw, read_prompt, members)
    items = body.value[long_member]
    if outline is None and isinstance(items, list) and _outline_cache.has_seen(data):
        outline = [_outline_item(item) for item in items]
        if read_prompt({**body.value, long_member: outline}, members) == body.prompt:
            _outline_cache.add(data, outline)
    return body


def _parse_fully(raw: bytes, read_prompt: PromptReader, members: Members | None) -> RequestBody:
    try:
        value = jsonio.loads(raw)
        if not isinstance(value, dict):
            raise invalid_request("The request body must be a JSON object.")
        members = members or jsonio.read_members(raw)
    except JsonError as error:
        message = f"The request body is not valid JSON: {error}."
        raise ProblemError(Problem(kind="invalid_json", message=message)) from None
    return RequestBody(raw, members, value, read_prompt(value, members))


def _read_members(raw: bytes) -> Members | None:
    try:
        return jsonio.read_members(raw)
    except JsonError:
        return None  # the reader of the value says what is wrong


def _build_outlined_value(
    members: Members, long_member: str, outline: Json
) -> dict[str, Json] | None:
    try:
        return {
            name: outline if name == long_member else jsonio.loads(memoryview(raw_value))
            for name, raw_value in members.items()
        }
    except JsonError:
        return None  # as above


def _outline_item(item: Json) -> Json:
    """A member of a list without what is long in it, and without what is inside of that."""
    if not isinstance(item, dict):
        return item
    return {name: _shorten(value, keeps_members=True) for name, value in item.items()}


def _shorten(value: Json, *, keeps_members: bool) -> Json:
    if isinstance(value, dict):
        return (
            {
                name: _shorten(inner_value, keeps_members=False)
                for name, inner_value in value.items()
            }
            if keeps_members
            else {}
        )
    if isinstance(value, list):
        return []
    return value[:_MAX_OUTLINE_CHARS] if isinstance(value, str) else value


def is_zero(temperature: Json) -> bool:
    """True if a client sets its temperature to 0; no word and no boolean is a number."""
    return temperature == 0 and not isinstance(temperature, bool)
