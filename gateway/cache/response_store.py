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
from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.core.jsonio import Json
from gateway.dialects import OPENAI_RESPONSES, RequestBody
from gateway.dialects.openai_responses.request import PREVIOUS_RESPONSE, is_reference
from gateway.dialects.openai_responses.stream_encoder import read_response_id
from gateway.state import StateStore

type Object = dict[str, Json]

_read_list = jsonio.make_reader(list[msgspec.Raw])
_ID_FREE_TYPES = frozenset({"message", "reasoning", "function_call", "custom_tool_call"})
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
    def holder(self) -> tuple[str, str] | None:
        """Who may be told its id alone; None where nobody may."""
        return (self.provider, self.account) if self.kept else None


def list_references(body: RequestBody) -> list[str]:
    """The ids of items that a request names, in their order, each once. Raises ProblemError."""
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
    """What a client is told of an item that is not here."""
    message = (
        f"Item with id '{id}' not found: it was not stored, or is not kept any more. "
        "Send the item itself in its place, and ask with store set to false to go on so."
    )
    return invalid_request(message, "input")


def expand(
    body: RequestBody, stored_items: Mapping[str, StoredItem], holder: tuple[str, str] | None = None
) -> list[bytes]:
    """The items of a request, each in place of its id but where who has the `holder` knows that."""
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
    """Items as they may go beyond the provider that keeps them."""
    return [jsonio.dumps(_remove_id(item)) for item in items if _is_portable(item)]


def split_list(data: bytes | None) -> list[bytes]:
    """A JSON list as its items, byte for byte; none of anything else."""
    try:
        return [bytes(memoryview(raw)) for raw in _read_list(data or b"[]")]
    except jsonio.JsonError:
        return []


def index_by_id(
    raw_items: Iterable[bytes], provider: str, account: str, *, kept_by_provider: bool
) -> dict[str, StoredItem]:
    """Those of a list of items that have an id, and who has them."""
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
    """Whether an item means something beyond the provider that keeps it."""
    return item.get("type") != "reasoning" or bool(item.get("encrypted_content"))


def _remove_id(item: Object) -> Object:
    """An item without the id by which its provider would look for those that belong to it."""
    if item.get("type") not in _ID_FREE_TYPES:
        return item
    return {name: value for name, value in item.items() if name != "id"}


_BOUND_MEMBERS = (PREVIOUS_RESPONSE, "conversation", "prompt")
"""Members that stand for content which only the provider has."""
_FOREIGN_DETAIL = (
    "a request named an earlier answer that the gateway has not stored. With "
    "`responses: {foreign: pass}` a provider that keeps responses is asked; "
    "docs/security.md says what that opens."
)
_DELETED_MARK = b"-"
_LOOKUP_BATCH_SIZE = 64
"""Items that are looked for at the same time."""
_MAX_ANSWERS_READ = 64
"""Answers that are looked through for the items of one request: the last one has nearly all."""
_ANSWER_EVENT = re.compile(
    rb'"type"\s*:\s*"response\.(?:created|output_item\.done|(completed|incomplete))"'
)


class ResponseChain(msgspec.Struct, frozen=True, kw_only=True):
    """A request with what came before it."""

    body: RequestBody
    """With the whole conversation."""
    translatable_body: RequestBody
    """The same for labs of other dialects: the gateway keeps in their place."""
    native_body: RequestBody | None = None
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


_ENTRY_CODEC, _ITEM_CODEC = VersionedCodec(_Entry), VersionedCodec(StoredItem)


class SavedResponses:
    """Answers by the key of a client and their id. Never raises for what a store holds."""

    def __init__(self, store: StateStore, *, secret: bytes, ttl: float) -> None:
        """Keep answers for `ttl` seconds."""
        self._answers = SealedStore(store, secret=secret, kind="response")
        self._items = SealedStore(store, secret=secret, kind="item")
        self._ttl = ttl

    async def read(self, key: Key, body: RequestBody, *, passes_foreign: bool) -> ResponseChain:
        """Return what a request asks, and all that came before.

        `passes_foreign`: a request that names an answer which was never stored here stays as it
        is, for a provider that has it. A deleted answer stays deleted. Raises ProblemError:
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
        """Keep the answer to `body`, the whole conversation.

        `kept_by_provider`: its provider keeps it too.
        """
        value = _read_object(response)
        id = value.get("id")
        if value.get("status") not in ("completed", "incomplete") or not isinstance(id, str):
            return
        entry = _Entry(
            input=None if _is_provider_bound(body) else _encode_input(body),
            response=response,
            provider=provider,
            account=account,
            kept=kept_by_provider,
        )
        foreign_items = [
            (name, item)
            for name, item in _index_output(entry).items()
            if read_response_id(name) != id
        ]
        await asyncio.gather(
            self._answers.put(self._make_name(key, id), _ENTRY_CODEC.write(entry), self._ttl),
            *(self._put_item(key, name, _ITEM_CODEC.write(item)) for name, item in foreign_items),
        )

    async def find(self, key: Key, id: str) -> bytes:
        """A kept answer. Raises ProblemError: not_found."""
        entry = await self._find_entry(key, id)
        if entry is None:
            raise make_missing_error(id)
        return entry.response

    async def delete(self, key: Key, id: str) -> bytes:
        """Keep an answer no longer; gives what the client is told. Raises ProblemError: not_found.

        Answers that go on from it stay: they hold all that they need.
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
        """The items of a client that have these ids. Raises ProblemError: invalid_request."""
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
    """Keeps of a stream what its whole answer is made of."""

    __slots__ = ("_frames",)

    def __init__(self) -> None:
        self._frames: list[bytes] = []

    def add(self, data: bytes) -> bytes | None:
        """Take whole frames on their way to a client; give the answer once it has ended."""
        if _ANSWER_EVENT.search(data) is None:
            return None
        is_ended = False
        for frame in sse.split_frames(data):
            match = _ANSWER_EVENT.search(frame)
            if match is not None:
                self._frames.append(frame)
                is_ended = is_ended or match[1] is not None
        if not is_ended:
            return None
        try:
            return OPENAI_RESPONSES.fold(b"".join(self._frames))
        except (ValueError, TypeError, AttributeError, LookupError):
            return None  # of a shape that no answer has: nothing to keep


