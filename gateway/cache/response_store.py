"""Answers of the SavedResponses API that later requests go on from, for labs that keep none.

An answer is kept with all of its conversation, under its own id: whatever becomes of the ones
before it, and wherever the next request goes, it can be said whole. A provider that keeps answers
itself is told the earlier one's id, as the client wrote it.

A request may also name single items. Ids of items that the gateway wrote tell whose answer they are
of, and the last of a conversation has all the earlier ones in its own: one look serves for all.
Items whose ids a provider wrote are kept one by one as well.

Items of earlier answers, which a request may name by their ids in place of sending them again.

The AI SDK does so by default: `{"type": "item_reference", "id": "msg_1"}`. Source: `ItemReference`
of OpenAI's API reference; its type may be left out.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from itertools import batched

import msgspec

from gateway.cache import key as keys
from gateway.cache.codec import SealedStore, VersionedCodec
from gateway.core import jsonio, sse
from gateway.core.call import Key
from gateway.core.errors import Problem, ProblemError, invalid
from gateway.core.jsonio import Json
from gateway.dialects import OPENAI_RESPONSES, RequestBody
from gateway.dialects.openai_responses.said import refers
from gateway.dialects.openai_responses.telling import answer_id
from gateway.state import StateStore

type Object = dict[str, Json]

_READ = jsonio.reader(list[msgspec.Raw])
_FREE = frozenset({"message", "reasoning", "function_call", "custom_tool_call"})
"""Items that need no id."""


class StoredItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item."""

    item: bytes
    """As it was told."""
    provider: str
    account: str
    kept: bool
    """Whether the provider keeps it too."""

    @property
    def seat(self) -> tuple[str, str] | None:
        """Who may be told its id alone; None where nobody may."""
        return (self.provider, self.account) if self.kept else None


def references(body: RequestBody) -> list[str]:
    """The ids of items that a request names, in their order, each once. Raises ProblemError."""
    given = body.said.get("input")
    found: dict[str, None] = {}
    for at, item in enumerate(given if isinstance(given, list) else ()):
        if refers(item):
            id, where = item.get("id"), f"input[{at}].id"
            if not isinstance(id, str):
                raise invalid(f'"{where}" must be a string.', where)
            if id in found:
                raise invalid(f"Item with id '{id}' is named twice: name it once.", where)
            found[id] = None
    return [*found]


def unknown(id: str) -> ProblemError:
    """What a client is told of an item that is not here."""
    message = (
        f"Item with id '{id}' not found: it was not stored, or is not kept any more. "
        "Send the item itself in its place, and ask with store set to false to go on so."
    )
    return invalid(message, "input")


def expand(
    body: RequestBody, held: Mapping[str, StoredItem], seat: tuple[str, str] | None = None
) -> list[bytes]:
    """The items of a request, each in place of its id but where who has the `seat` knows that."""
    given = body.said.get("input")
    if not isinstance(given, list):
        return [] if given is None else [jsonio.dumps({"role": "user", "content": given})]
    found = []
    for raw, item in zip(cut(bytes(memoryview(body.members["input"]))), given, strict=True):
        one = held[item["id"]] if refers(item) else None
        if one is None or (seat is not None and one.seat == seat):
            found.append(raw)
        elif one.kept:
            found += portable([jsonio.loads(one.item)])
        else:
            found.append(one.item)
    return found


def portable(items: Iterable[Object]) -> list[bytes]:
    """Items as they may go beyond the provider that keeps them."""
    return [jsonio.dumps(_free(item)) for item in items if _means(item)]


def cut(data: bytes | None) -> list[bytes]:
    """A JSON list as its items, byte for byte; none of anything else."""
    try:
        return [bytes(memoryview(it)) for it in _READ(data or b"[]")]
    except jsonio.JsonError:
        return []


def by_id(
    listed: Iterable[bytes], provider: str, account: str, *, kept: bool
) -> dict[str, StoredItem]:
    """Those of a list of items that have an id, and who has them."""
    found = {}
    for raw in listed:
        item = jsonio.loads(raw)
        id = item.get("id") if isinstance(item, dict) else None
        if isinstance(id, str):
            found[id] = StoredItem(item=raw, provider=provider, account=account, kept=kept)
    return found


