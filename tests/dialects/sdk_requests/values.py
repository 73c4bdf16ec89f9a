"""Small JSON values of an SDK's types."""

import collections.abc
import enum
import types
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

import pydantic
import typing_extensions

from tests.dialects.request_strategies import PNG, SCHEMA, URL, Object
from tests.drift.sdk_types import read_fields, read_type_words

_LISTS = (list, collections.abc.Iterable, collections.abc.Sequence)
_TEXTS = {
    "arguments": "{}",
    "data": PNG,
    "fileUri": URL,
    "file_data": f"data:application/pdf;base64,{PNG}",
    "file_url": URL,
    "image_url": f"data:image/png;base64,{PNG}",
    "mimeType": "image/png",
    "name": "find",
    "responseMimeType": "application/json",
    "role": "model",
    "url": URL,
}
"""Texts that must have a form, by the names of their members."""
_NUMBERS = {"budget_tokens": 2000, "max_tokens": 4000, "n": 2, "candidateCount": 2, "topK": 40}
_SCHEMAS = frozenset(
    {"input_schema", "parameters", "parametersJsonSchema", "responseJsonSchema", "schema"}
)
"""Members that hold a JSON schema."""


class Value(NamedTuple):
    """A value of a member: plain, or an object whose members have types of their own."""

    json: Any
    object_type: type | None = None
    list_depth: int = 0
    """The number of lists around the value."""

    def wrap(self, json: Any) -> Any:
        """Return a value of the same type in as many lists as this one."""
        for _ in range(self.list_depth):
            json = [json]
        return json


def list_values(sdk_type: object, name: str) -> Iterator[Value]:
    """List values of a type: one of each form that it allows, and each word of a literal type.

    `name` is that of the member.
    """
    if isinstance(sdk_type, typing.TypeAliasType | typing_extensions.TypeAliasType):
        yield from list_values(sdk_type.__value__, name)
    elif typing.get_origin(sdk_type) is typing.Literal:
        yield from map(Value, typing.get_args(sdk_type))
    elif _is_wrapper(sdk_type):
        yield from list_values(typing.get_args(sdk_type)[0], name)
    elif typing.get_origin(sdk_type) is typing.Union or isinstance(sdk_type, types.UnionType):
        for alternative in typing.get_args(sdk_type):
            yield from list_values(alternative, name)
    elif typing.get_origin(sdk_type) in _LISTS:
        for item in list_values(typing.get_args(sdk_type)[0], name):
            yield item._replace(list_depth=item.list_depth + 1)
    elif isinstance(sdk_type, type) and _is_object_type(sdk_type):
        for word in read_type_words(read_fields(sdk_type).get("type")) or [""]:
            yield Value(make_object(sdk_type, word), sdk_type)
    elif sdk_type is not types.NoneType:
        yield from map(Value, _list_plain_values(sdk_type, name))


def _is_wrapper(sdk_type: object) -> bool:
    """True if a type only adds a note to another."""
    wrappers = (
        typing.Annotated, typing.Required, typing.NotRequired,
        typing_extensions.Required, typing_extensions.NotRequired,
    )  # fmt: skip
    return typing.get_origin(sdk_type) in wrappers


def _is_object_type(sdk_type: type) -> bool:
    """True if a type is of objects with known members."""
    return typing_extensions.is_typeddict(sdk_type) or issubclass(sdk_type, pydantic.BaseModel)


def _list_plain_values(sdk_type: object, name: str) -> list[Any]:
    if name in _SCHEMAS:
        return [SCHEMA]
    if sdk_type is bool:
        return [True, False]
    if sdk_type is int:
        return [_NUMBERS.get(name, 1)]
    if sdk_type is float:
        return [_NUMBERS.get(name, 0.5)]
    if sdk_type in (str, bytes):
        return [_TEXTS.get(name, "eHh4")]
    if isinstance(sdk_type, type) and issubclass(sdk_type, enum.Enum):
        words = [word.value for word in sdk_type]
        return [word for word in words if not word.lower().endswith("unspecified")]
    if sdk_type in (Any, object) or typing.get_origin(sdk_type) in (dict, collections.abc.Mapping):
        return [{"a": "b"}]
    return []  # a file, or another object of Python that the SDK turns into text


def make_object(object_type: type, word: str) -> Object:
    """Return an object with a type word and the members that it must have."""
    object_: Object = {}
    for name, hint in read_fields(object_type).items():
        if name == "type" and word:
            object_[name] = word
        elif _is_required(object_type, name, hint):
            value = next(list_values(hint, name))
            object_[name] = value.wrap(value.json)
    return object_


def _is_required(object_type: type, name: str, hint: object) -> bool:
    """True if an object must have a member."""
    if typing_extensions.is_typeddict(object_type):
        return typing.get_origin(hint) in (typing.Required, typing_extensions.Required)
    fields = typing.cast("type[pydantic.BaseModel]", object_type).model_fields
    return name in fields and fields[name].is_required()
