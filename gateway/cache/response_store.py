"""Stored answers of the Responses API, which later requests continue, for labs that keep none.

The gateway stores an answer with its whole conversation, under the answer's own id. So it can send
the whole conversation, whatever happens to earlier answers and wherever the next request goes. A
provider that keeps answers itself gets the earlier answer's id, as the client wrote it.

A request may also name single items of earlier answers by their ids, instead of sending them again.
The AI SDK does so by default: `{"type": "item_reference", "id": "msg_1"}`. Source: `ItemReference`
in OpenAI's API reference; its type may be left out.

The id of an item that the gateway wrote names the answer that has the item. The last answer of a
conversation has all earlier items too, so one lookup finds them all. The gateway also stores items
one by one if a provider wrote their ids.
"""

import asyncio
from collections.abc import Iterable, Mapping
from itertools import batched
from typing import NamedTuple

import msgspec

from gateway.cache import key as keys
from gateway.cache.codec import SealedStore, VersionedCodec
from gateway.core import json_size, jsonio, log_probs
from gateway.core.call import Key
from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.core.jsonio import Json
from gateway.core.owned_object import ObjectPlace
from gateway.dialects import OPENAI_RESPONSES, RequestBody
from gateway.dialects.openai_responses.request import PREVIOUS_RESPONSE, is_reference
from gateway.dialects.openai_responses.stream import COMPLETE_EVENTS, list_answer_frames
from gateway.dialects.openai_responses.stream_encoder import read_response_id
from gateway.state import StateStore

type Object = dict[str, Json]

_read_list = jsonio.make_reader(list[msgspec.Raw])
_LOG_PROBS_MEMBERS = log_probs.MEMBERS[OPENAI_RESPONSES.name]
_ID_FREE_TYPES = frozenset({"message", "reasoning", "function_call", "custom_tool_call"})
"""Types of items that need no id."""


class StoredItem(msgspec.Struct, frozen=True, kw_only=True):
    """One stored item of a conversation."""

    item: bytes
    """The item's JSON, byte for byte."""
    provider: str
    account: str
    kept: bool
    """True if the provider keeps the item too."""

    @property
    def holder(self) -> tuple[str, str] | None:
        """The provider and account that know the item by its id alone; None if none does."""
        return (self.provider, self.account) if self.kept else None


def list_references(body: RequestBody) -> list[str]:
    """List the ids of items that a request names, in their order.

    Raises ProblemError: invalid_request, also for an id that is named twice.
    """
    value = body.outline.get("input")
    ids: dict[str, None] = {}
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if is_reference(item):
            id, path = item.get("id"), f"input[{index}].id"
            if not isinstance(id, str):
                raise invalid_request(f'"{path}" must be a string.', path)
            if id in ids:
                raise invalid_request(f"Item with id '{id}' is named twice: name it once.", path)
            ids[id] = None
    return [*ids]


def make_unknown_error(id: str) -> ProblemError:
    """Return the error for a request that names an item which the gateway does not have."""
    message = (
        f"Item with id '{id}' not found: the gateway did not store it, or no longer keeps it. "
        "Send the item itself in its place, and set store to false to continue without stored "
        "items."
    )
    return invalid_request(message, "input")


def expand(
    body: RequestBody, stored_items: Mapping[str, StoredItem], holder: tuple[str, str] | None = None
) -> list[bytes]:
    """Return the items of a request, with each stored item in place of its id.

    An id stays if the `holder`, a provider and an account, keeps the item.
    """
    value = body.outline.get("input")
    if not isinstance(value, list):
        return [] if value is None else [jsonio.dumps({"role": "user", "content": value})]
    items = []
    for raw, item in zip(split_list(bytes(memoryview(body.members["input"]))), value, strict=True):
        stored_item = stored_items[item["id"]] if is_reference(item) else None
        if stored_item is None or (holder is not None and stored_item.holder == holder):
            items.append(raw)
        elif stored_item.kept:
            items += make_portable([jsonio.loads(stored_item.item)])
        else:
            items.append(stored_item.item)
    return items


