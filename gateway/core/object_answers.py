"""Read the objects of an answer: new ones that a provider has made, and the items of a list.

A provider lists the objects of all keys that share an account. The gateway leaves out those of
other keys; all other bytes of the list stay.
"""

from collections.abc import Container, Iterable, Mapping

import msgspec

from gateway.core import json_size, jsonio
from gateway.core.jsonio import Json, Members
from gateway.core.object_ids import find_file_name

_SIZE_MEMBERS = ("bytes", "size_bytes")
"""The members that have the bytes of a file."""
_FIXED_EXPIRY_KINDS = frozenset({"file", "upload"})
"""Kinds whose `expires_at` is the time of their deletion, which nothing changes later."""

_read_list = jsonio.make_reader(list[msgspec.Raw])


class MadeObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object that an answer shows."""

    id: str
    kind: str
    expires_at: float | None = None
    """When the provider deletes it, in seconds since the epoch; None if that may change."""
    facts: dict[str, Json] = {}


def find_made_objects(kind: str, value: Mapping[str, Json]) -> list[MadeObject]:
    """Return the object that an answer shows, which is of a kind, and the file that it holds.

    An answer that shows none gives an empty list: call this for an answer that is no error.
    """
    return [item for item in (_read_object(kind, value), _read_file(value)) if item is not None]


def find_result_objects(makes: Mapping[str, str], value: Json) -> list[MadeObject]:
    """Return the objects that the provider itself has made, as the files of a batch.

    `makes` has their kinds by the members that hold their ids, with dots between names. A file of
    the Gemini API may be there by its URI.
    """
    objects: list[MadeObject] = []
    for member, kind in makes.items():
        held: list[Json] = [value]
        for name in member.split("."):
            held = _list_members(held, name)
        names = (find_file_name(id) for id in held if isinstance(id, str))
        objects += [MadeObject(id=name, kind=kind) for name in names if name]
    return objects


def _list_members(values: Iterable[Json], name: str) -> list[Json]:
    """Return a member of each object; a list there stands for its items."""
    members = [value.get(name) for value in values if isinstance(value, dict)]
    return [
        item for member in members for item in (member if isinstance(member, list) else [member])
    ]


class ObjectPage:
    """One page of a list of objects."""

    def __init__(self, members: Members, list_member: str) -> None:
        self._members = members
        self._list_member = list_member
        self._items = _read_list(bytes(memoryview(members[list_member])))
        self._ids = [_read_id(jsonio.loads(memoryview(item))) for item in self._items]

    @property
    def ids(self) -> list[str]:
        """The ids of the objects of all keys, in their order."""
        return [id for id in self._ids if id is not None]

    @property
    def has_more(self) -> bool:
        """True if the provider has another page."""
        return bool(self._read_member("has_more") or self._read_member("nextPageToken"))

    @property
    def next_cursor(self) -> str:
        """The value that asks for the next page: its token (Gemini), or the last id."""
        token = self._read_member("nextPageToken")
        return token if isinstance(token, str) else "".join(self.ids[-1:])

    def keep(self, ids: Container[str]) -> bytes:
        """Return the page with those objects only.

        A page without an object is the last one, since clients go on from the last object.
        """
        kept = [
            (id, item)
            for id, item in zip(self._ids, self._items, strict=True)
            if id is not None and id in ids
        ]
        if len(kept) == len(self._items):
            return jsonio.join_members(self._members)
        data = b"[" + b",".join(bytes(memoryview(item)) for _, item in kept) + b"]"
        changes: dict[str, bytes] = {self._list_member: data}
        for name, index in (("first_id", 0), ("last_id", -1)):
            changes[name] = jsonio.dumps(kept[index][0] if kept else None)
        if not kept:
            changes["has_more"] = b"false"
        members = self._members | {
            name: msgspec.Raw(raw) for name, raw in changes.items() if name in self._members
        }
        return jsonio.join_members(members)

    def _read_member(self, name: str) -> Json:
        raw = self._members.get(name)
        return None if raw is None else jsonio.loads(memoryview(raw))


def read_page(body: bytes, list_member: str) -> ObjectPage | None:
    """Return the page that an answer to a list is; None if it is no page that the gateway knows.

    Such an answer must not reach the client: it may show objects of other keys.
    """
    if json_size.exceeds(body, json_size.MAX_VALUES):
        return None
    try:
        members = jsonio.read_members(body)
        return ObjectPage(members, list_member) if list_member in members else None
    except jsonio.JsonError:
        return None


def _read_object(kind: str, value: Mapping[str, Json]) -> MadeObject | None:
    id = _read_id(value)
    if id is None:
        return None
    sizes = [value[name] for name in _SIZE_MEMBERS if isinstance(value.get(name), int)]
    expires_at = value.get("expires_at") if kind in _FIXED_EXPIRY_KINDS else None
    return MadeObject(
        id=id,
        kind=kind,
        expires_at=float(expires_at) if isinstance(expires_at, int | float) else None,
        facts={"bytes": sizes[0]} if sizes else {},
    )


def _read_file(value: Mapping[str, Json]) -> MadeObject | None:
    """Return the file that an upload has made, or that Gemini wraps in its answer."""
    file = value.get("file")
    return _read_object("file", file) if isinstance(file, dict) else None


def _read_id(value: Json) -> str | None:
    """Return the id of an object, or the name that the Gemini API has in its place."""
    if not isinstance(value, Mapping):
        return None
    id = value.get("id") or value.get("name")
    return id if isinstance(id, str) and id else None
