"""Search an official SDK's types for members that a member list has no decision on."""

import types
import typing
from collections.abc import Iterator

import pydantic
import typing_extensions

from gateway.dialects.member_list import WHOLE, MemberList


def find_undecided(sdk_type: object, members: MemberList, name: str) -> Iterator[str]:
    """Find members and type words of an SDK's type that a list lacks, each by its path.

    `name` is that of the objects in the list. The search goes where the list does, and not into
    objects on which there is one decision.
    """
    yield from _search(sdk_type, members, name, name, set())


def _search(
    sdk_type: object, members: MemberList, name: str, path: str, seen: set[tuple[object, str]]
) -> Iterator[str]:
    for object_type in list_object_types(sdk_type):
        if (object_type, name) in seen:
            continue
        seen.add((object_type, name))
        fields = read_fields(object_type)
        words = read_type_words(fields.get("type"))
        lists = [(path, members[name])] if name in members else []
        if not lists:
            for word in words or [""]:
                if f"{name}:{word}" in members:
                    lists.append((f"{path}:{word}", members[f"{name}:{word}"]))
                else:
                    yield f"{path}:{word or object_type.__name__}"
        for inner_path, listed in lists:
            if WHOLE in listed:
                continue
            for member, member_type in fields.items():
                if member not in listed:
                    yield f"{inner_path}.{member}"
                elif listed[member].inside:
                    yield from _search(
                        member_type, members, listed[member].inside, f"{inner_path}.{member}", seen
                    )


def list_object_types(sdk_type: object) -> Iterator[type]:
    """List the object types that a type may be, alone or in a list."""
    if isinstance(sdk_type, typing.TypeAliasType | typing_extensions.TypeAliasType):
        yield from list_object_types(sdk_type.__value__)
        return
    origin = typing.get_origin(sdk_type)
    if origin in (dict, typing.Literal):
        return
    if origin is not None:
        arguments = typing.get_args(sdk_type)
        if origin is typing.Annotated:
            arguments = arguments[:1]
        for argument in arguments:
            yield from list_object_types(argument)
    elif isinstance(sdk_type, types.UnionType):
        for argument in sdk_type.__args__:
            yield from list_object_types(argument)
    elif isinstance(sdk_type, type) and (
        typing_extensions.is_typeddict(sdk_type) or issubclass(sdk_type, pydantic.BaseModel)
    ):
        yield sdk_type


def read_fields(object_type: type) -> dict[str, object]:
    """Return the members of an object type by their names on the wire, each with its type."""
    if typing_extensions.is_typeddict(object_type):
        hints = typing_extensions.get_type_hints(object_type, include_extras=True)
        return {_find_alias(name, hint): hint for name, hint in hints.items()}
    fields = typing.cast("type[pydantic.BaseModel]", object_type).model_fields
    return {field.alias or name: field.annotation for name, field in fields.items()}


def _find_alias(name: str, hint: object) -> str:
    """Return the wire name of a TypedDict's member, if an annotation gives one."""
    for item in getattr(hint, "__metadata__", ()):
        if (alias := getattr(item, "alias", None)) is not None:
            return str(alias)
    for argument in typing.get_args(hint):
        if typing.get_origin(argument) is typing.Annotated:
            return _find_alias(name, argument)
    return name


def read_type_words(sdk_type: object) -> list[str]:
    """Return the words of a literal type; none for any other."""
    if typing.get_origin(sdk_type) is typing.Literal:
        return [word for word in typing.get_args(sdk_type) if isinstance(word, str)]
    words: list[str] = []
    for argument in typing.get_args(sdk_type):
        words += read_type_words(argument)
    return words