def make_portable(items: Iterable[Object]) -> list[bytes]:
    """Return the items that other providers understand, without ids that those do not know."""
    return [jsonio.dumps(_remove_id(item)) for item in items if _is_portable(item)]


def split_list(data: bytes | None) -> list[bytes]:
    """Split a JSON list into its items, byte for byte. Return no items for anything else."""
    try:
        return [bytes(memoryview(raw)) for raw in _read_list(data or b"[]")]
    except jsonio.JsonError:
        return []


def index_by_id(
    raw_items: Iterable[bytes], provider: str, account: str, *, kept_by_provider: bool
) -> dict[str, StoredItem]:
    """Index the items that have an id by it, with the provider and account that have them."""
    items = {}
    for raw in raw_items:
        item = jsonio.loads(raw)
        id = item.get("id") if isinstance(item, dict) else None
        if isinstance(id, str):
            items[id] = StoredItem(
                item=raw, provider=provider, account=account, kept=kept_by_provider
            )
    return items


def _is_portable(item: Object) -> bool:
    """Return True if other providers understand an item, not only the one that keeps it."""
    return item.get("type") != "reasoning" or bool(item.get("encrypted_content"))


def _remove_id(item: Object) -> Object:
    """Return an item without its id, if its type needs none.

    By the id its provider would look for other items that belong to it.
    """
    if item.get("type") not in _ID_FREE_TYPES:
        return item
    return {name: value for name, value in item.items() if name != "id"}


_BOUND_MEMBERS = (PREVIOUS_RESPONSE, "conversation", "prompt")
"""Members that stand for content that only the provider has."""
_FOREIGN_DETAIL = (
    "a request named an earlier answer that the gateway has not stored. `responses: {foreign: "
    "pass}` sends such requests to a provider that keeps responses; docs/security.md has the "
    "risks."
)
_DELETED_MARK = b"-"
_LOOKUP_BATCH_SIZE = 64
"""The number of items that the gateway looks up at the same time."""
_MAX_ANSWERS_READ = 64
"""Maximum number of answers that are searched for the items of one request. The last answer has
nearly all items."""


