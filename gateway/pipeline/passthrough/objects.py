"""The objects that pass-through calls name, make, list and delete.

A key reaches only objects that it has made. The provider cannot tell keys apart: all of them use
its one account.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from gateway.core.call import Key
from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.core.jsonio import Json
from gateway.core.object_answers import MadeObject, ObjectPage
from gateway.core.object_ids import NamedObject
from gateway.core.owned_object import ObjectPlace, OwnedObject
from gateway.routing import refusals
from gateway.state.object_owners import ObjectOwners

type Facts = dict[str, Json]

_FOREIGN_DETAIL = (
    "`passthrough: {foreign: pass}` lets keys name objects that no key has made through the "
    "gateway; docs/security.md has the risks"
)
_THREAD = "thread"
"""The member of a request to Anthropic that names an answer, with which a conversation goes on."""
_ANSWER_KINDS = frozenset({"response"})
"""Kinds of objects that have their own owners: stored answers, see `responses.foreign`."""
_MAX_NEW_OBJECTS = 1000
"""The most objects of one answer that the gateway remembers."""


class ObjectGuard:
    """Lets a key reach its own objects at providers, and remembers those that it makes."""

    def __init__(
        self,
        owners: ObjectOwners,
        *,
        allows_foreign: bool,
        wall: Callable[[], float],
        find_answer_place: Callable[[Key, str], Awaitable[ObjectPlace | None]] | None = None,
    ) -> None:
        """With `allows_foreign`, a key also reaches objects that no key has made through here.

        `find_answer_place` finds the account that keeps an answer, which calls for text have made.
        """
        self._find_answer_place = find_answer_place
        self._owners = owners
        self._allows_foreign = allows_foreign
        self._wall = wall

    async def find(
        self, key: Key, ids: Sequence[str], params: Mapping[str, str] = {}
    ) -> list[OwnedObject]:
        """Return the objects of a key with these ids. Raises ProblemError if one is not its own.

        `params` are the members that name the objects, by id, for the error.
        """
        if not ids:
            return []
        objects = await self._owners.find(key, ids)
        own_ids = {item.id for item in objects}
        answers = [await self._find_answer(key, id) for id in ids if id not in own_ids]
        objects += [answer for answer in answers if answer is not None]
        own_ids = {item.id for item in objects}
        unknown_ids = [id for id in ids if id not in own_ids]
        if unknown_ids and self._allows_foreign:
            others_ids = await self._owners.find_others(key, unknown_ids)
            unknown_ids = [id for id in unknown_ids if id in others_ids]
        if unknown_ids:
            id = unknown_ids[0]
            hint = (
                f"Send the whole conversation without `{_THREAD}`."
                if params.get(id) == _THREAD
                else "Create it through the gateway, with this key."
            )
            raise ProblemError(
                Problem(
                    kind="not_found",
                    message=(
                        f"This key has made no object {refusals.quote_name(id)} through the "
                        f"gateway. {hint}"
                    ),
                    detail=_FOREIGN_DETAIL,
                    param=params.get(id),
                )
            )
        return objects

    async def find_in_batch_files(
        self, key: Key, objects: Iterable[OwnedObject]
    ) -> list[OwnedObject]:
        """Return the objects that the requests in batch files name. Raises ProblemError.

        The provider looks them up in its account, whichever key has them.
        """
        ids: dict[str, None] = {}
        for item in objects:
            if item.kind != "file":
                continue
            batch = item.facts.get("batch")
            if batch is None or batch["problem"]:
                reason = batch["problem"] if batch else "The gateway has not read it as one."
                message = (
                    f"No batch can be made of the file {refusals.quote_name(item.id)}: {reason} "
                    "Send the whole file in one upload, at OpenAI with the purpose `batch`."
                )
                raise invalid_request(message)
            ids |= dict.fromkeys(batch["object_ids"])
        return await self.find(key, list(ids))

    async def _find_answer(self, key: Key, id: str) -> OwnedObject | None:
        """Return a stored answer of a key that its provider keeps too; None if there is none."""
        place = None
        if self._find_answer_place is not None:
            place = await self._find_answer_place(key, id)
        if place is None:
            return None
        return OwnedObject(
            id=id,
            kind="response",
            tenant=key.tenant,
            key=key.name,
            provider=place.provider,
            account=place.account,
            created_at=self._wall(),
        )

    async def keep_own(self, key: Key, place: ObjectPlace, page: ObjectPage) -> set[str]:
        """Return the ids on a page that are objects of a key at a provider account."""
        objects = await self._owners.find(key, page.ids)
        return {item.id for item in objects if ObjectPlace(item.provider, item.account) == place}

    async def remove(self, objects: Sequence[OwnedObject]) -> None:
        """Forget objects that the provider has deleted."""
        if objects:
            await self._owners.remove(objects)

    async def find_call_place(
        self, key: Key, named_objects: Iterable[NamedObject]
    ) -> ObjectPlace | None:
        """Return the provider account that has the objects which a text call names.

        Return None if it names none, or none that the gateway knows. Raises ProblemError.
        """
        params = {
            item.id: _THREAD if item.kind == "message" else item.member
            for item in named_objects
            if item.kind not in _ANSWER_KINDS
        }
        return find_place(await self.find(key, list(params), params))

    async def add(
        self, key: Key, place: ObjectPlace, made_objects: Sequence[MadeObject], facts: Facts
    ) -> None:
        """Remember new objects of a key before the client learns of them.

        `facts` are what the request shows of them.
        """
        if objects := self._describe(key, place, made_objects, facts):
            await self._owners.add(objects)

    async def add_unless_known(
        self, key: Key, place: ObjectPlace, made_objects: Sequence[MadeObject]
    ) -> None:
        """Remember objects of a key that its answer shows; those of other keys stay theirs."""
        if objects := self._describe(key, place, made_objects, {}):
            await self._owners.add(objects, replaces=False)

    def _describe(
        self, key: Key, place: ObjectPlace, made_objects: Sequence[MadeObject], facts: Facts
    ) -> list[OwnedObject]:
        now = self._wall()
        return [
            OwnedObject(
                id=item.id,
                kind=item.kind,
                tenant=key.tenant,
                key=key.name,
                provider=place.provider,
                account=place.account,
                created_at=now,
                expires_at=item.expires_at,
                facts={**facts, **item.facts},
            )
            for item in made_objects[:_MAX_NEW_OBJECTS]
        ]


def find_place(objects: Iterable[OwnedObject]) -> ObjectPlace | None:
    """Return the one provider account that has all of the objects; None if there are none.

    Raises ProblemError if no account has them all. An id may stand for objects at two accounts.
    """
    places_by_id: dict[str, set[ObjectPlace]] = {}
    for item in objects:
        places_by_id.setdefault(item.id, set()).add(ObjectPlace(item.provider, item.account))
    if not places_by_id:
        return None
    places = sorted(set.intersection(*places_by_id.values()))
    if not places:
        message = (
            "The request names objects of different providers or accounts. Name objects of one."
        )
        raise ProblemError(Problem(kind="invalid_request", message=message))
    return places[0]
