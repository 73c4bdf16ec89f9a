"""Judge other content than text, reasoning, refusals and calls: it arrives, or a loss names it."""

import json
from collections.abc import Collection, Iterator
from typing import NamedTuple

from tests.corpus.exceptions import list_choices, list_values
from tests.corpus.oracle import CHAT, MESSAGES, RESPONSES, Object, Row, items
from tests.corpus.verdict import Difference

_PLAIN = {
    CHAT: frozenset({"text", "thinking", "refusal"}),
    RESPONSES: frozenset({"message", "reasoning", "function_call", "custom_tool_call"}),
    MESSAGES: frozenset({"text", "thinking", "redacted_thinking", "tool_use"}),
}
"""Types that are judged as text, reasoning, refusal or call."""
_CHAT_MEMBERS = ("audio", "images")
_GEMINI_PLAIN = frozenset({"text", "thought", "thoughtSignature", "functionCall", "partMetadata"})
_MIN_DATA = 32
"""Minimum length of data that is searched for in a client's bytes."""


class OtherContent(NamedTuple):
    """One piece of content."""

    name: str
    """The provider's word for it: a type, or the name of a member."""
    data: str
    """A part of its data; empty if it has none."""


def judge_other_content(
    row: Row, out: bytes, dropped: Collection[str] | None
) -> Iterator[Difference]:
    """Find content that is neither in the client's bytes nor among the names of dropped parts.

    `dropped` is None without a translation: then nothing is judged.
    """
    if dropped is None:
        return
    words = {word for name in dropped for word in (name, name.rpartition(".")[2])}
    vanished = {
        content.name
        for content in list_other_content(row)
        if content.name not in words and not (content.data and content.data.encode() in out)
    }
    for name in sorted(vanished):
        yield Difference("content", f"{name} is neither there nor named")


def list_other_content(row: Row) -> Iterator[OtherContent]:
    """List the content of an answer that is no text, reasoning, refusal or call."""
    if row.dialect == CHAT:
        for choice in list_choices(row):
            message = choice.get("delta") or choice.get("message") or {}
            by_member = {
                chat_member: message[chat_member]
                for chat_member in _CHAT_MEMBERS
                if any(_list_texts(message.get(chat_member)))
            }
            yield from (_describe(name, value) for name, value in by_member.items())
            parts = message.get("content")
            for part in parts if isinstance(parts, list) else ():
                if part.get("type") not in _PLAIN[CHAT]:
                    yield _describe(str(part.get("type")), part)
    elif row.dialect == RESPONSES:
        yield from _list_typed(items(row), RESPONSES)
    elif row.dialect == MESSAGES:
        for value in list_values(row):
            block = value.get("content_block")
            blocks = value.get("content") if block is None else [block]
            yield from _list_typed(blocks if isinstance(blocks, list) else [], MESSAGES)
    else:
        for value in list_values(row):
            for candidate in value.get("candidates") or ():
                for part in (candidate.get("content") or {}).get("parts") or ():
                    names = part.keys() - _GEMINI_PLAIN
                    yield from (_describe(name, part[name]) for name in sorted(names))


def _list_typed(objects: list[Object], dialect: str) -> Iterator[OtherContent]:
    for typed in objects:
        if typed.get("type") not in _PLAIN[dialect]:
            yield _describe(str(typed.get("type")), typed)


def _describe(name: str, value: object) -> OtherContent:
    texts = _list_texts(value)
    longest = max(texts, key=len, default="").rpartition("base64,")[2]
    return OtherContent(name, json.dumps(longest)[1:-1] if len(longest) >= _MIN_DATA else "")


def _list_texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = [*value.values()]
    return [text for item in value for text in _list_texts(item)] if isinstance(value, list) else []