class ResponseChain(msgspec.Struct, frozen=True, kw_only=True):
    """A request with the conversation before it."""

    body: RequestBody
    """The request with the whole conversation."""
    translatable_body: RequestBody
    """The request for labs of other dialects, without `store`: the gateway stores for them."""
    native_body: RequestBody | None = None
    """The request for the provider that has the earlier answer, with that answer's id as the client
    wrote it. Items that this provider does not keep stand in place of their ids."""
    provider: str | None = None
    account: str | None = None
    """The provider and account that have the earlier answer; None if none has."""


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One stored answer."""

    input: bytes | None
    """All items before the answer; None if only the provider has some of the conversation."""
    response: bytes
    provider: str
    account: str
    kept: bool
    """True if the provider keeps the answer too."""


class _WrittenAnswer(NamedTuple):
    """An answer as the store takes it."""

    id: str
    entry: bytes
    foreign_items: list[tuple[str, bytes]]
    """The items whose ids do not tell which answer has them, by id."""


_ENTRY_CODEC, _ITEM_CODEC = VersionedCodec(_Entry), VersionedCodec(StoredItem)


class SavedResponses:
    """Stored answers by the client's key and the answer's id. Never raises for a stored value."""

    def __init__(self, store: StateStore, *, secret: bytes, ttl: float) -> None:
        """Store answers for `ttl` seconds."""
        self._answers = SealedStore(store, secret=secret, kind="response")
        self._items = SealedStore(store, secret=secret, kind="item")
        self._ttl = ttl

    async def read(self, key: Key, body: RequestBody, *, passes_foreign: bool) -> ResponseChain:
        """Return a request with the conversation before it.

        `passes_foreign`: a request stays as it is if the gateway never stored the answer that it
        names, for a provider that has it. A deleted answer stays deleted. Raises ProblemError:
        not_found, invalid_request.
        """
        id, reference_ids = read_previous_id(body), list_references(body)
        if id is None and not reference_ids:
            return ResponseChain(body=body, translatable_body=_remove_member(body, "store"))
        entry = None
        if id is not None:
            data = await self._answers.get(self._make_name(key, id))
            if data is None and passes_foreign:
                return ResponseChain(body=body, translatable_body=body)
            entry = _ENTRY_CODEC.read(data)
            if entry is None:
                raise make_previous_error(id, is_foreign=data is None)
        stored_items = await self._find_items(key, reference_ids)
        if entry is not None:
            holder = (entry.provider, entry.account) if entry.kept else None
        else:
            holder = next(
                (
                    it
                    for reference_id in reversed(reference_ids)
                    if (it := stored_items[reference_id].holder)
                ),
                None,
            )
        provider, account = holder or (None, None)
        is_native = all(
            holder is not None and stored_items[reference_id].holder == holder
            for reference_id in reference_ids
        )
        native_body = (
            body if is_native else _replace_input(body, expand(body, stored_items, holder))
        )
        if entry is not None and entry.input is None:
            return ResponseChain(
                body=native_body, translatable_body=native_body, provider=provider, account=account
            )
        earlier_items = (
            [*split_list(entry.input), *_list_portable_items(entry)] if entry is not None else []
        )
        full_body = _replace_input(
            body, [*earlier_items, *expand(body, stored_items)], PREVIOUS_RESPONSE
        )
        return ResponseChain(
            body=full_body,
            translatable_body=_remove_member(full_body, "store"),
            native_body=native_body if holder is not None else None,
            provider=provider,
            account=account,
        )

    async def save(
        self,
        key: Key,
        body: RequestBody,
        response: bytes,
        provider: str,
        account: str,
        *,
        kept_by_provider: bool,
    ) -> None:
        """Store the answer to `body`, which has the whole conversation.

        An answer with too many values is stored without its log probabilities; not at all if it has
        too many beside them.
        `kept_by_provider`: the provider keeps the answer too. An answer without an id is not
        stored, nor one that is neither completed nor incomplete.
        """

        def write() -> _WrittenAnswer | None:
            stored_response = log_probs.make_readable(response, _LOG_PROBS_MEMBERS)
            if stored_response is None:
                return None
            value = _read_object(stored_response)
            id = value.get("id")
            if value.get("status") not in ("completed", "incomplete") or not isinstance(id, str):
                return None
            entry = _Entry(
                input=None if _is_provider_bound(body) else _encode_input(body),
                response=stored_response,
                provider=provider,
                account=account,
                kept=kept_by_provider,
            )
            foreign_items = [
                (name, _ITEM_CODEC.write(item))
                for name, item in _index_output(entry).items()
                if read_response_id(name) != id
            ]
            return _WrittenAnswer(id, _ENTRY_CODEC.write(entry), foreign_items)

        is_large = len(response) > json_size.LARGE_FRAME_BYTES
        answer = await asyncio.to_thread(write) if is_large else write()
        if answer is not None:
            await asyncio.gather(
                self._answers.put(self._make_name(key, answer.id), answer.entry, self._ttl),
                *(self._put_item(key, name, item) for name, item in answer.foreign_items),
            )

    async def find(self, key: Key, id: str) -> bytes:
        """Return a stored answer. Raises ProblemError: not_found."""
        entry = await self._find_entry(key, id)
        if entry is None:
            raise make_missing_error(id)
        return entry.response

    async def find_place(self, key: Key, id: str) -> ObjectPlace | None:
        """Return the provider account that keeps an answer of a key too; None if none does."""
        entry = await self._find_entry(key, id)
        if entry is None or not entry.kept:
            return None
        return ObjectPlace(entry.provider, entry.account)

    async def delete(self, key: Key, id: str) -> bytes:
        """Delete a stored answer. Return the body for the client. Raises ProblemError: not_found.

        Answers that continue it stay: they have all that they need.
        """
        entry = await self._find_entry(key, id)
        if entry is None:
            raise make_missing_error(id)
        await self._answers.put(self._make_name(key, id), _DELETED_MARK, self._ttl)
        foreign_ids = [name for name in _index_output(entry) if read_response_id(name) != id]
        await asyncio.gather(*(self._put_item(key, name, _DELETED_MARK) for name in foreign_ids))
        return jsonio.dumps({"id": id, "object": "response", "deleted": True})

    async def _find_entry(self, key: Key, id: str) -> _Entry | None:
        return _ENTRY_CODEC.read(await self._answers.get(self._make_name(key, id)))

    async def _find_items(self, key: Key, reference_ids: list[str]) -> Mapping[str, StoredItem]:
        """Find a client's items by their ids. Raises ProblemError: invalid_request."""
        items: dict[str, StoredItem] = {}
        missing_ids: dict[str, None] = {}
        response_ids: set[str] = set()
        for id in reversed(reference_ids):
            response_id = read_response_id(id)
            if id not in items and response_id is not None and response_id not in response_ids:
                response_ids.add(response_id)
                entry = await self._find_entry(key, response_id)
                items = {**_index_input(entry), **_index_output(entry), **items} if entry else items
            if id not in items:
                if len(response_ids) > _MAX_ANSWERS_READ:
                    raise make_unknown_error(id)
                missing_ids[id] = None
        for batch in batched(missing_ids, _LOOKUP_BATCH_SIZE):
            for id, item in zip(batch, await self._read_items(key, batch), strict=True):
                if item is None:
                    raise make_unknown_error(id)
                items[id] = item
        return items

    async def _read_items(self, key: Key, ids: tuple[str, ...]) -> list[StoredItem | None]:
        data = await asyncio.gather(*(self._items.get(self._make_item_name(key, id)) for id in ids))
        return [_ITEM_CODEC.read(value) for value in data]

    async def _put_item(self, key: Key, id: str, data: bytes) -> None:
        await self._items.put(self._make_item_name(key, id), data, self._ttl)

    def _make_name(self, key: Key, id: str) -> str:
        return self._answers.make_name(keys.make_scope("key", key), id)

    def _make_item_name(self, key: Key, id: str) -> str:
        return self._items.make_name(keys.make_scope("key", key), id)


