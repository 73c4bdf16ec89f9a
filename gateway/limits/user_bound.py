"""Counters for end users: each has its own, up to a maximum for each key and window.

Clients choose the ids of end users, so their number has no bound. The users who come after the
maximum share one counter, `OTHER_USERS`.
"""

from collections.abc import Sequence

import msgspec

from gateway.limits.counters import CounterStore
from gateway.limits.window import Window

OTHER_USERS = "others"
"""The name of all end users of a key who have no counters of their own."""
_MAX_CACHED = 32_768
"""The most answers that are cached."""


class UserGroup(msgspec.Struct, frozen=True, gc=False):
    """The name under which an end user is counted, until the moment `valid_until`."""

    name: str
    valid_until: float


class UserBound:
    """Says under which name an end user is counted, and remembers it until the window ends."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], UserGroup] = {}

    async def find_name(
        self,
        counter_store: CounterStore,
        tenant: str,
        key: str,
        user: str,
        windows: Sequence[Window],
        max_users: int,
        now: float,
    ) -> str:
        """Return the name for a user of a key: the user itself, or OTHER_USERS.

        It is one name for all `windows`, which are those of now. Raises StoreUnavailable.
        """
        cache_key = tenant, key, user
        group = self._groups.get(cache_key)
        if group is not None and now < group.valid_until:
            return group.name
        name = user
        for window in windows:
            if not await counter_store.claim_user(tenant, key, user, window, max_users, now):
                name = OTHER_USERS
        ends = [window.end for window in windows if window.end is not None]
        if len(self._groups) >= _MAX_CACHED:
            self._groups.clear()
        self._groups[cache_key] = UserGroup(name, min(ends, default=float("inf")))
        return name

    def forget(self) -> None:
        """Forget all names, as those of another store or of another maximum."""
        self._groups.clear()
