"""Schemas: JSON Schema as other dialects have it, and what Gemini has in its place.

`parameters` and `responseSchema` are OpenAPI objects (types in upper case, `nullable`), which
become JSON Schema here. `parametersJsonSchema` and `responseJsonSchema` take JSON Schema, but not
every word of it. Source: Schema and FunctionDeclaration of Google's API reference.
"""

from collections.abc import Callable

from gateway.core.jsonio import Json
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini.content import Object

_SILENT = frozenset({"$schema", "$id", "$comment", "examples", "readOnly", "writeOnly"})
"""Words that restrain nothing."""
_UNKNOWN = frozenset(
    {
        "discriminator", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "not", "if", "then",
        "else", "patternProperties", "unevaluatedProperties", "propertyNames", "dependentRequired",
        "dependentSchemas", "contains", "minContains", "maxContains", "uniqueItems",
    }
)  # fmt: skip
"""Words that Gemini does not take, and that restrain."""
_NAMED = ("properties", "$defs", "definitions")
"""Members whose own members are schemas."""
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_ONE = ("items", "additionalProperties")
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}


def fit(schema: Json, lost: set[str]) -> Json:
    """A JSON Schema in the words that Gemini takes; `lost` gets those that restrained."""
    if not isinstance(schema, dict):
        return schema
    lost |= _UNKNOWN & schema.keys()
    kept = {k: v for k, v in schema.items() if k not in _UNKNOWN and k not in _SILENT}
    if "const" in kept:
        value = kept.pop("const")
        kept["enum"] = [value]
        if type(value) in _TYPES:
            kept.setdefault("type", _TYPES[type(value)])
    return _within(kept, lambda inner: fit(inner, lost))


def plain(schema: Json) -> Json:
    """An OpenAPI schema of Gemini's as JSON Schema."""
    if not isinstance(schema, dict):
        return schema
    said: Object = {wire.camel(name): value for name, value in schema.items()}
    kind = said.get("type")
    if isinstance(kind, str):
        said["type"] = kind.lower()
    if said.pop("nullable", None) is True:
        _may_be_null(said)
    said.pop("propertyOrdering", None)
    if "example" in said:
        said["examples"] = [said.pop("example")]
    if "defs" in said:
        said["$defs"] = said.pop("defs")
    if isinstance(said.get("ref"), str):
        said["$ref"] = said.pop("ref").replace("#/defs/", "#/$defs/")
    for name in _COUNTS:
        count = wire.whole(said.get(name))
        if count is not None:
            said[name] = count
    return _within(said, plain)


def _may_be_null(said: Object) -> None:
    if isinstance(said.get("type"), str):
        said["type"] = [said["type"], "null"]
        if isinstance(said.get("enum"), list):
            said["enum"] = [*said["enum"], None]
    elif isinstance(said.get("anyOf"), list):
        said["anyOf"] = [*said["anyOf"], {"type": "null"}]


def _within(schema: Object, change: Callable[[Json], Json]) -> Object:
    """A schema with every schema in it changed."""
    said = dict(schema)
    for name in _NAMED:
        if isinstance(said.get(name), dict):
            said[name] = {key: change(value) for key, value in said[name].items()}
    for name in _LISTS:
        if isinstance(said.get(name), list):
            said[name] = [change(value) for value in said[name]]
    for name in _ONE:
        if name in said:
            said[name] = change(said[name])
    return said