def should_store(body: RequestBody) -> bool:
    """Whether the answer to a request is to be kept: the API does so unless it is told not to."""
    return body.outline.get("store") is not False and body.outline.get("background") is not True


def make_missing_error(id: str) -> ProblemError:
    """Return the error for a client that asks for an answer which the gateway does not have."""
    message = f"Response with id '{id}' not found."
    return ProblemError(Problem(kind="not_found", message=message, param="response_id"))


def make_previous_error(id: str, *, is_foreign: bool) -> ProblemError:
    """Return the error for a request that goes on from an answer which the gateway does not have.

    `is_foreign`: the gateway never stored it, so a setting of the operator's may let it pass.
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
    """Refuse a request that names an earlier answer or item, where the gateway stores none.

    Raises ProblemError: not_found, invalid_request.
    """
    id, reference_ids = read_previous_id(body), list_references(body)
    if id is not None:
        raise make_previous_error(id, is_foreign=True)
    if reference_ids:
        raise make_unknown_error(reference_ids[0])


def read_previous_id(body: RequestBody) -> str | None:
    """Read the id of the answer that a request goes on from. Raises ProblemError."""
    id = body.outline.get(PREVIOUS_RESPONSE)
    if not isinstance(id, str | None):
        raise invalid_request(f'"{PREVIOUS_RESPONSE}" must be a string.', PREVIOUS_RESPONSE)
    return id


def _is_provider_bound(body: RequestBody) -> bool:
    """Whether part of the conversation is known to the provider alone."""
    value = body.outline.get("input")
    items = value if isinstance(value, list) else []
    return any(body.outline.get(name) is not None for name in _BOUND_MEMBERS) or any(
        map(is_reference, items)
    )


def _replace_input(body: RequestBody, items: list[bytes], *dropped_members: str) -> RequestBody:
    """A request with the items that it stands for, and without members."""
    joined_items = b"[" + b",".join(items) + b"]"
    members = {name: raw for name, raw in body.members.items() if name not in dropped_members}
    new_body = OPENAI_RESPONSES.read(
        jsonio.join_members({**members, "input": msgspec.Raw(joined_items)})
    )
    # The answer depends on what is kept: the cache of equal requests leaves it alone.
    prompt = msgspec.structs.replace(new_body.prompt, stored=True)
    return msgspec.structs.replace(new_body, prompt=prompt)


def _list_portable_items(entry: _Entry) -> list[bytes]:
    """The items of an answer, byte for byte; what only its provider understands is left out."""
    items = _list_items(entry)
    return make_portable(map(jsonio.loads, items)) if entry.kept else items


def _list_items(entry: _Entry) -> list[bytes]:
    """The items of an answer."""
    output = jsonio.read_members(entry.response).get("output")
    return split_list(None if output is None else bytes(memoryview(output)))


def _index_output(entry: _Entry) -> dict[str, StoredItem]:
    """The items of an answer by their ids."""
    return index_by_id(
        _list_items(entry), entry.provider, entry.account, kept_by_provider=entry.kept
    )


def _index_input(entry: _Entry) -> dict[str, StoredItem]:
    """The items before an answer, those that have ids: they mean something without them."""
    return index_by_id(
        split_list(entry.input), entry.provider, entry.account, kept_by_provider=False
    )


def _encode_input(body: RequestBody) -> bytes:
    """The input of a request as a list of items."""
    return b"[" + b",".join(expand(body, {})) + b"]"


def _remove_member(body: RequestBody, name: str) -> RequestBody:
    return body.without_member(name) if name in body.members else body


def _read_object(data: bytes) -> dict[str, Json]:
    try:
        value = jsonio.loads(data)
    except jsonio.JsonError:
        return {}
    return value if isinstance(value, dict) else {}
