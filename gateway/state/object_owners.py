"""Remember the owners of objects at providers: files, batches, vector stores and the like.

All keys share the accounts of a provider, so the provider gives each key the objects of all. The
gateway therefore remembers the key that made an object, and the account where it is. It writes that
to disk before the client learns the id.

The memory is bounded: for each key the gateway keeps a number of objects of each kind, and forgets
those that were used longest ago. Such an object stays at its provider, but its key can no longer
name it.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from gateway.core.call import Key
from gateway.core.errors import Problem, ProblemError
from gateway.core.jsonio import Json
from gateway.core.owned_object import OwnedObject
from gateway.settings.data_folder import SQLITE_SCHEME
from gateway.state.errors import ObjectStoreError
from gateway.state.object_store.database import ObjectDatabase, OwnerGroup

_FILE_NAME = "objects.db"
"""The SQLite file, in the data folder."""
_ADDS_PER_PRUNE = 100
"""New objects after which a process prunes: a key may have so many too many for a while."""

_UNAVAILABLE = Problem(
    kind="ledger",
    name="objects_unavailable",
    message="The gateway cannot look up or note whose objects these are. Try again soon.",
    retry_after=5,
)


class ObjectOwners:
    """The owners of objects. One thread asks the database, which other processes use too.

    All methods raise ProblemError (kind `ledger`) if the database cannot be used.
    """

    def __init__(
        self,
        database: ObjectDatabase,
        *,
        max_objects: int,
        note: Callable[[str], object] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`note` gets what the operator must know; `clock` returns seconds since the epoch."""
        self._database = database
        self._max_objects = max_objects
        self._note = note
        self._clock = clock
        self._executor = ThreadPoolExecutor(1, "object-owners")
        self._grown: set[OwnerGroup] = set()
        """The groups that have had new objects since the process last pruned."""
        self._adds = 0

    async def find(self, owner: Key, ids: Iterable[str]) -> list[OwnedObject]:
        """Return the objects of a key that have one of these ids; objects of other keys are none.

        One id may be two objects, at two accounts.
        """
        return await self._run(partial(self._database.find, owner, ids, self._clock()))

    async def find_others(self, owner: Key, ids: Iterable[str]) -> set[str]:
        """Return those of the ids that are objects of other keys."""
        return await self._run(partial(self._database.find_others, owner, ids, self._clock()))

    async def add(self, objects: Collection[OwnedObject], *, replaces: bool = True) -> None:
        """Remember objects that a provider has made, before the client learns their ids.

        With `replaces`, a new object takes the place of one with its id at its account: the
        provider gives an id anew only if the former object is gone.
        """
        await self._run(partial(self._add, list(objects), replaces=replaces))

    async def remove(self, objects: Collection[OwnedObject]) -> None:
        """Forget objects that the provider has deleted."""
        await self._run(partial(self._database.remove, list(objects)))

    async def change_facts(self, item: OwnedObject, facts: dict[str, Json]) -> bool:
        """Replace the facts of an object; return False if another process has changed them."""
        return await self._run(partial(self._database.change_facts, item, facts))

    async def list_with_open_jobs(self, limit: int) -> list[OwnedObject]:
        """Return objects of all keys that are jobs which have not ended, the oldest first."""
        return await self._run(partial(self._database.list_with_open_jobs, limit))

    async def close(self) -> None:
        """Close the database once what was asked is done."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, self._database.close)
        self._executor.shutdown(wait=False)

    def _add(self, objects: list[OwnedObject], *, replaces: bool) -> None:
        now = self._clock()
        self._database.add(objects, now, replaces=replaces)
        self._grown.update((item.tenant, item.key, item.kind) for item in objects)
        self._adds += len(objects)
        if self._adds < _ADDS_PER_PRUNE:
            return
        forgotten = self._database.prune(self._grown, self._max_objects, now)
        self._adds = 0
        self._grown.clear()
        if forgotten:
            text = (
                f"forgot {forgotten} objects that were used longest ago: a key has more than"
                f" {self._max_objects} of a kind. They stay at their providers;"
                " passthrough.max_objects is the bound"
            )
            self._note(text)

    async def _run[T](self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            # What a provider has made is remembered, also for a client that has left.
            return await asyncio.shield(loop.run_in_executor(self._executor, work))
        except ObjectStoreError as error:
            self._note(str(error))
            raise ProblemError(_UNAVAILABLE) from None


def open_object_database(store_url: str, data: Path) -> ObjectDatabase:
    """Return the database of owned objects, for one thread. Raises ObjectStoreError.

    It is in PostgreSQL where the ledger's store is, at `store_url`; else it is a file of the data
    folder.
    """
    # Imported here: PostgreSQL's driver is optional.
    if store_url.startswith(SQLITE_SCHEME):
        from gateway.state.object_store.sqlite import SqliteObjectDatabase  # noqa: PLC0415

        return SqliteObjectDatabase(data / _FILE_NAME, creates=True, keeps_connection=True)
    from gateway.state.object_store.postgres import PostgresObjectDatabase  # noqa: PLC0415

    return PostgresObjectDatabase(store_url, creates=True, keeps_connection=True)
