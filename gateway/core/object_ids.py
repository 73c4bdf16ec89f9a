"""Find the ids of objects at a provider that a request names: files, vector stores, caches, ...

The tables say which members of a request hold such ids, by the API that defines them. Sources: the
types of the official SDKs (openai, anthropic, google-genai); tests/core/test_object_ids.py fails if
a new version has a member that is neither here nor in its list of exceptions.

An id counts at any depth, except in parts that a client may fill as it likes (the input of a tool,
a schema, metadata), and in what an earlier answer said (citations, results): no provider looks
anything up there.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from gateway.core import jsonio
from gateway.core.errors import invalid_request
from gateway.core.jsonio import Json

type ObjectApi = Literal["openai", "anthropic", "gemini"]
"""The API whose words a request has."""

_MAX_IDS = 1000
"""The most ids that one request may name."""
_ESCAPED_LETTER = re.compile(rb"\\u00(?:5[fF]|[46][1-9a-fA-F]|[57][0-9aA])")
"""A letter or underscore that is escaped, as a name that hides has it."""
_NAME = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")(?:[ \t\r\n]*(:))?', re.DOTALL)
"""A string of JSON, with the colon that makes it a name."""
_TYPE = re.compile(rb'"type"[ \t\r\n]*:')
_GOOGLE_HOST = re.compile(r"(?!storage\.)(?:.*\.)?googleapis\.com\.?", re.IGNORECASE)
"""A host of Google's APIs. Objects of Cloud Storage have owners of their own."""
_ITEM_MEMBERS = ("input", "items")
"""The members of a request that have items."""
_ITEM_REFERENCE = "item_reference"
_BACKSLASH = ord("\\")
_NONE: frozenset[str] = frozenset()
_FILE_PATH = re.compile(r"/(?:(?:upload|download)/)?v\d\w*/(files/[^/?#:]+)(?::download)?")
"""The path of a file of the Gemini API."""


class NamedObject(msgspec.Struct, frozen=True):
    """An object that a request names."""

    id: str
    kind: str
    """The kind that the request expects: file, vector_store, ... Only messages need it."""
    member: str
    """The member that names it, as the client wrote it."""


class IdTable(msgspec.Struct, frozen=True, kw_only=True):
    """The members of one API that hold ids."""

    members: Mapping[str, str]
    """The kind of object by the name of the member. The value is a text, or a list of texts."""
    holders: Mapping[str, str] = {}
    """The kind of object by the name of the member whose value is `{"id": ...}`."""
    uris: frozenset[str] = frozenset()
    """Members that have a URI: of a file of the provider, or of anything else."""
    words: Mapping[str, frozenset[str]] = {}
    """Values of a member that are no ids, by its name."""
    top_level: frozenset[str] = frozenset()
    """Members that hold an id only at the top of the request."""
    free_form: frozenset[str] = frozenset()
    """Members in whose values nothing is an id."""
    free_form_by_type: Mapping[str, frozenset[str]] = {}
    """Members in whose values nothing is an id, by the `type` of the object that has them."""
    names: frozenset[str] = frozenset()
    """The names of all these members, set from the rest."""
    pattern: re.Pattern[bytes] = re.compile(b"")
    """Matches each of these names up to its colon, set from the rest."""

    def __post_init__(self) -> None:
        """Set the names and the pattern."""
        names = frozenset({*self.members, *self.holders})
        choice = "|".join(sorted(names)).encode()
        pattern = re.compile(rb'"(?:' + choice + rb')"[ \t\r\n]*:')
        msgspec.structs.force_setattr(self, "names", names)
        msgspec.structs.force_setattr(self, "pattern", pattern)


