"""Reasoning notes: reasoning in a tool loop that the gateway keeps for clients that drop it."""

import asyncio
from collections.abc import Mapping

from gateway.cache import key as keys
from gateway.cache.codec import SealedStore, VersionedCodec
from gateway.core.call import Key
from gateway.core.jsonio import Json
from gateway.dialects.openai_chat.reasoning_state import find_missing_reasoning, hash_user_messages
from gateway.dialects.tool_reasoning import ReasoningNote
from gateway.state import StateStore

TTL_SECONDS = 3600.0
"""Seconds that a note is kept. A tool loop takes minutes, but it may wait for a person."""
_CODEC = VersionedCodec(ReasoningNote)


class ReasoningNoteStore:
    """Notes by the client's key, the user's messages, and the first tool call of an answer.

    If a note is lost, the request loses reasoning but does not fail.
    """

    def __init__(self, store: StateStore, *, secret: bytes) -> None:
        self._store = SealedStore(store, secret=secret, kind="note")

    async def find(self, key: Key, messages: list[dict[str, Json]]) -> Mapping[str, ReasoningNote]:
        """Find the notes of the tool calls in a request's messages, oldest first."""
        ids = find_missing_reasoning(messages)
        if not ids:
            return {}
        base = hash_user_messages(messages)
        values = await asyncio.gather(
            *(self._store.get(self._make_name(key, base, id)) for id in ids)
        )
        notes = {id: _CODEC.read(data) for id, data in zip(ids, values, strict=True)}
        return {id: note for id, note in notes.items() if note is not None}

    async def save(self, key: Key, messages: list[dict[str, Json]], note: ReasoningNote) -> None:
        """Save the note of the answer to a request with these messages."""
        name = self._make_name(key, hash_user_messages(messages), next(iter(note.calls)))
        await self._store.put(name, _CODEC.write(note), TTL_SECONDS)

    def _make_name(self, key: Key, base: str, id: str) -> str:
        return self._store.make_name(keys.make_scope("key", key), base, id)
