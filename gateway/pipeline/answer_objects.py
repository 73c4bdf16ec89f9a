"""Remember the objects that a provider makes while it answers a text call."""

from collections.abc import Awaitable, Callable

from gateway.core.answer_objects import find_answer_objects
from gateway.core.object_answers import MadeObject
from gateway.core.owned_object import ObjectPlace
from gateway.core.sse import FrameSplitter, read_data, split_data_frames
from gateway.pipeline.passthrough.objects import ObjectGuard
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse

_THREAD = "thread"


class AnswerObjects:
    """Notes whose containers, files of code and threads there are, before the client has an id.

    Only answers in the client's own dialect show them.
    """

    def __init__(self, objects: ObjectGuard) -> None:
        self._objects = objects

    async def save(self, request: UpstreamRequest, response: UpstreamResponse) -> None:
        """Remember what a whole answer shows. Raises ProblemError."""
        if response.body is not None and _shows_objects(request, response):
            await self._add(request, response, _find(request, response.body))

    def make_listener(
        self, request: UpstreamRequest, response: UpstreamResponse
    ) -> Callable[[bytes], Awaitable[None]] | None:
        """Return a listener that remembers what a stream shows; None if it can show nothing."""
        if not _shows_objects(request, response):
            return None
        splitter = FrameSplitter()
        known_ids: set[tuple[str, str]] = set()

        async def note(data: bytes) -> None:
            objects = [
                item
                for frame in split_data_frames(splitter.feed(data))
                for item in _find(request, read_data(frame))
                if (item.kind, item.id) not in known_ids
            ]
            known_ids.update((item.kind, item.id) for item in objects)
            await self._add(request, response, objects)

        return note

    async def _add(
        self, request: UpstreamRequest, response: UpstreamResponse, objects: list[MadeObject]
    ) -> None:
        place = ObjectPlace(response.target.provider.name, response.account.name)
        await self._objects.add_unless_known(request.call.key, place, objects)


def _shows_objects(request: UpstreamRequest, response: UpstreamResponse) -> bool:
    return request.makes_objects and response.dialect_name == request.dialect.name


def _find(request: UpstreamRequest, data: bytes) -> list[MadeObject]:
    has_thread = _THREAD in request.body.prompt.members
    return find_answer_objects(request.dialect.name, data, has_thread=has_thread)
