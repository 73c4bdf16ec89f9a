"""The end user whom a client names: the part of its id that stays the same in every request."""

import re

from gateway.core import jsonio
from gateway.core.jsonio import Json

_CLAUDE_CODE_PATTERN = re.compile(r"user_(?P<device>.*?)_account_(?P<account>.*?)_session_.*")
"""The form of `metadata.user_id` in versions of Claude Code before they sent JSON."""
_STABLE_MEMBERS = ("account_uuid", "device_id")
"""The members of the JSON that Claude Code sends, the one that names a person first."""
_SESSION_MEMBER = "session_id"


def find_stable_id(user: str) -> str:
    """Return the part of an end user's id that does not change with the session.

    Claude Code sends its device, its account and its session in one text. The account names the
    person; without one the device does. Any other id is returned unchanged.
    """
    user = user.strip()
    if user.startswith("{"):
        return _find_stable_member(user)
    match = _CLAUDE_CODE_PATTERN.fullmatch(user)
    return user if match is None else match["account"] or match["device"]


def _find_stable_member(user: str) -> str:
    try:
        identity: Json = jsonio.loads_text(user)
    except jsonio.JsonError:
        return user
    for name in _STABLE_MEMBERS:
        value = identity.get(name)
        if isinstance(value, str) and value:
            return value
    stable_members = {name: value for name, value in identity.items() if name != _SESSION_MEMBER}
    return jsonio.dumps_canonical(stable_members).decode() if stable_members else ""