class StreamTape:
    """Collects the frames of a stream from which its whole answer is made."""

    __slots__ = ("_frames",)

    def __init__(self) -> None:
        self._frames: list[bytes] = []

    def add(self, data: bytes) -> bytes | None:
        """Take whole frames on their way to a client. Return the whole answer once it has ended."""
        readable_data = log_probs.make_readable(data, _LOG_PROBS_MEMBERS)
        frames = [] if readable_data is None else list_answer_frames(readable_data)
        if not frames:
            return None
        self._frames += [raw for raw, _ in frames]
        if not any(frame.kind in COMPLETE_EVENTS for _, frame in frames):
            return None
        try:
            return OPENAI_RESPONSES.fold(b"".join(self._frames))
        except (TypeError, LookupError):
            return None  # no answer has this shape: there is nothing to store


def should_store(body: RequestBody) -> bool:
    """Return True if the gateway must store the answer to a request.

    The API stores answers unless `store` is false. The gateway stores none of a background request.
    """
    return body.outline.get("store") is not False and body.outline.get("background") is not True


def make_missing_error(id: str) -> ProblemError:
    """Return the error for a client that asks for an answer which the gateway does not have."""
    message = f"Response with id '{id}' not found."
    return ProblemError(Problem(kind="not_found", message=message, param="response_id"))


