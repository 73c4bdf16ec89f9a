"""The start of a conversation and its name: both stay the same in all of its requests."""

import re
from collections.abc import Iterable
from itertools import islice

import msgspec

from gateway.core.jsonio import Json
from gateway.dialects.user_text import extract_typed

MAX_TEXT_CHARS = 2_048
"""Characters of a text that are of use here."""
MAX_BLOCKS = 4
_UNIQUE_ID_PATTERN = re.compile(
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?=[A-Za-z]*[0-9])[0-9A-Za-z]{16,}"
)
"""A name that is made for one thing; people's own are words, and stand for many conversations."""


class ConversationStart(msgspec.Struct, frozen=True):
    """The beginning of a conversation as one request has it."""

    system: tuple[str, ...] = ()
    """The first blocks of its instructions."""
    first_text: str = ""
    """The first text that a person typed."""
    name_and_member: tuple[str, str] | None = None
    """The conversation's own name, and the member that has it."""
    user: str = ""
    """The end user whom the client names."""


EMPTY_START = ConversationStart()


def cut_system(texts: Iterable[str]) -> tuple[str, ...]:
    """The first blocks of instructions, cut."""
    return tuple([text[:MAX_TEXT_CHARS] for text in islice(texts, MAX_BLOCKS)])


def read_user_text(content: Json) -> str:
    """The words of a turn of a user whose content is one text; empty where there are none.

    Where there are some in the first turn it is what `find_first_text` finds.
    """
    text = extract_typed(content) if isinstance(content, str) else ""
    return "" if text.isspace() else text[:MAX_TEXT_CHARS]


def find_first_text(turns: Iterable[str | list[str]]) -> str:
    """The words of the first turn of a user that has some; of the first, where none has."""
    first_content = None
    for content in turns:
        if isinstance(content, str):
            typed_text, full_text = extract_typed(content), content
        else:
            typed_text = "\n".join(filter(None, map(extract_typed, content)))
            full_text = "\n".join(content)
        if typed_text and not typed_text.isspace():
            return typed_text[:MAX_TEXT_CHARS]
        if first_content is None:
            first_content = full_text
    return (first_content or "")[:MAX_TEXT_CHARS]


def find_name(value: dict[str, Json], *members: str) -> tuple[str, str] | None:
    """The first of some members that names a conversation."""
    for member in members:
        value_or_object = value.get(member)
        if value_or_object is None:
            continue
        if isinstance(value_or_object, dict):
            value_or_object = value_or_object.get("id")
        if isinstance(value_or_object, str) and value_or_object:
            return value_or_object, member
    return None


def find_cache_key(value: dict[str, Json]) -> tuple[str, str] | None:
    """A key of the prompt cache, where it is made for one conversation: many are of all."""
    key = value.get("prompt_cache_key")
    if isinstance(key, str) and _UNIQUE_ID_PATTERN.search(key[:MAX_TEXT_CHARS]) is not None:
        return key, "prompt_cache_key"
    return None


def find_end_user(value: dict[str, Json]) -> str:
    """Return the end user whom a request of OpenAI's dialects names."""
    if "safety_identifier" not in value:
        user = value.get("user")
        if user is None or isinstance(user, str):
            return user or ""
    name_and_member = find_name(value, "safety_identifier", "user")
    return name_and_member[0] if name_and_member else ""


def read_content(content: Json, *kinds: str) -> str | list[str]:
    """A content that is a string, or the texts of its parts."""
    return content if isinstance(content, str) else list_texts(content, *kinds)


def list_texts(content: Json, *kinds: str) -> list[str]:
    """The texts of a content that is a string or a list of parts."""
    if isinstance(content, str):
        return [content]
    result = []
    for part in content if isinstance(content, list) else ():
        text = part.get("text") if isinstance(part, dict) and part.get("type") in kinds else None
        if isinstance(text, str):
            result.append(text)
    return result