def _means(item: Object) -> bool:
    """Whether an item means something beyond the provider that keeps it."""
    return item.get("type") != "reasoning" or bool(item.get("encrypted_content"))


def _free(item: Object) -> Object:
    """An item without the id by which its provider would look for those that belong to it."""
    if item.get("type") not in _FREE:
        return item
    return {name: value for name, value in item.items() if name != "id"}


PREVIOUS = "previous_response_id"
_BOUND = (PREVIOUS, "conversation", "prompt")
"""Members that stand for content which only the provider has."""
_DELETED = b"-"
_AT_ONCE = 64
"""Items that are looked for at the same time."""
_MOST = 64
"""Answers that are looked through for the items of one request: the last one has nearly all."""
_TELLS = re.compile(
    rb'"type"\s*:\s*"response\.(?:created|output_item\.done|(completed|incomplete))"'
)


class ResponseChain(msgspec.Struct, frozen=True, kw_only=True):
    """A request with what came before it."""

    body: RequestBody
    """With the whole conversation."""
    asked: RequestBody
    """The same for labs of other dialects: the gateway keeps in their place."""
    own: RequestBody | None = None
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


_PACKED, _HELD = VersionedCodec(_Entry), VersionedCodec(StoredItem)


class SavedResponses:
    """Answers by the key of a client and their id. Never raises for what a store holds."""

    def __init__(self, store: StateStore, *, secret: bytes, ttl: float) -> None:
        """Keep answers for `ttl` seconds."""
        self._sealed = SealedStore(store, secret=secret, kind="response")
        self._items = SealedStore(store, secret=secret, kind="item")
        self._ttl = ttl

    async def read(self, key: Key, body: RequestBody) -> ResponseChain:
        """What a request asks, and all that came before.

        Raises ProblemError: not_found, invalid_request.
        """
        id, named = body.said.get(PREVIOUS), references(body)
        if id is None and not named:
            return ResponseChain(body=body, asked=_without(body, "store"))
        if not isinstance(id, str | None):
            raise invalid(f'"{PREVIOUS}" must be a string.', PREVIOUS)
        entry = await self._entry(key, id) if id is not None else None
        if id is not None and entry is None:
            raise missing(f"Previous response with id '{id}' not found.", PREVIOUS)
        held = await self._recall(key, named)
        if entry is not None:
            seat = (entry.provider, entry.account) if entry.kept else None
        else:
            seat = next((it for one in reversed(named) if (it := held[one].seat)), None)
        provider, account = seat or (None, None)
        stays = all(seat is not None and held[one].seat == seat for one in named)
        own = body if stays else _with(body, expand(body, held, seat))
        if entry is not None and entry.input is None:
            return ResponseChain(body=own, asked=own, provider=provider, account=account)
        before = [*cut(entry.input), *_made(entry)] if entry is not None else []
        whole = _with(body, [*before, *expand(body, held)], PREVIOUS)
        return ResponseChain(
            body=whole,
            asked=_without(whole, "store"),
            own=own if seat is not None else None,
            provider=provider,
            account=account,
        )

    async def keep(
        self,
        key: Key,
        body: RequestBody,
        response: bytes,
        provider: str,
        account: str,
        *,
        kept: bool,
    ) -> None:
        """Keep the answer to `body`, the whole conversation; `kept`: its provider keeps it too."""
        value = _object(response)
        id = value.get("id")
        if value.get("status") not in ("completed", "incomplete") or not isinstance(id, str):
            return
        entry = _Entry(
            input=None if _bound(body) else _input(body),
            response=response,
            provider=provider,
            account=account,
            kept=kept,
        )
        loose = [(name, one) for name, one in _output(entry).items() if answer_id(name) != id]
        await asyncio.gather(
            self._sealed.put(self._name(key, id), _PACKED.write(entry), self._ttl),
            *(self._put(key, name, _HELD.write(one)) for name, one in loose),
        )

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
        entry = await self._entry(key, id)
        if entry is None:
            raise missing(f"Response with id '{id}' not found.", "response_id")
        await self._sealed.put(self._name(key, id), _DELETED, self._ttl)
        loose = [name for name in _output(entry) if answer_id(name) != id]
        await asyncio.gather(*(self._put(key, name, _DELETED) for name in loose))
        return jsonio.dumps({"id": id, "object": "response", "deleted": True})

    async def _entry(self, key: Key, id: str) -> _Entry | None:
        return _PACKED.read(await self._sealed.get(self._name(key, id)))

    async def _recall(self, key: Key, named: list[str]) -> Mapping[str, StoredItem]:
        """The items of a client that have these ids. Raises ProblemError: invalid_request."""
        found: dict[str, StoredItem] = {}
        rest: dict[str, None] = {}
        answers: set[str] = set()
        for id in reversed(named):
            answer = answer_id(id)
            if id not in found and answer is not None and answer not in answers:
                answers.add(answer)
                entry = await self._entry(key, answer)
                found = {**_earlier(entry), **_output(entry), **found} if entry else found
            if id not in found:
                if len(answers) > _MOST:
                    raise unknown(id)
                rest[id] = None
        for some in batched(rest, _AT_ONCE):
            for id, one in zip(some, await self._singly(key, some), strict=True):
                if one is None:
                    raise unknown(id)
                found[id] = one
        return found

    async def _singly(self, key: Key, ids: tuple[str, ...]) -> list[StoredItem | None]:
        data = await asyncio.gather(*(self._items.get(self._item(key, id)) for id in ids))
        return [_HELD.read(it) for it in data]

    async def _put(self, key: Key, id: str, data: bytes) -> None:
        await self._items.put(self._item(key, id), data, self._ttl)

    def _name(self, key: Key, id: str) -> str:
        return self._sealed.name(keys.scope("key", key), id)

    def _item(self, key: Key, id: str) -> str:
        return self._items.name(keys.scope("key", key), id)


