"""How a conversation begins, and what it is called: what stays the same in all of its requests."""

import re
from collections.abc import Iterable, Sequence

import msgspec

from gateway.core.jsonio import Json
from gateway.dialects.user_text import typed

MOST = 2_048
"""Characters of a text that are of use here."""
MOST_BLOCKS = 4
_ID = re.compile(
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?=[A-Za-z]*[0-9])[0-9A-Za-z]{16,}"
)
"""A name that is made for one thing; people's own are words, and stand for many conversations."""


class ConversationStart(msgspec.Struct, frozen=True):
    """The beginning of a conversation as one request has it."""

    system: tuple[str, ...] = ()
    """The first blocks of its instructions."""
    first: str = ""
    """What a person typed first."""
    named: tuple[str, str] | None = None
    """The conversation's own name, and the member that has it."""
    user: str = ""
    """Whom the client says that it asks for."""


NOTHING = ConversationStart()


def system(texts: Sequence[str]) -> tuple[str, ...]:
    """The first blocks of instructions, cut."""
    return tuple([text[:MOST] for text in texts[:MOST_BLOCKS]])


def spoken(said: Json) -> str:
    """The words of a turn of a user whose content is one text; empty where there are none.

    Where there are some in the first turn it is what `first` finds.
    """
    words = typed(said) if isinstance(said, str) else ""
    return "" if words.isspace() else words[:MOST]


def first(turns: Iterable[str | list[str]]) -> str:
    """The words of the first turn of a user that has some; of the first, where none has."""
    begun = None
    for said in turns:
        if isinstance(said, str):
            words, whole = typed(said), said
        else:
            words, whole = "\n".join(filter(None, map(typed, said))), "\n".join(said)
        if words and not words.isspace():
            return words[:MOST]
        if begun is None:
            begun = whole
    return (begun or "")[:MOST]


def name(value: dict[str, Json], *members: str) -> tuple[str, str] | None:
    """The first of some members that names a conversation."""
    for member in members:
        found = value.get(member)
        if found is None:
            continue
        if isinstance(found, dict):
            found = found.get("id")
        if isinstance(found, str) and found:
            return found, member
    return None


def cache_key(value: dict[str, Json]) -> tuple[str, str] | None:
    """A key of the prompt cache, where it is made for one conversation: many are of all."""
    found = value.get("prompt_cache_key")
    if isinstance(found, str) and _ID.search(found[:MOST]) is not None:
        return found, "prompt_cache_key"
    return None


def asker(value: dict[str, Json]) -> str:
    """Whom a request of OpenAI's dialects is for."""
    if "safety_identifier" not in value:
        user = value.get("user")
        if user is None or isinstance(user, str):
            return user or ""
    found = name(value, "safety_identifier", "user")
    return found[0] if found else ""


def said(content: Json, *kinds: str) -> str | list[str]:
    """A content that is a string, or the texts of its parts."""
    return content if isinstance(content, str) else texts(content, *kinds)


def texts(content: Json, *kinds: str) -> list[str]:
    """The texts of a content that is a string or a list of parts."""
    if isinstance(content, str):
        return [content]
    found = []
    for part in content if isinstance(content, list) else ():
        text = part.get("text") if isinstance(part, dict) and part.get("type") in kinds else None
        if isinstance(text, str):
            found.append(text)
    return found
