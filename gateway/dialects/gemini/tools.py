"""Calls whose arguments come in pieces, arguments as text, and schemas of tools.

Google streams arguments in pieces (`partialArgs`). CallJoiner joins them as Google's ADK does:

    {"functionCall": {"name": "f", "id": "1", "willContinue": true}}
    {"functionCall": {"partialArgs": [{"jsonPath": "$.city", "stringValue": "Zü"}],
                      "willContinue": true}}
    {"functionCall": {"partialArgs": [{"jsonPath": "$.city", "stringValue": "rich"}]}}

Texts of one path are joined; any other value replaces what its path had. A piece without
`willContinue` is the last one.

`parameters` and `responseSchema` are OpenAPI objects (types in upper case, `nullable`), which
become JSON Schema here. `parametersJsonSchema` and `responseJsonSchema` take JSON Schema, but not
every keyword. Source: Schema and FunctionDeclaration of Google's API reference.
"""

import re
from collections.abc import Callable, Iterable

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.dialects.gemini.content import (
    Object,
    as_integer,
    get_member,
    list_objects,
    to_camel_case,
)
from gateway.dialects.gemini.reasoning_state import SIGNATURE_MEMBER
from gateway.dialects.json_values import as_text

_MAX_ITEMS = 10_000
"""Items of a list of arguments, as in ADK."""
_STEP = re.compile(
    r"""\[\s*(\d+)\s*\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]|\.?([^.\[\]'"\\]+)"""
)
"""One step of a path: an index, a name in quotes, or a plain name."""
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_VALUES = ("numberValue", "boolValue", "nullValue")

type _Path = tuple[str | int, ...]


class CallJoiner:
    """Takes the parts of one candidate, and returns whole ones."""

    __slots__ = ("_args", "_call", "_signature", "_texts")

    def __init__(self) -> None:
        self._call: Object | None = None
        """Name and id of the call whose arguments still come; None if there is none."""
        self._args: Object = {}
        self._texts: dict[_Path, list[str]] = {}
        """Texts that still grow, by path."""
        self._signature: Json = None

    @property
    def open(self) -> bool:
        """True if the arguments of a call still come."""
        return self._call is not None

    def take(self, part: Json) -> list[Object]:
        """Take the next part; return the parts that are whole by now.

        Raises ValueError for a piece that fits nowhere.
        """
        call = get_member(part, "functionCall") if isinstance(part, dict) else None
        if not isinstance(call, dict):
            return [part]
        pieces, will_continue = get_member(call, "partialArgs"), get_member(call, "willContinue")
        if not pieces and will_continue is None and not (self.open and not call.get("args")):
            return [*self.end(), part]
        name, open_call = as_text(call.get("name")), self._call
        out = (
            self.end()
            if open_call is not None and name not in (None, "", open_call["name"])
            else []
        )
        if self._call is None:
            self._call = {"name": ""}
        self._call |= {key: call[key] for key in ("name", "id") if call.get(key)}
        self._signature = self._signature or get_member(part, SIGNATURE_MEMBER)
        for piece in list_objects(pieces):
            self._add_piece(piece)
        return out if will_continue is True else [*out, *self.end()]

    def end(self) -> list[Object]:
        """Return the open call, with the arguments that have come."""
        if self._call is None:
            return []
        for path, texts in self._texts.items():
            _set_argument(self._args, path, "".join(texts))
        part: Object = {"functionCall": {**self._call, "args": self._args}}
        if self._signature is not None:
            part[SIGNATURE_MEMBER] = self._signature
        self._call, self._args, self._texts, self._signature = None, {}, {}, None
        return [part]

    def _add_piece(self, piece: Object) -> None:
        path = _parse_path(as_text(get_member(piece, "jsonPath")) or "")
        text = get_member(piece, "stringValue")
        if isinstance(text, str):
            if path not in self._texts:
                self._texts[path] = []
                _set_argument(self._args, path, "")  # arguments keep the order in which they came
            self._texts[path].append(text)
            return
        for name in _VALUES:
            value = get_member(piece, name)
            if value is not None:
                self._texts.pop(path, None)
                _set_argument(self._args, path, None if name == "nullValue" else value)


def join_calls(parts: Iterable[Json]) -> list[Object]:
    """Join the calls of a whole answer or turn. Raises ValueError as CallJoiner.take does."""
    joiner = CallJoiner()
    whole = [whole_part for part in parts for whole_part in joiner.take(part)]
    return [*whole, *joiner.end()]


def _parse_path(text: str) -> _Path:
    """Read a JSON path. Raises ValueError for no path, or one that leads to no member."""
    rest, steps, at = text.removeprefix("$"), list[str | int](), 0
    while at < len(rest):
        step = _STEP.match(rest, at)
        if step is None:
            break
        index, single, double, plain = step.groups()
        name = single if single is not None else double
        steps.append(int(index) if index else plain if name is None else _unescape(name))
        at = step.end()
    if at < len(rest) or not steps or isinstance(steps[0], int):
        raise ValueError("no path of an argument")
    return tuple(steps)


