"""Parts that the requests of all dialects share, and the places of their objects."""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

from gateway.dialects.member_list import WHOLE, Member, MemberList, find_object
from tests.dialects.asks import Object


class Place(NamedTuple):
    """An object in a request: its path, and its name in the member list."""

    steps: tuple[str | int, ...]
    name: str
    is_whole: bool = False
    """True if one decision covers the whole object."""

    @property
    def path(self) -> str:
        """The path as a loss names it: with dots, without indexes of lists."""
        return ".".join([step for step in self.steps if isinstance(step, str)])

    def list_keys(self, request: Object) -> list[str]:
        """List the members that the object has, as the member list names them."""
        return [WHOLE] if self.is_whole else [*self.find(request)]

    def make_loss_path(self, key: str) -> str:
        """Return the name of a member in a loss."""
        last = self.name.partition(":")[2] if key == WHOLE else key
        return f"{self.path}.{last}".strip(".")

    def find(self, request: Object) -> Object:
        """Return the object in a request."""
        value: Any = request
        for step in self.steps:
            value = value[step]
        assert isinstance(value, dict | list)
        return value  # type: ignore[return-value]  # a list only as the parent of an object


def list_places(request: Object, members: MemberList) -> list[Place]:
    """List every object of a request that the member list describes."""
    return [*_search(request, members, "request", ())]


def _search(
    value: Any, members: MemberList, name: str, steps: tuple[str | int, ...]
) -> Iterator[Place]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _search(item, members, name, (*steps, index))
    elif isinstance(value, dict):
        known = find_object(value, members, name)
        if known:
            word = "" if name in members else f":{value.get('type') or ''}"
            yield Place(steps, f"{name}{word}", WHOLE in known)
            for key, member in known.items():
                if member.inside and key in value:
                    yield from _search(value[key], members, member.inside, (*steps, key))


def with_member(request: Object, place: Place, name: str, value: object) -> Object:
    """Return a request with one more member in a place."""
    changed = copy.deepcopy(request)
    place.find(changed)[name] = value
    return changed


def without_member(request: Object, place: Place, name: str) -> Object:
    """Return a request without one member of a place, or with another type if it is a type word.

    If one decision covers an object, the whole object is left out.
    """
    changed = copy.deepcopy(request)
    if name == WHOLE:
        parent = Place(place.steps[:-1], "").find(changed)
        del parent[place.steps[-1]]  # type: ignore[arg-type]  # a list, where the step is a number
    elif name == "type":
        place.find(changed)[name] = "another"
    else:
        del place.find(changed)[name]
    return changed


def list_members(members: MemberList, decisions: tuple[str, ...]) -> list[tuple[str, str]]:
    """List the members with one of these decisions, each with its object."""
    return [
        (name, key)
        for name, known in members.items()
        for key, member in known.items()
        if _is_one_of(member, decisions)
    ]


def _is_one_of(member: Member, decisions: tuple[str, ...]) -> bool:
    return member.decision in decisions