class StreamTape:
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


def keeps(body: RequestBody) -> bool:
    """Whether the answer to a request is to be kept: the API does so unless it is told not to."""
    return body.said.get("store") is not False and body.said.get("background") is not True


def missing(message: str, param: str) -> ProblemError:
    """What the API says of an answer that it does not have."""
    code = "previous_response_not_found" if param == PREVIOUS else "response_not_found"
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    body = jsonio.dumps({"error": error})
    return ProblemError(Problem(kind="not_found", message=message, param=param, body=body))


def _bound(body: RequestBody) -> bool:
    """Whether part of the conversation is known to the provider alone."""
    given = body.said.get("input")
    listed = given if isinstance(given, list) else []
    return any(body.said.get(name) is not None for name in _BOUND) or any(map(refers, listed))


def _with(body: RequestBody, found: list[bytes], *gone: str) -> RequestBody:
    """A request with the items that it stands for, and without members."""
    joined = b"[" + b",".join(found) + b"]"
    members = {name: raw for name, raw in body.members.items() if name not in gone}
    whole = OPENAI_RESPONSES.read(jsonio.join({**members, "input": msgspec.Raw(joined)}))
    # The answer depends on what is kept: the cache of equal requests leaves it alone.
    prompt = msgspec.structs.replace(whole.prompt, stored=True)
    return msgspec.structs.replace(whole, prompt=prompt)


def _made(entry: _Entry) -> list[bytes]:
    """The items of an answer, byte for byte; what only its provider understands is left out."""
    found = _told(entry)
    return portable(map(jsonio.loads, found)) if entry.kept else found


def _told(entry: _Entry) -> list[bytes]:
    """The items of an answer."""
    output = jsonio.members(entry.response).get("output")
    return cut(None if output is None else bytes(memoryview(output)))


def _output(entry: _Entry) -> dict[str, StoredItem]:
    """The items of an answer by their ids."""
    return by_id(_told(entry), entry.provider, entry.account, kept=entry.kept)


def _earlier(entry: _Entry) -> dict[str, StoredItem]:
    """The items before an answer, those that have ids: they mean something without them."""
    return by_id(cut(entry.input), entry.provider, entry.account, kept=False)


def _input(body: RequestBody) -> bytes:
    """The input of a request as a list of items."""
    return b"[" + b",".join(expand(body, {})) + b"]"


def _without(body: RequestBody, name: str) -> RequestBody:
    return body.without(name) if name in body.members else body


def _object(data: bytes) -> dict[str, Json]:
    try:
        value = jsonio.loads(data)
    except jsonio.JsonError:
        return {}
    return value if isinstance(value, dict) else {}