def make_previous_error(id: str, *, is_foreign: bool) -> ProblemError:
    """Return the error for a request that continues an answer which the gateway does not have.

    `is_foreign`: the gateway never stored the answer, so an operator's setting may let the request
    pass.
    """
    message = (
        f"Previous response with id '{id}' not found. "
        f"Send the whole conversation as `input`, without `{PREVIOUS_RESPONSE}`."
    )
    return ProblemError(
        Problem(
            kind="not_found",
            message=message,
            detail=_FOREIGN_DETAIL if is_foreign else "",
            param=PREVIOUS_RESPONSE,
        )
    )


def refuse_foreign(body: RequestBody) -> None:
    """Refuse a request that names an earlier answer or item: the gateway stores none.

    Raises ProblemError: not_found, invalid_request.
    """
    id, reference_ids = read_previous_id(body), list_references(body)
    if id is not None:
        raise make_previous_error(id, is_foreign=True)
    if reference_ids:
        raise make_unknown_error(reference_ids[0])


def read_previous_id(body: RequestBody) -> str | None:
    """Read the id of the answer that a request continues. Raises ProblemError: invalid_request."""
    id = body.outline.get(PREVIOUS_RESPONSE)
    if not isinstance(id, str | None):
        raise invalid_request(f'"{PREVIOUS_RESPONSE}" must be a string.', PREVIOUS_RESPONSE)
    return id


def _is_provider_bound(body: RequestBody) -> bool:
    """Return True if only the provider knows a part of the conversation."""
    value = body.outline.get("input")
    items = value if isinstance(value, list) else []
    return any(body.outline.get(name) is not None for name in _BOUND_MEMBERS) or any(
        map(is_reference, items)
    )


def _replace_input(body: RequestBody, items: list[bytes], *dropped_members: str) -> RequestBody:
    """Return a request with `items` as its input, and without `dropped_members`."""
    joined_items = b"[" + b",".join(items) + b"]"
    members = {name: raw for name, raw in body.members.items() if name not in dropped_members}
    new_body = OPENAI_RESPONSES.read(
        jsonio.join_members({**members, "input": msgspec.Raw(joined_items)})
    )
    # The answer depends on stored answers, so the response cache must not serve this request.
    prompt = msgspec.structs.replace(new_body.prompt, stored=True)
    return msgspec.structs.replace(new_body, prompt=prompt)


def _list_portable_items(entry: _Entry) -> list[bytes]:
    """List the items of an answer as other providers may get them.

    If the provider keeps the answer too, items that only this provider understands are left out.
    Otherwise the items are byte for byte as they came.
    """
    items = _list_items(entry)
    return make_portable(map(jsonio.loads, items)) if entry.kept else items


def _list_items(entry: _Entry) -> list[bytes]:
    """List the items of an answer, byte for byte."""
    output = jsonio.read_members(entry.response).get("output")
    return split_list(None if output is None else bytes(memoryview(output)))


def _index_output(entry: _Entry) -> dict[str, StoredItem]:
    """Index the items of an answer by their ids."""
    return index_by_id(
        _list_items(entry), entry.provider, entry.account, kept_by_provider=entry.kept
    )


def _index_input(entry: _Entry) -> dict[str, StoredItem]:
    """Index the items before an answer by their ids: other providers understand them too."""
    return index_by_id(
        split_list(entry.input), entry.provider, entry.account, kept_by_provider=False
    )


def _encode_input(body: RequestBody) -> bytes:
    """Encode the input of a request as a list of items."""
    return b"[" + b",".join(expand(body, {})) + b"]"


def _remove_member(body: RequestBody, name: str) -> RequestBody:
    return body.without_member(name) if name in body.members else body


def _read_object(data: bytes) -> dict[str, Json]:
    try:
        value = jsonio.loads(data)
    except jsonio.JsonError:
        return {}
    return value if isinstance(value, dict) else {}
