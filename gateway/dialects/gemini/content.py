"""Members, parts and candidates of Gemini's JSON, as both requests and answers have them.

Google writes names in camelCase, and its protos in snake_case. It reads both, and one object where
a list is meant; clients send all of these.
"""

import functools
import re
from typing import Any

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.dialects.user_text import UserText

type Object = dict[str, Any]

CONFIG = "generationConfig"
"""The member of a request that holds its settings."""

_UPPER = re.compile(r"(?<!^)(?=[A-Z])")


@functools.cache
def to_snake_case(name: str) -> str:
    """Return a name in snake_case."""
    return _UPPER.sub("_", name).lower()


@functools.lru_cache(4096)
def to_camel_case(name: str) -> str:
    """Return a name in camelCase; the cache forgets names that clients make up."""
    first, *more = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in more)


def get_member(value: Object, name: str) -> Json:
    """Return a member by its name in camelCase, in whichever spelling it came."""
    item = value.get(name)
    return value.get(to_snake_case(name)) if item is None else item


def find_spelling(value: Object, name: str) -> str:
    """Return a name as an object spells it: in camelCase if the object has no such member."""
    other = to_snake_case(name)
    return other if other in value and name not in value else name


def get_object(value: Json, name: str) -> Object:
    """Return a member that is an object; an empty object if it is anything else."""
    item = get_member(value, name) if isinstance(value, dict) else None
    return item if isinstance(item, dict) else {}


def list_objects(value: Json) -> list[Object]:
    """List the objects of a list; an object alone is a list of one."""
    if isinstance(value, dict):
        return [value]
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def list_texts(content: Json) -> list[str]:
    """List the texts of a content."""
    parts = list_objects(content.get("parts")) if isinstance(content, dict) else ()
    return [text for part in parts if isinstance(text := part.get("text"), str)]


def as_integer(value: Json) -> int | None:
    """Return a whole number, also if it is written as 8.0 or "8", as protos may be."""
    if type(value) is int:  # not isinstance: a bool is no number
        return value
    if isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) < 20:
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else None


class ContentTotals:
    """Adds up what the system instruction and the contents of a request hold."""

    __slots__ = (
        "audio", "chars", "files", "image_bytes", "images", "is_unsized", "tool_loop", "user_text",
    )  # fmt: skip

    def __init__(self, system: Json) -> None:
        """`system` is a content, or a string."""
        self.user_text = UserText()
        self.chars = self.images = self.image_bytes = self.files = self.audio = 0
        self.is_unsized = False
        """True if a part is a document or a video, or media that only the provider has."""
        self.tool_loop = False
        """The last content holds a function's response."""
        if isinstance(system, str):
            self.chars += len(system)
        elif isinstance(system, dict):
            self.add_content({**system, "role": "system"})
        self.tool_loop = False

    def add_content(self, content: Object) -> None:
        """Take the next content."""
        texts, result = [], False
        for part in list_objects(content.get("parts")):
            text = part.get("text")
            if isinstance(text, str):
                self.chars += len(text)
                texts.append(text)
            result = self._add_part(part) or result
        role = content.get("role")
        if role in ("user", None) and not result:
            self.tool_loop = not self.user_text.add_turn(texts) and self.tool_loop
            return
        self.tool_loop = result
        self.user_text.add_answer()

    def _add_part(self, part: Object) -> bool:
        """Count one part; return True if it is a function's response."""
        for name in ("inlineData", "fileData"):
            data = get_object(part, name)
            if data:
                self._add_media(get_member(data, "mimeType"), data.get("data"))
        call, result = get_object(part, "functionCall"), get_object(part, "functionResponse")
        for value in (call.get("args"), result.get("response")):
            self.chars += len(jsonio.dumps(value).decode()) if value else 0
        for inner in list_objects(result.get("parts")):
            self._add_part(inner)
        return bool(result)

    def _add_media(self, kind: Json, data: Json) -> None:
        """Count one piece of media; `data` is None if the request only names it."""
        family = kind.partition("/")[0] if isinstance(kind, str) else ""
        if family == "image":
            self.images += 1
            self.image_bytes += len(data) if isinstance(data, str) else 0
        elif family == "audio":
            self.audio += 1
            self.is_unsized = self.is_unsized or data is None
        else:
            self.files += 1
            self.is_unsized = True


_FINISH_REASONS = ("FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION")
"""Reasons that some clients' proxies write as the numbers of Google's enum."""


def find_error(chunk: Object) -> Json:
    """Find the error of a chunk, or of one of its candidates; None if there is none."""
    if error := chunk.get("error"):
        return error
    for candidate in list_objects(chunk.get("candidates")):
        if error := candidate.get("error"):
            return error
    return None


def has_content(candidate: Object) -> bool:
    """True if a candidate has any content: an empty text, even of a thought, is none."""
    for part in list_objects(get_object(candidate, "content").get("parts")):
        for name, item in part.items():
            if item and name != "thought":
                return True
    return False


def parse_finish(reason: Json) -> str | None:
    """Return a reason as a word; None if there is none."""
    if isinstance(reason, int) and not isinstance(reason, bool):
        return _FINISH_REASONS[reason] if 0 < reason < len(_FINISH_REASONS) else str(reason)
    return reason if isinstance(reason, str) and reason else None


def find_block_reason(chunk: Object) -> str | None:
    """Return why Google refused the prompt; None if it did not."""
    return parse_finish(get_object(chunk, "promptFeedback").get("blockReason"))


def has_content_or_end(chunk: Object) -> bool:
    """True if a chunk has content, or a reason why a candidate or the answer ended."""
    return find_block_reason(chunk) is not None or any(
        has_content(candidate) or parse_finish(candidate.get("finishReason")) is not None
        for candidate in list_objects(chunk.get("candidates"))
    )
