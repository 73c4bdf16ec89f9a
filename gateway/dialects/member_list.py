"""Member lists: the members of requests and answers that a dialect knows, and a search for others.

Each dialect's `schema.py` lists its objects by name, and of each object the members. Where members
depend on a type word, there is an object for each word: `part:text`, `part:image_url`. What a list
lacks is unknown. Natively it passes; translation loses it, and names it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from gateway.core.canonical_request import LostMember
from gateway.core.jsonio import Json

type Decision = Literal["read", "carried", "approximated", "named", "refused", "ignored"]
"""The treatment of a member in translation. In answers there are read, carried, named and ignored.

    read          a decoder reads it: it changes what the other side gets
    carried       goes on as it is, with all that it holds
    approximated  a decoder tells it in another form, and the loss is named
    named         is left out, and the loss is named
    refused       the client depends on it: the target is skipped
    ignored       says nothing that the other side needs; the reason is given
"""


class Member(NamedTuple):
    """One member of an object."""

    decision: Decision
    reason: str = ""
    """Why it is not read as it is: follows the name of the target's dialect."""
    inside: str = ""
    """The name of the objects that it holds, alone or in a list; empty where none is searched."""
    path: str = ""
    """In answers: the path of these objects, where it is not that of the member."""


type Members = Mapping[str, Member]
type MemberList = Mapping[str, Members]
"""By the name of an object, or by its name and a type word: `part:text`."""

WHOLE = "*"
"""Stands for all members of an object on which there is one decision: the search stays outside.

A loss has the type word of the object. If it is `read`, the decoder takes or refuses all of it.
"""
OTHER = "*"
"""Stands for all type words that have no object of their own: `part:*`."""

READ, CARRIED = Member("read"), Member("carried")


def read_inside(name: str, path: str = "") -> Member:
    """Return a member that is read, and whose objects have a list of their own."""
    return Member("read", inside=name, path=path)


def name_loss(reason: str = "has no such member") -> Member:
    """Return a member that translation leaves out and names."""
    return Member("named", reason)


def approximate(reason: str) -> Member:
    """Return a member that a decoder tells in another form."""
    return Member("approximated", reason)


def refuse(reason: str) -> Member:
    """Return a member on which the client depends."""
    return Member("refused", reason)


def ignore(reason: str) -> Member:
    """Return a member that says nothing that the other side needs."""
    return Member("ignored", reason)


UNKNOWN = name_loss()
UNKNOWN_OBJECT: Members = {WHOLE: UNKNOWN}
"""Members of an object whose type word no list has."""


def find_lost_members(value: Json, members: MemberList, name: str) -> Iterator[LostMember]:
    """Find what translation leaves out of an object of this name, at any depth.

    What is null says nothing. Neither does what is empty, or a known member that is false, unless
    the client depends on it.
    """
    yield from _search(value, members, name, "")


def find_object(value: Mapping[str, Json], members: MemberList, name: str) -> Members | None:
    """Return the members that are known of an object; None for an unknown type word.

    An object without a type word has an empty one.
    """
    member = members.get(name)
    if member is None:
        member = members.get(f"{name}:{value.get('type') or ''}")
    return members.get(f"{name}:{OTHER}") if member is None else member


def _search(value: Json, members: MemberList, name: str, path: str) -> Iterator[LostMember]:
    if isinstance(value, list):
        for item in value:
            yield from _search(item, members, name, path)
        return
    object_members = find_object(value, members, name) if isinstance(value, dict) else None
    if object_members is None:
        return  # no object; or of an unknown type, which the decoder refuses whole
    if WHOLE in object_members:
        word = path + str(value.get("type") or "")
        yield from _list_losses(word.removesuffix("."), object_members[WHOLE])
        return
    for key, item in value.items():
        member = object_members.get(key) or object_members.get(to_camel_case(key), UNKNOWN)
        if item is None or (item in _EMPTY and member.decision != "refused"):
            continue
        inner_path = f"{path}{key}"
        if member.inside:
            yield from _search(item, members, member.inside, f"{inner_path}.")
        elif member is UNKNOWN or item is not False:
            yield from _list_losses(inner_path, member)


_EMPTY: tuple[Json, ...] = ("", [], {})


def _list_losses(path: str, member: Member) -> Iterator[LostMember]:
    """List the loss of a member that does not go on as it is."""
    match member.decision:
        case "approximated":
            yield LostMember(path, member.reason, is_essential=False, action="approximated")
        case "named" | "refused":
            yield LostMember(path, member.reason, is_essential=member.decision == "refused")
        case _:
            return


def find_unread_members(value: Json, members: MemberList, name: str, path: str = "") -> list[str]:
    """Find what a client does not get of an object of an answer, at any depth.

    Return the paths of members and the type words of objects that are `named` or unknown. `path`
    begins them. What is null or empty says nothing; neither does a known member that is false.
    """
    names: list[str] = []
    _find_unread(value, members, name, path, names)
    return names


def _find_unread(value: Json, members: MemberList, name: str, path: str, names: list[str]) -> None:
    """Add the names. It runs for each frame of a translated stream."""
    if not isinstance(value, dict):
        for item in value if isinstance(value, list) else ():
            _find_unread(item, members, name, path, names)
        return
    object_members = members.get(name) or find_object(value, members, name) or UNKNOWN_OBJECT
    if WHOLE in object_members:
        if object_members[WHOLE].decision == "named":
            names.append(f"{path}{value.get('type') or ''}".removesuffix("."))
        return
    for key, item in value.items():
        member = object_members.get(key, UNKNOWN)
        if member is READ or item is None:
            continue
        decision, _, inside, inner_path = member
        if inside:
            if item:
                _find_unread(item, members, inside, f"{inner_path or path + key}.", names)
        elif (
            decision == "named" and item not in _EMPTY and (item is not False or member is UNKNOWN)
        ):
            names.append(path + key)


def find_unknown_members(value: Json, members: MemberList, name: str) -> list[str]:
    """Find the members and type words of an object of an answer that no list has, at any depth.

    Return the path of each once. What is null says nothing.
    """
    names: dict[str, None] = {}
    _find_unknown(value, members, name, "", names)
    return [*names]


def _find_unknown(
    value: Json, members: MemberList, name: str, path: str, names: dict[str, None]
) -> None:
    if not isinstance(value, dict):
        for item in value if isinstance(value, list) else ():
            _find_unknown(item, members, name, path, names)
        return
    type_word = str(value.get("type") or "")
    object_members = members.get(name) or members.get(f"{name}:{type_word}")
    if object_members is None:
        names[path + (type_word or name.partition(":")[2] or "(no type)")] = None
        return
    for key, item in value.items() if WHOLE not in object_members else ():
        member = object_members.get(key)
        if member is None and item is not None:
            names[path + key] = None
        elif member is not None and member.inside:
            _find_unknown(item, members, member.inside, f"{path}{key}.", names)


def to_camel_case(name: str) -> str:
    """Return a name as Google writes it: its clients may write snake_case too."""
    return _UNDERSCORE.sub(lambda match: match.group(1).upper(), name)


_UNDERSCORE = re.compile("_([a-z])")
