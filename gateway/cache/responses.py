"""Answers of the Responses API that later requests go on from, for labs that keep none.

An answer is kept with all of its conversation, under its own id: whatever becomes of the ones
before it, and wherever the next request goes, it can be said whole. A provider that keeps answers
itself is told the earlier one's id, as the client wrote it.
"""

import re

import msgspec

from gateway.cache import key as keys
from gateway.cache.packed import Packed
from gateway.cache.sealed import Sealed
from gateway.core import jsonio, sse
from gateway.core.call import Key
from gateway.core.jsonio import Json
from gateway.core.problem import Problem, ProblemError, invalid
from gateway.dialects import OPENAI_RESPONSES, Body
from gateway.state import Store

PREVIOUS = "previous_response_id"
_BOUND = (PREVIOUS, "conversation", "prompt")
"""Members that stand for content which only the provider has."""
_DELETED = b"-"
_ITEMS = jsonio.reader(list[msgspec.Raw])
_TELLS = re.compile(
    rb'"type"\s*:\s*"response\.(?:created|output_item\.done|(completed|incomplete))"'
)
_FREE = frozenset({"message", "reasoning", "function_call", "custom_tool_call"})
"""Items that need no id."""


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """A request with what came before it."""

    body: Body
    """With the whole conversation."""
    asked: Body
    """The same for labs of other dialects: the gateway keeps in their place."""
    own: Body | None = None
    """As the client wrote it: for whoever has the earlier answer."""
    provider: str | None = None
    account: str | None = None
    """Who has it; None where nobody does."""


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One answer."""

    input: bytes | None
    """The items that it answers, all since the conversation began; None where they are bound."""
    response: bytes
    provider: str
    account: str
    kept: bool
    """Whether the provider keeps it too."""


_PACKED = Packed(_Entry)


class Responses:
    """Answers by the key of a client and their id. Never raises for what a store holds."""

    def __init__(self, store: Store, *, secret: bytes, ttl: float) -> None:
        """Keep answers for `ttl` seconds."""
        self._sealed = Sealed(store, secret=secret, kind="response")
        self._ttl = ttl

    async def read(self, key: Key, body: Body) -> Chain:
        """What a request asks, and all that came before.

        Raises ProblemError: not_found, invalid_request.
        """
        id = body.value.get(PREVIOUS)
        if id is None:
            return Chain(body=body, asked=_without(body, "store"))
        if not isinstance(id, str):
            raise invalid(f'"{PREVIOUS}" must be a string.', PREVIOUS)
        entry = await self._entry(key, id)
        if entry is None:
            raise missing(f"Previous response with id '{id}' not found.", PREVIOUS)
        who = (entry.provider, entry.account) if entry.kept else (None, None)
        if entry.input is None:
            return Chain(body=body, asked=body, provider=who[0], account=who[1])
        whole = _expand(body, entry)
        return Chain(
            body=whole,
            asked=_without(whole, "store"),
            own=body if entry.kept else None,
            provider=who[0],
            account=who[1],
        )

    async def keep(
        self, key: Key, body: Body, response: bytes, provider: str, account: str, *, kept: bool
    ) -> None:
        """Keep the answer to `body`, the whole conversation; `kept`: its provider keeps it too."""
        value = _object(response)
        id = value.get("id")
        if value.get("status") not in ("completed", "incomplete") or not isinstance(id, str):
            return
        entry = _Entry(
            input=None if _bound(body) else _items(body),
            response=response,
            provider=provider,
            account=account,
            kept=kept,
        )
        await self._sealed.put(self._name(key, id), _PACKED.write(entry), self._ttl)

    async def find(self, key: Key, id: str) -> bytes:
        """A kept answer. Raises ProblemError: not_found."""
        entry = await self._entry(key, id)
        if entry is None:
            raise missing(f"Response with id '{id}' not found.", "response_id")
        return entry.response

    async def delete(self, key: Key, id: str) -> bytes:
        """Keep an answer no longer; gives what the client is told. Raises ProblemError: not_found.

        Answers that go on from it stay: they hold all that they need.
        """
        await self.find(key, id)
        await self._sealed.put(self._name(key, id), _DELETED, self._ttl)
        return jsonio.dumps({"id": id, "object": "response", "deleted": True})

    async def _entry(self, key: Key, id: str) -> _Entry | None:
        return _PACKED.read(await self._sealed.get(self._name(key, id)))

    def _name(self, key: Key, id: str) -> str:
        return self._sealed.name(keys.scope("key", key), id)


class Tape:
    """Keeps of a stream what its whole answer is made of."""

    __slots__ = ("_frames",)

    def __init__(self) -> None:
        self._frames: list[bytes] = []

    def add(self, data: bytes) -> bytes | None:
        """Take whole frames on their way to a client; give the answer once it has ended."""
        if _TELLS.search(data) is None:
            return None
        ended = False
        for frame in sse.frames(data):
            told = _TELLS.search(frame)
            if told is not None:
                self._frames.append(frame)
                ended = ended or told[1] is not None
        if not ended:
            return None
        try:
            return OPENAI_RESPONSES.fold(b"".join(self._frames))
        except (ValueError, TypeError, AttributeError, LookupError):
            return None  # of a shape that no answer has: nothing to keep


def keeps(body: Body) -> bool:
    """Whether the answer to a request is to be kept: the API does so unless it is told not to."""
    return body.value.get("store") is not False and body.value.get("background") is not True


def missing(message: str, param: str) -> ProblemError:
    """What the API says of an answer that it does not have."""
    code = "previous_response_not_found" if param == PREVIOUS else "response_not_found"
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    body = jsonio.dumps({"error": error})
    return ProblemError(Problem(kind="not_found", message=message, param=param, body=body))


def _bound(body: Body) -> bool:
    """Whether part of the conversation is known to the provider alone."""
    given = body.value.get("input")
    items = given if isinstance(given, list) else []
    return any(body.value.get(name) is not None for name in _BOUND) or any(
        item.get("type") == "item_reference" for item in items
    )


def _expand(body: Body, entry: _Entry) -> Body:
    """A request with the conversation before it in place of the earlier answer's id."""
    items = [*_ITEMS(entry.input or b"[]"), *_made(entry), *_ITEMS(_items(body))]
    joined = b"[" + b",".join([bytes(memoryview(item)) for item in items]) + b"]"
    members = {name: raw for name, raw in body.members.items() if name != PREVIOUS}
    whole = OPENAI_RESPONSES.read(jsonio.join({**members, "input": msgspec.Raw(joined)}))
    # The answer depends on what is kept: the cache of equal requests leaves it alone.
    prompt = msgspec.structs.replace(whole.prompt, stored=True)
    return Body(whole.raw, whole.members, whole.value, prompt)


