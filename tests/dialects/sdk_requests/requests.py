"""Requests made from an SDK's types: one for each member, with each value that its type allows."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pydantic
from google.genai import types

from gateway.dialects import DIALECTS
from gateway.dialects.member_list import WHOLE, Decision, Member, MemberList, find_object
from gateway.dialects.translation import get_translation
from tests.dialects.request_strategies import PDF, PNG, SCHEMA, URL, Object
from tests.dialects.sdk_requests.values import Value, list_values
from tests.drift.sdk_types import list_object_types, read_fields
from tests.drift.search import ROOTS

_CHAT_USER: Object = {"role": "user", "content": "hi"}
_GEMINI_USER: Object = {"role": "user", "parts": [{"text": "hi"}]}
_FUNCTION: Object = {"name": "find", "description": "Finds.", "parameters": SCHEMA}
_BASES: Mapping[str, Object] = {
    "openai-chat": {
        "model": "auto",
        "messages": [_CHAT_USER, _CHAT_USER],
        "tools": [{"type": "function", "function": _FUNCTION}],
    },
    "openai-responses": {
        "model": "auto",
        "input": [_CHAT_USER, _CHAT_USER],
        "tools": [{"type": "function", **_FUNCTION}],
    },
    "anthropic-messages": {
        "model": "auto",
        "max_tokens": 4000,
        "messages": [_CHAT_USER, _CHAT_USER],
        "tools": [{"name": "find", "input_schema": SCHEMA}],
    },
    "gemini": {
        "contents": [_GEMINI_USER, _GEMINI_USER],
        "tools": [{"functionDeclarations": [_FUNCTION]}],
    },
}
"""A plain request of each dialect. A made request has one more member, or one more item in a list."""
_NOT_IN_BODY = frozenset({"model", "betas", "openai-beta"})
"""Members that say who answers, or that an SDK sends as a header."""
_PNG_DATA: Object = {"mimeType": "image/png", "data": PNG}
_NEEDED: Mapping[tuple[str, str], Object] = {
    ("openai-chat", "message"): {"content": "hi"},
    ("anthropic-messages", "message"): {"content": "hi"},
    ("openai-chat", "link"): {"url": f"data:image/png;base64,{PNG}"},
    ("openai-chat", "file"): {
        "file_data": f"data:application/pdf;base64,{PDF}",
        "filename": "a.pdf",
    },
    ("openai-chat", "allowed_tools"): {
        "tools": [{"type": "function", "function": {"name": "find"}}]
    },
    ("openai-responses", "choice"): {"tools": [{"type": "function", "name": "find"}]},
    ("openai-responses", "part"): {
        "file_data": f"data:application/pdf;base64,{PDF}",
        "filename": "a.pdf",
        "image_url": f"data:image/png;base64,{PNG}",
    },
    ("gemini", "content"): {"role": "user", "parts": [{"text": "hi"}]},
    ("gemini", "function"): {"name": "seek"},
    ("gemini", "call"): {"name": "find", "args": {"a": "b"}},
    ("gemini", "argument"): {"jsonPath": "$.a", "stringValue": "c"},
    ("gemini", "result"): {"name": "find", "response": {"a": "b"}},
    ("gemini", "data"): _PNG_DATA,
    ("gemini", "file"): {"mimeType": "image/png", "fileUri": URL},
}
"""Members without which an object says nothing, by dialect and by its name in the member list."""
_ROLES: Mapping[str, str] = {
    **dict.fromkeys(("tool_use", "thinking", "redacted_thinking"), "assistant"),
    "tool_result": "user",
    **dict.fromkeys(("functionCall", "thought", "thoughtSignature"), "model"),
    "functionResponse": "user",
}
"""Roles of the only messages that may hold an object: by its type word, or by its member."""
_SYSTEM_MEMBERS = ("system", "systemInstruction")
"""Members of a whole request that hold its system prompt."""
_MEDIA_MEMBERS = frozenset(
    {
        "mediaResolution", "mediaProcessing", "videoMetadata", "audioMetadata",
        "documentMetadata", "spreadsheetMetadata",
    }
)  # fmt: skip
"""Members of a part of Gemini's that say something of its media."""
_ALTERNATIVES = (
    {"file_data", "file_url", "file_id"},
    {"image_url", "file_id"},
    {
        "text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode",
        "codeExecutionResult", "toolCall", "toolResponse", "audioTranscription",
    },
    {"args", "partialArgs"},
    {"stringValue", "numberValue", "boolValue", "nullValue"},
    {"tools", "functions"},
)  # fmt: skip
"""Members of which an object has one."""


