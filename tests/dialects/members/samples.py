"""The places of objects in samples of requests and answers, and samples with other members."""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

from gateway.dialects.member_list import OTHER, WHOLE, Member, MemberList, find_object
from tests.dialects.request_strategies import Object


class SamplePlace(NamedTuple):
    """An object in a request: its path, and its name in the member list."""

    steps: tuple[str | int, ...]
    name: str
    is_whole: bool = False
    """True if one decision covers the whole object."""

    @property
    def path(self) -> str:
        """The path as a loss names it: with dots, without indexes of lists."""
        return ".".join([step for step in self.steps if isinstance(step, str)])

    def list_keys(self, request: Any) -> list[str]:
        """List the members that the object has, as the member list names them."""
        return [WHOLE] if self.is_whole else [*self.find(request)]

    def make_loss_path(self, key: str) -> str:
        """Return the name of a member in a loss."""
        last = self.name.partition(":")[2] if key == WHOLE else key
        return f"{self.path}.{last}".strip(".")

    def find(self, request: Any) -> Object:
        """Return the object in a sample."""
        value: Any = request
        for step in self.steps:
            value = value[step]
        assert isinstance(value, dict | list)
        return value  # type: ignore[return-value]  # a list only as the parent of an object


def list_places(sample: Any, members: MemberList, name: str = "request") -> list[SamplePlace]:
    """List every object that the member list describes, of a sample of this name.

    The sample is an object, or a list of objects as the frames of a stream are.
    """
    return [*_search(sample, members, name, ())]


def _search(
    value: Any, members: MemberList, name: str, steps: tuple[str | int, ...]
) -> Iterator[SamplePlace]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _search(item, members, name, (*steps, index))
    elif isinstance(value, dict):
        listed = find_object(value, members, name)
        if listed:
            yield SamplePlace(steps, _find_list_name(value, members, name), WHOLE in listed)
            for key, member in listed.items():
                if member.inside and key in value:
                    yield from _search(value[key], members, member.inside, (*steps, key))


def _find_list_name(value: Object, members: MemberList, name: str) -> str:
    """Return the name that an object has in the member list."""
    names = (name, f"{name}:{value.get('type') or ''}", f"{name}:{OTHER}")
    return next(name for name in names if name in members)


def with_member[T](request: T, place: SamplePlace, name: str, value: object) -> T:
    """Return a sample with one more member in a place."""
    changed = copy.deepcopy(request)
    place.find(changed)[name] = value
    return changed


def without_member[T](request: T, place: SamplePlace, name: str) -> T:
    """Return a sample without one member of a place, or with another type if it is a type word.

    If one decision covers an object, the whole object is left out.
    """
    changed = copy.deepcopy(request)
    if name == WHOLE:
        parent = SamplePlace(place.steps[:-1], "").find(changed)
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
        for name, listed in members.items()
        for key, member in listed.items()
        if _is_one_of(member, decisions)
    ]


def _is_one_of(member: Member, decisions: tuple[str, ...]) -> bool:
    return member.decision in decisions