def _made(entry: _Entry) -> list[msgspec.Raw]:
    """The items of an answer, byte for byte; what only its provider understands is left out."""
    members = jsonio.members(entry.response)
    items: list[msgspec.Raw] = _ITEMS(bytes(memoryview(members.get("output", msgspec.Raw(b"[]")))))
    if not entry.kept:
        return items
    output = _object(entry.response)["output"]
    return [msgspec.Raw(jsonio.dumps(_free(item))) for item in output if _portable(item)]


def _portable(item: dict[str, Json]) -> bool:
    """Whether an item means something beyond the provider that keeps it."""
    return item.get("type") != "reasoning" or bool(item.get("encrypted_content"))


def _free(item: dict[str, Json]) -> dict[str, Json]:
    """An item without the id by which its provider would look for those that belong to it."""
    if item.get("type") not in _FREE:
        return item
    return {name: value for name, value in item.items() if name != "id"}


def _items(body: Body) -> bytes:
    """The input of a request as a list of items."""
    given = body.value.get("input")
    if isinstance(given, list):
        return bytes(memoryview(body.members["input"]))
    return jsonio.dumps([] if given is None else [{"role": "user", "content": given}])


def _without(body: Body, name: str) -> Body:
    if name not in body.members:
        return body
    members = {one: raw for one, raw in body.members.items() if one != name}
    value = {one: said for one, said in body.value.items() if one != name}
    return Body(jsonio.join(members), members, value, body.prompt)


def _object(data: bytes) -> dict[str, Json]:
    try:
        value = jsonio.loads(data)
    except jsonio.JsonError:
        return {}
    return value if isinstance(value, dict) else {}