class MadeRequest(NamedTuple):
    """A request with one value of one member, and the same without it."""

    path: str
    """The path of the member as a loss names it."""
    value: str
    """The value, in short."""
    request: Object
    without: Object
    decision: Decision | None
    """The decision on the member, or on all of the object around it; None if there is none."""

    @property
    def name(self) -> str:
        """The member and its value."""
        return f"{self.path}={self.value}"


def make_requests(dialect: str) -> Iterator[MadeRequest]:
    """Make a request for each value of each member that a dialect's SDK can send."""
    members = get_translation(DIALECTS[dialect]).request_members
    root = _make_gemini_root(members) if dialect == "gemini" else ROOTS[dialect]["request"]
    maker, requests = _Maker(dialect, members), dict[tuple[str, str], MadeRequest]()
    for object_type in list_object_types(root):
        place = _Place(object_type, "request", _BASES[dialect], lambda item: item)
        requests |= {
            (request.path, json.dumps(request.request)): request for request in maker.visit(place)
        }
    yield from requests.values()


def _make_gemini_root(members: MemberList) -> type:
    """Return the type of a generateContent body, which Google's SDK does not have."""
    settings = read_fields(types.GenerateContentConfig)
    own = read_fields(types.GenerationConfig)
    others = {name: settings[name] for name in settings if name in members["config"]}
    config = _make_type("GenerationSettings", {**others, **own})
    return _make_type(
        "GenerateContentRequest",
        {
            **{name: settings[name] for name in settings if name in members["request"]},
            "outputConfig": settings["generationOutputConfig"],
            "contents": list[types.Content],
            "systemInstruction": _make_type("System", {"parts": list[types.Part]}),
            "tools": list[types.Tool],
            "toolConfig": types.ToolConfig,
            "generationConfig": config,
        },
    )


def _make_type(name: str, fields: Mapping[str, Any]) -> type:
    config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    definitions: Any = {field: (hint, None) for field, hint in fields.items()}
    made_type: type = pydantic.create_model(name, __config__=config, **definitions)
    return made_type


class _Place(NamedTuple):
    """A place for an object in a request."""

    object_type: type
    name: str
    """The name of the objects in the member list; empty if it does not look into them."""
    base: Object
    """The object without more than it needs."""
    embed: Callable[[Object], Object]
    """Returns a request with an object in this place."""
    path: str = ""
    decision: Member | None = None
    """The decision on the object."""
    role: str = ""
    """The role of the message around the object."""


