"""People who have signed in by an identity provider, and what their roles may do."""

import msgspec

from gateway.settings.schema.sign_in import Role

ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")
"""From the least to the most rights."""
_READING_METHODS = frozenset({"GET", "HEAD"})
_ADMIN_PATHS = ("/admin/keys", "/admin/sessions", "/admin/audit", "/admin/labels")
"""Prefixes of paths that only an admin may change or read: who may call, who did what, and texts of
users to compare."""

_TEAM_PATHS = (
    *("/admin/costs", "/admin/entries", "/admin/conversations", "/admin/month"),
    *("/admin/series", "/admin/latency", "/admin/arms"),
)
"""Prefixes of paths that tell of the calls of one team alone."""


class Person(msgspec.Struct, frozen=True):
    """A person who has signed in."""

    name: str
    """The e-mail address, or else the subject at the identity provider."""
    role: Role
    team: str = ""
    """The team whose calls alone the person sees; empty if those of all."""


def may_see_path(person: Person, path: str) -> bool:
    """True if a page below /admin tells a person nothing of other teams than their own."""
    return not person.team or path.startswith(_TEAM_PATHS)


def find_needed_role(method: str, path: str) -> Role:
    """Return the least role that may send a request below /admin."""
    if path.startswith(_ADMIN_PATHS):
        return "admin"
    return "viewer" if method in _READING_METHODS else "operator"


def has_role(role: Role, needed_role: Role) -> bool:
    """True if a role has all rights of the needed one."""
    return ROLES.index(role) >= ROLES.index(needed_role)