_OPENAI = IdTable(
    members={
        "batch_id": "batch",
        "container": "container",
        "container_id": "container",
        "conversation": "conversation",
        "conversation_id": "conversation",
        "file_id": "file",
        "file_ids": "file",
        "input_file_id": "file",
        "input_files": "file",  # of Mistral
        "part_ids": "upload_part",
        "previous_response_id": "response",
        "skill_id": "skill",
        "training_file": "file",
        "upload_id": "upload",
        "validation_file": "file",
        "vector_store_id": "vector_store",
        "vector_store_ids": "vector_store",
    },
    holders={
        "characters": "character",
        "conversation": "conversation",
        "video": "video",
        "voice": "voice",
    },
    words={"conversation": frozenset({"auto", "none"})},  # of a realtime response
    free_form=frozenset({
        "annotations", "attributes", "filters", "json_schema", "metadata", "parameters", "results",
        "schema",
    }),
    free_form_by_type={
        "code_interpreter_call": frozenset({"container_id"}),
        "shell_call": frozenset({"environment"}),
    },
)  # fmt: skip
_ANTHROPIC = IdTable(
    members={
        "container": "container",
        "file_id": "file",
        "previous_message_id": "message",
        "skill_id": "skill",
    },
    holders={"container": "container"},
    free_form=frozenset({"citations", "diagnostics", "input_schema", "metadata", "schema"}),
    free_form_by_type={
        "bash_code_execution_output": frozenset({"file_id"}),
        "code_execution_output": frozenset({"file_id"}),
        "mcp_tool_use": frozenset({"input"}),
        "server_tool_use": frozenset({"input"}),
        "tool_use": frozenset({"input"}),
    },
)
_GEMINI = IdTable(
    members={
        "cachedContent": "cached_content",
        "cached_content": "cached_content",
        "environment": "environment",
        "environment_id": "environment",
        "fileName": "file",
        "file_name": "file",
        "fileSearchStoreNames": "file_search_store",
        "file_search_store_names": "file_search_store",
        "fileUri": "file",
        "file_uri": "file",
        "previous_interaction_id": "interaction",
        "previousInteractionId": "interaction",
        "uri": "file",
    },
    uris=frozenset({"fileUri", "file_uri", "uri"}),
    top_level=frozenset({"environment"}),
    free_form_by_type=dict.fromkeys(
        (
            "code_execution_result", "file_search_result", "google_maps_result",
            "google_search_result", "retrieval_result", "url_context_result",
        ),
        frozenset({"result"}),
    ),
    free_form=frozenset({
        "annotations", "args", "arguments", "customMetadata", "custom_metadata", "labels",
        "parameters", "parametersJsonSchema", "parameters_json_schema", "response",
        "responseJsonSchema", "response_json_schema", "responseSchema", "response_schema",
    }),
)  # fmt: skip
TABLES: Mapping[ObjectApi, IdTable] = {
    "openai": _OPENAI, "anthropic": _ANTHROPIC, "gemini": _GEMINI,
}  # fmt: skip


class CallMarks(msgspec.Struct, frozen=True):
    """Texts by which a call of a dialect may name objects."""

    api: ObjectApi
    texts: tuple[bytes, ...]
    """Bytes of which the body has at least one; a search for few of them costs little."""
    members: frozenset[str]
    """Members of the body, of which it has at least one else."""


CALL_MARKS: Mapping[str, CallMarks] = {
    "openai-chat": CallMarks("openai", (b"file_id",), frozenset({"audio"})),
    "openai-responses": CallMarks(
        "openai", (b"file_id", b"vector_store_id", b'"container'), frozenset({"conversation"})
    ),
    "anthropic-messages": CallMarks("anthropic", (b"file_id",), frozenset({"container", "thread"})),
    "gemini": CallMarks("gemini", (b'"file',), frozenset({"cachedContent", "cached_content"})),
}
"""The marks by dialect. A plain text has none of them, and the gateway does not walk through it."""


def call_may_name_objects(dialect: str, body: bytes, members: Collection[str]) -> bool:
    """Return True if a call may name objects: a quick test of its bytes and top-level members."""
    marks = CALL_MARKS[dialect]
    if not marks.members.isdisjoint(members) or any(text in body for text in marks.texts):
        return may_name_objects(marks.api, body)
    return _has_escaped_letter(body)


def may_name_objects(api: ObjectApi, body: bytes) -> bool:
    """Return True if a body may have a member that holds an id."""
    return TABLES[api].pattern.search(body) is not None or _has_escaped_letter(body)


def _has_escaped_letter(body: bytes) -> bool:
    return b"\\u00" in body and _ESCAPED_LETTER.search(body) is not None


def find_objects(api: ObjectApi, body: bytes, value: Json) -> list[NamedObject]:
    """Return the objects that a body names, each once; `value` is the body, parsed.

    Call it if `may_name_objects` says so. Raises ProblemError (invalid_request) if a member that
    holds ids stands twice or has escapes in its name, since the provider may read another value
    than the gateway does. The same goes for too many ids.
    """
    table = TABLES[api]
    found: dict[str, NamedObject] = {}
    count = 0
    for name, member, is_free_form in _walk(table, value):
        count += 1
        for id, kind in () if is_free_form else _read_ids(table, name, member):
            found.setdefault(id, NamedObject(id, kind, name))
        if len(found) > _MAX_IDS:
            raise invalid_request(f"A request may name at most {_MAX_IDS:,} objects.", name)
    if count != _count_names(table, body) or _has_escaped_name(table, body):
        raise invalid_request(
            "A member that names an object stands twice in one object, or has escapes in its name:"
            " write each such member once, as `file_id`."
        )
    if _relies_on_types(table, body) and _count_types(value) != _count_matches(_TYPE, body):
        raise invalid_request("A member `type` stands twice in one object: write it once.", "type")
    return list(found.values())