class _Maker:
    """Walks the types of one SDK, each once in each kind of place."""

    def __init__(self, dialect: str, members: MemberList) -> None:
        self._dialect, self._members = dialect, members
        self._visited: set[tuple[type, str, str, str]] = set()

    def visit(self, place: _Place) -> Iterator[MadeRequest]:
        """Make requests with each member of an object, and of the objects that it may hold."""
        listed = find_object(place.base, self._members, place.name) if place.name else None
        for field, hint in read_fields(place.object_type).items():
            if field in _NOT_IN_BODY or _ROLES.get(field, place.role) != place.role:
                continue
            member = place.decision if listed is None else listed.get(field)
            base = _leave_room(place.base, field)
            for value in list_values(hint, field):
                if value.object_type is None:
                    yield from self._make(place, base, field, value, value.json, member)
                    continue
                for item in self._complete(value, member):
                    yield from self._make(place, base, field, value, item, member)
                    yield from self._enter(place, base, field, value, item, member)

    def _complete(self, value: Value, member: Member | None) -> Iterator[Object]:
        """List the forms of an object: with what it needs, and in each role that it may have."""
        assert value.object_type is not None
        name = "" if member is None else member.inside
        fields = read_fields(value.object_type)
        needed = _NEEDED.get((self._dialect, name), {})
        item = {**value.json, **{key: default for key, default in needed.items() if key in fields}}
        yield item
        if (self._dialect, name) == ("gemini", "content"):
            yield {**item, "role": "model"}

    def _make(
        self,
        place: _Place,
        base: Object,
        field: str,
        value: Value,
        item: Any,
        member: Member | None,
    ) -> Iterator[MadeRequest]:
        """Make a request with one value of a member."""
        kind = item.get("type", "") if value.object_type else ""
        if base.get(field) == item or item == {} or _ROLES.get(kind, place.role) != place.role:
            return
        without = {key: inner for key, inner in base.items() if key != field}
        if _is_item(place, base, field, value):
            without = base
        yield MadeRequest(
            place.path + field,
            kind or (value.object_type.__name__ if value.object_type else str(item)),
            place.embed(_put(place, base, field, value, item)),
            place.embed(without),
            self._find_decision(value, item, member),
        )

    def _enter(
        self,
        place: _Place,
        base: Object,
        field: str,
        value: Value,
        item: Object,
        member: Member | None,
    ) -> Iterator[MadeRequest]:
        """Make requests with what an object in a member may hold."""
        assert value.object_type is not None
        name = "" if member is None else member.inside
        kind, role = item.get("type", ""), item.get("role", place.role)
        if field in _SYSTEM_MEMBERS:
            role = "system"
        visit = (value.object_type, name, kind, role)
        is_allowed = _ROLES.get(kind, role) == role
        if not is_allowed or visit in self._visited or not self._looks_inside(member, item):
            return
        self._visited.add(visit)
        yield from self.visit(
            _Place(
                value.object_type,
                name,
                item,
                lambda inner: place.embed(_put(place, base, field, value, inner)),
                f"{place.path}{field}.",
                member,
                role,
            )
        )

    def _find_decision(self, value: Value, item: Any, member: Member | None) -> Decision | None:
        """Return the decision on a value: that on all of an object, if there is one."""
        if member is None:
            return None
        listed = find_object(item, self._members, member.inside) if value.object_type else None
        decisions = {
            inner.decision for key, inner in (listed or {}).items() if key in item or key == WHOLE
        }
        return decisions.pop() if len(decisions) == 1 else member.decision

    def _looks_inside(self, member: Member | None, item: Object) -> bool:
        """True if the members of an object may have a decision each."""
        if member is not None and member.inside:
            return WHOLE not in (find_object(item, self._members, member.inside) or {})
        return member is None or member.decision == "read"


def _leave_room(base: Object, field: str) -> Object:
    """Return an object without what stands in the way of a member, and with what it needs."""
    others = {name for group in _ALTERNATIVES if field in group for name in group - {field}}
    object_ = {name: member for name, member in base.items() if name not in others}
    if field in _MEDIA_MEMBERS:
        object_["inlineData"] = _PNG_DATA
    elif "thought" in field or field in ("partMetadata", "speechMetadata"):
        object_["text"] = "hi"
    return object_


def _put(place: _Place, base: Object, field: str, value: Value, item: Any) -> Object:
    """Return an object with a value in a member; in a list of a whole request, the second item."""
    if _is_item(place, base, field, value):
        return {**base, field: [*base[field][:1], item, *base[field][1:]]}
    return {**base, field: value.wrap(item)}


def _is_item(place: _Place, base: Object, field: str, value: Value) -> bool:
    """True if a value goes between the items that the plain request has."""
    return not place.path and value.list_depth > 0 and field in base
