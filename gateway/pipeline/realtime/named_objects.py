"""The objects that messages of a session name, as files: a key reaches its own alone."""

from collections.abc import Callable

from gateway.core import jsonio
from gateway.core.call import Key
from gateway.core.errors import invalid_request
from gateway.core.object_ids import NamedObject, find_objects, may_name_objects
from gateway.core.owned_object import ObjectPlace
from gateway.dialects.realtime.base import SessionForm
from gateway.pipeline.passthrough.objects import ObjectGuard
from gateway.upstream.large_work import LargeWork


class SessionObjectGuard:
    """Checks the messages of clients in one form."""

    def __init__(
        self, guard: ObjectGuard, form: SessionForm, check_body: Callable[[bytes], object]
    ) -> None:
        """`check_body` raises ProblemError for a message with too many values to be read."""
        self._guard = guard
        self._form = form
        self._check_body = check_body
        self._large_work = LargeWork()

    async def check(self, message: bytes, key: Key, place: ObjectPlace) -> None:
        """Check that a message names only objects of a key, at the account of its session.

        Raises ProblemError.
        """
        named_objects = await self._large_work.read(self._find, message)
        if not named_objects:
            return
        found = await self._guard.find_call_place(key, named_objects)
        if found is not None and found != place:
            text = "The session is at another provider account than an object that it names."
            raise invalid_request(text)

    def _find(self, message: bytes) -> list[NamedObject]:
        """Return the objects that a message names. Raises ProblemError."""
        if not may_name_objects(self._form, message):
            return []
        self._check_body(message)
        try:
            value = jsonio.loads(message)
        except jsonio.JsonError:
            raise invalid_request("The message is not valid JSON.") from None
        return find_objects(self._form, message, value)
