"""A check of a text against a JSON schema, in bounded time.

It checks the keywords of JSON Schema that models get wrong: types, members, items and values. It
takes unknown keywords to fit, so that a misfit is certain. It reads Gemini's OpenAPI schemas too.
"""

from gateway.core import jsonio
from gateway.core.jsonio import Json

_MAX_STEPS = 2_000
"""The maximum number of values to compare with a schema."""
_MAX_DEPTH = 32
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


def fits(text: str, schema: Json) -> bool:
    """True if a text is JSON and fits the schema, if there is one."""
    try:
        value = jsonio.loads_text(text)
    except jsonio.JsonError:
        return False
    return not isinstance(schema, dict) or _Fit(schema).check(value, schema, _MAX_DEPTH)


class _Fit:
    """One comparison, which ends after `_MAX_STEPS` values."""

    def __init__(self, root: dict[str, Json]) -> None:
        self._root = root
        self._steps_left = _MAX_STEPS

    def check(self, value: Json, schema: Json, depth: int) -> bool:
        """True if a value fits, or if the check cannot tell."""
        self._steps_left -= 1
        if not isinstance(schema, dict) or self._steps_left < 0 or depth < 0:
            return True
        if (reference := schema.get("$ref")) is not None:
            return self.check(value, self._find_definition(reference), depth - 1)
        if value is None and schema.get("nullable") is True:
            return True
        alternatives = schema.get("anyOf", schema.get("oneOf"))
        if isinstance(alternatives, list) and alternatives:
            fitting = (self.check(value, item, depth - 1) for item in alternatives)
            if not any(fitting):
                return False
        return (
            _has_type(value, schema.get("type"))
            and _is_listed(value, schema)
            and (not isinstance(value, dict) or self._check_members(value, schema, depth))
            and (not isinstance(value, list) or self._check_items(value, schema, depth))
        )

    def _check_members(self, value: dict[str, Json], schema: dict[str, Json], depth: int) -> bool:
        required, members = schema.get("required"), schema.get("properties")
        members = members if isinstance(members, dict) else {}
        names = required[:_MAX_STEPS] if isinstance(required, list) else []
        if any(isinstance(name, str) and name not in value for name in names):
            return False
        is_closed = schema.get("additionalProperties") is False and (
            "patternProperties" not in schema
        )
        if is_closed and not value.keys() <= members.keys():
            return False
        return all(
            self.check(inner, members[name], depth - 1)
            for name, inner in value.items()
            if name in members
        )

    def _check_items(self, value: list[Json], schema: dict[str, Json], depth: int) -> bool:
        inner = schema.get("items")
        return all(self.check(item, inner, depth - 1) for item in value[:_MAX_STEPS])

    def _find_definition(self, reference: Json) -> Json:
        """Return the schema that a reference like `#/$defs/Item` names; None if it is elsewhere."""
        value: Json = self._root
        path = reference.split("/") if isinstance(reference, str) else [""]
        for name in path[1:_MAX_DEPTH]:
            value = value.get(name) if isinstance(value, dict) else None
        return value if path[0] == "#" else None


def _has_type(value: Json, kind: Json) -> bool:
    names = [kind] if isinstance(kind, str) else kind if isinstance(kind, list) else []
    names = names[: len(_TYPES)]
    types = [_TYPES.get(name.lower()) for name in names if isinstance(name, str)]
    if not types or None in types:
        return True
    return any(_is_of(value, kinds) for kinds in types if kinds)


def _is_of(value: Json, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    is_whole = isinstance(value, float) and value.is_integer()
    return isinstance(value, kinds) or (is_whole and int in kinds)


def _is_listed(value: Json, schema: dict[str, Json]) -> bool:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return not isinstance(values, list) or len(values) > _MAX_STEPS or value in values