def _unescape(name: str) -> str:
    def plain(match: re.Match[str]) -> str:
        code, letter = match.groups()
        return chr(int(code, 16)) if code else _ESCAPES.get(letter, letter)

    return _ESCAPE.sub(plain, name)


def _set_argument(args: Object, path: _Path, value: Json) -> None:
    """Set a value, and make the objects and lists on its path. Raises ValueError if it cannot."""
    here: Json = args
    for step, following in zip(path, (*path[1:], None), strict=True):
        if isinstance(here, list) and isinstance(step, int) and step < _MAX_ITEMS:
            here += [None] * (step + 1 - len(here))
        elif isinstance(here, dict) and isinstance(step, str):
            here.setdefault(step, None)
        else:
            raise ValueError("a value that fits nowhere")
        if following is None:
            here[step] = value
        else:
            if here[step] is None:
                here[step] = [] if isinstance(following, int) else {}
            here = here[step]


RAW_ARGUMENTS = "_raw"
"""The member that holds arguments which are no object."""


def parse_arguments(text: str) -> Object:
    """Return a call's arguments as an object; anything else becomes a member of one."""
    try:
        value = jsonio.loads_text(text) if text.strip() else None
    except jsonio.JsonError:
        value = text
    if value is None:  # some hosts write null where there are none
        return {}
    return value if isinstance(value, dict) else {RAW_ARGUMENTS: text}


_SILENT_WORDS = frozenset({"$schema", "$id", "$comment", "examples", "readOnly", "writeOnly"})
"""Keywords that restrain nothing."""
_REFUSED_WORDS = frozenset(
    {
        "discriminator", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "not", "if", "then",
        "else", "patternProperties", "unevaluatedProperties", "propertyNames", "dependentRequired",
        "dependentSchemas", "contains", "minContains", "maxContains", "uniqueItems",
    }
)  # fmt: skip
"""Keywords that restrain, and that Gemini does not take."""
_NAMED_SCHEMAS = ("properties", "$defs", "definitions")
"""Members whose own members are schemas."""
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE_SCHEMAS = ("items", "additionalProperties")
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_TYPE_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number"}


def fit_schema(schema: Json, lost_words: set[str]) -> Json:
    """Return a schema in keywords that Gemini takes; `lost_words` gets other restraining ones."""
    if not isinstance(schema, dict):
        return schema
    lost_words |= _REFUSED_WORDS & schema.keys()
    kept = {k: v for k, v in schema.items() if k not in _REFUSED_WORDS and k not in _SILENT_WORDS}
    if "const" in kept:
        value = kept.pop("const")
        kept["enum"] = [value]
        if type(value) in _TYPE_NAMES:
            kept.setdefault("type", _TYPE_NAMES[type(value)])
    return _map_schemas(kept, lambda inner: fit_schema(inner, lost_words))


def to_json_schema(schema: Json) -> Json:
    """Return an OpenAPI schema of Gemini's as JSON Schema."""
    if not isinstance(schema, dict):
        return schema
    converted: Object = {to_camel_case(name): value for name, value in schema.items()}
    kind = converted.get("type")
    if isinstance(kind, str):
        converted["type"] = kind.lower()
    if converted.pop("nullable", None) is True:
        _allow_null(converted)
    _order_properties(converted, converted.pop("propertyOrdering", None))
    if "example" in converted:
        converted["examples"] = [converted.pop("example")]
    if "defs" in converted:
        converted["$defs"] = converted.pop("defs")
    if isinstance(converted.get("ref"), str):
        converted["$ref"] = converted.pop("ref").replace("#/defs/", "#/$defs/")
    for name in _COUNTS:
        count = as_integer(converted.get(name))
        if count is not None:
            converted[name] = count
    return _map_schemas(converted, to_json_schema)


def _order_properties(schema: Object, order: Json) -> None:
    """Put properties into an order that Google has a keyword for; others follow."""
    properties = schema.get("properties")
    if isinstance(properties, dict) and isinstance(order, list):
        names = [name for name in order if isinstance(name, str) and name in properties]
        schema["properties"] = {name: properties[name] for name in (*names, *properties)}


def _allow_null(schema: Object) -> None:
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
        if isinstance(schema.get("enum"), list):
            schema["enum"] = [*schema["enum"], None]
    elif isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]


def _map_schemas(schema: Object, change: Callable[[Json], Json]) -> Object:
    """Return a schema with every schema in it changed."""
    mapped = dict(schema)
    for name in _NAMED_SCHEMAS:
        if isinstance(mapped.get(name), dict):
            mapped[name] = {key: change(value) for key, value in mapped[name].items()}
    for name in _SCHEMA_LISTS:
        if isinstance(mapped.get(name), list):
            mapped[name] = [change(value) for value in mapped[name]]
    for name in _SINGLE_SCHEMAS:
        if name in mapped:
            mapped[name] = change(mapped[name])
    return mapped