def find_item_references(value: Mapping[str, Json]) -> list[str]:
    """Return the ids of items of earlier answers that a request of OpenAI refers to.

    The provider puts the content of such an item in its place, whichever key has it. The type of a
    reference may be left out.
    """
    items = [
        item
        for name in _ITEM_MEMBERS
        if isinstance(held := value.get(name), list)
        for item in held
        if isinstance(item, dict)
    ]
    return [
        id
        for item in items
        if isinstance(id := item.get("id"), str)
        and (
            item.get("type") == _ITEM_REFERENCE
            or (item.get("type") is None and {*item} <= {"id", "type"})
        )
    ]


def is_shared(kind: str, id: str) -> bool:
    """Return True if every client of a provider has an object: a skill of the provider itself."""
    return kind == "skill" and not id.startswith("skill_")


def find_file_name(uri: str) -> str | None:
    """Return the name of the file of the Gemini API that a URI means; None if it means no file.

    Web pages, videos and objects of Cloud Storage are media, which the provider fetches: those are
    no objects of a key.
    """
    if "://" not in uri:
        return uri
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
    except ValueError:
        return uri  # a provider may read what the gateway cannot
    if parts.scheme not in ("http", "https"):
        return None
    if match := _FILE_PATH.fullmatch(parts.path):
        return match[1]
    return uri if _GOOGLE_HOST.fullmatch(host) else None


def _walk(table: IdTable, value: Json) -> Iterator[tuple[str, Json, bool]]:
    """Yield the members that hold ids, by name, each with True if nothing in its place is an id."""
    names, free_form = table.names, table.free_form
    stack = [(value, False)]
    is_top_level = True
    while stack:
        node, is_free_form = stack.pop()
        if isinstance(node, list):
            stack += [(item, is_free_form) for item in node if isinstance(item, dict | list)]
        elif isinstance(node, dict):
            kind = node.get("type")
            free_names = (
                table.free_form_by_type.get(kind, _NONE) if isinstance(kind, str) else _NONE
            )
            for name, member in node.items():
                if name in names:
                    is_free = is_free_form or name in free_names
                    is_misplaced = not is_top_level and name in table.top_level
                    yield name, member, is_free or is_misplaced
                if isinstance(member, dict | list):
                    is_free = is_free_form or name in free_form or name in free_names
                    stack.append((member, is_free))
        is_top_level = False


def _read_ids(table: IdTable, name: str, value: Json) -> Iterator[tuple[str, str]]:
    """Yield the ids that a member holds, each with the kind of its object."""
    for item in value if isinstance(value, list) else (value,):
        is_holder = isinstance(item, dict)
        kind = (table.holders if is_holder else table.members).get(name)
        id = item.get("id") if is_holder else item
        if kind is None or not isinstance(id, str) or id in table.words.get(name, _NONE):
            continue
        if name in table.uris:
            id = find_file_name(id)
        elif is_shared(kind, id):
            continue
        if id:
            yield id, kind


def _count_names(table: IdTable, body: bytes) -> int:
    """Count the members that hold ids; a match within a longer name is none."""
    return _count_matches(table.pattern, body)


def _count_matches(pattern: re.Pattern[bytes], body: bytes) -> int:
    return sum(
        match.start() == 0 or body[match.start() - 1] != _BACKSLASH
        for match in pattern.finditer(body)
    )


def _relies_on_types(table: IdTable, body: bytes) -> bool:
    """Return True if an object may have a type that makes its ids free."""
    return any(kind.encode() in body for kind in table.free_form_by_type)


def _count_types(value: Json) -> int:
    """Count the objects in a value that have a type."""
    count, stack = 0, [value]
    while stack:
        node = stack.pop()
        count += isinstance(node, dict) and "type" in node
        members = node.values() if isinstance(node, dict) else node
        stack += [item for item in members if isinstance(item, dict | list)]
    return count


def _has_escaped_name(table: IdTable, body: bytes) -> bool:
    return _has_escaped_letter(body) and any(
        match[2] and b"\\" in match[1] and jsonio.loads(match[1]) in table.names
        for match in _NAME.finditer(body)
    )
