"""The content of messages: parts and media, read and written, and whether a choice has content.

Pictures and documents stand in data URLs. Content that is text alone is written as one string: not
every host takes lists. Sources: the content parts of OpenAI's API reference; `video_url` is of
vLLM, DashScope and OpenRouter, `document_url` and "thinking" are of Mistral.
"""

import base64
import binascii
import mimetypes
from collections.abc import Iterable
from typing import Literal
from urllib.parse import unquote_to_bytes

from gateway.core.canonical_request import Foreign, Media, Part, Refused, Text, Thought
from gateway.core.jsonio import Json

type Object = dict[str, Json]
type Kind = Literal["image", "video", "file"]

_WEB = ("https://", "http://")
_PDF = "application/pdf"
_LINKS: dict[str, Kind] = {"image_url": "image", "video_url": "video", "document_url": "file"}
_SOUNDS = {"mp3": "audio/mpeg"}
"""Media types of formats that are not called as their type."""

BLANK_LINE = "\n\n"
_FORMATS = {"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav"}
"""Formats that are not called as their media type."""
_CONTENT_MEMBERS = (
    "content", "reasoning_content", "reasoning", "reasoning_text", "refusal", "tool_calls",
    "function_call", "audio", "images", "reasoning_details",
)  # fmt: skip
"""Members of a message that hold content."""


def read_parts(content: Json) -> list[Part]:
    """The parts of a content: a string, or a list of parts."""
    if isinstance(content, str):
        return [Text(text=content)] if content else []
    return [_part(part) for part in content] if isinstance(content, list) else []


def read_cache_mark(part: Object) -> str | None:
    """Where a prompt cache ends: its lifetime, "" where that is unsaid."""
    for name in ("cache_control", "prompt_cache_breakpoint"):
        mark = part.get(name)
        if mark:
            ttl = mark.get("ttl") if isinstance(mark, dict) else None
            return ttl if isinstance(ttl, str) else ""
    return None


def _part(part: Json) -> Part:
    if isinstance(part, str):
        return Text(text=part)
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        return Foreign(kind="content", source=part)
    return _known(kind, part) or Foreign(kind=kind, source=part)


def _known(kind: str, part: Object) -> Part | None:
    """A part of a known type; None where it is not what its type says."""
    held = part.get(kind)
    match kind:
        case "text" if isinstance(part.get("text"), str):
            return Text(text=part["text"], cache=read_cache_mark(part), source=part)
        case "refusal" if isinstance(held, str):
            return Refused(text=held, source=part)
        case "thinking":
            return Thought(text=read_thinking_text(held), source=part)
        case "image_url" | "video_url" | "document_url":
            return _link(_LINKS[kind], held, part)
        case "file" if isinstance(held, dict):
            return _file(held, part)
        case "input_audio":
            return _sound(held, part)
        case _:
            return None


def _link(kind: Kind, held: Json, part: Object) -> Media | None:
    """A picture or a film: `{"url", "detail"}`, or the URL alone, as some hosts take it."""
    url = held.get("url") if isinstance(held, dict) else held
    if not isinstance(url, str):
        return None
    detail = held.get("detail") if isinstance(held, dict) else None
    type, data = _split_data_url(url)
    return Media(
        kind=kind,
        type=type,
        data=data,
        url=url if data is None else None,
        detail=detail if isinstance(detail, str) and detail != "auto" else None,
        cache=read_cache_mark(part),
        source=part,
    )


def _sound(held: Json, part: Object) -> Media | None:
    """A sound: `{"data", "format"}`, or what Mistral takes, its base64 or URL alone."""
    said, form = (held.get("data"), held.get("format")) if isinstance(held, dict) else (held, None)
    if not isinstance(said, str):
        return None
    type = _SOUNDS.get(form, f"audio/{form}") if isinstance(form, str) else None
    if said.startswith(_WEB):
        return Media(kind="audio", type=type, url=said, cache=read_cache_mark(part), source=part)
    return Media(kind="audio", type=type, data=said, cache=read_cache_mark(part), source=part)


def _file(held: Object, part: Object) -> Media | None:
    name, id, said = (held.get(it) for it in ("filename", "file_id", "file_data"))
    name = name if isinstance(name, str) else None
    if isinstance(id, str):
        return Media(kind="file", id=id, name=name, cache=read_cache_mark(part), source=part)
    if not isinstance(said, str):
        return None
    type, data = _split_data_url(said)
    url = said if said.startswith(_WEB) else None
    if data is None and url is None:
        type, data = (mimetypes.guess_type(name)[0] if name else None) or _PDF, said
    text = _decode_plain_text(type, data)
    return Media(
        kind="file",
        type=type,
        data=data if text is None else None,
        url=url,
        text=text,
        name=name,
        cache=read_cache_mark(part),
        source=part,
    )


def _decode_plain_text(type: str | None, data: str | None) -> str | None:
    """The words of a document that is plain text."""
    if data is None or not (type or "").startswith("text/"):
        return None
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _split_data_url(url: str) -> tuple[str | None, str | None]:
    """Media type and base64 of a data URL; neither of any other URL."""
    if not url.startswith("data:"):
        return None, None
    head, comma, data = url[5:].partition(",")
    if not comma:
        return None, None
    type, *more = head.split(";")
    if "base64" not in more:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return type or "text/plain", data


def read_thinking_text(thinking: Json) -> str:
    """The text of a thinking part: a string, or a list of text parts."""
    if isinstance(thinking, str):
        return thinking
    if not isinstance(thinking, list):
        return ""
    texts = [part.get("text") for part in thinking if isinstance(part, dict)]
    return "".join([text for text in texts if isinstance(text, str)])


def join_text(parts: Iterable[Part]) -> str:
    """All text, in one string: neighbours are one text, what stood apart stays apart."""
    said = ""
    beside = True
    for part in parts:
        text = read_plain_text(part)
        if text is None:
            beside = False
        else:
            apart = said and text and not (beside and isinstance(part, Text))
            said += f"{BLANK_LINE}{text}" if apart else text
            beside = isinstance(part, Text)
    return said


def write_content(parts: Iterable[Part]) -> Json:
    """Content of a user's or a system message: a string where it is text alone."""
    said: list[Object] = []
    for part in parts:
        text = read_plain_text(part)
        if text is not None:
            said.append({"type": "text", "text": text})
        elif isinstance(part, Media):
            said.append(write_media(part))
    if all(part["type"] == "text" for part in said):
        return BLANK_LINE.join([part["text"] for part in said])
    return said


def read_plain_text(part: Part) -> str | None:
    """The text of a part; a document of plain text under its name."""
    if isinstance(part, Text):
        return part.text
    if not isinstance(part, Media) or part.text is None:
        return None
    return part.text if part.name is None else f"{part.name}:{BLANK_LINE}{part.text}"


def write_media(part: Media) -> Object:
    """Write an image, audio, a video or a document as a content part."""
    url = part.url if part.data is None else f"data:{_media_type(part)};base64,{part.data}"
    match part.kind:
        case "image":
            held: Object = {"url": url}
            if part.detail is not None:
                held["detail"] = part.detail
            return {"type": "image_url", "image_url": held}
        case "audio":
            form = _FORMATS.get(_media_type(part), _media_type(part).removeprefix("audio/"))
            data = part.url if part.data is None else part.data  # Mistral takes URLs there
            return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
        case "video":
            return {"type": "video_url", "video_url": {"url": url}}
        case _:
            name = part.name or f"document{mimetypes.guess_extension(_media_type(part)) or ''}"
            return {"type": "file", "file": {"filename": name, "file_data": url}}


def _media_type(part: Media) -> str:
    kinds = {"image": "image/png", "audio": "audio/wav", "video": "video/mp4"}
    return part.type or kinds.get(part.kind, "application/pdf")


def list_choices(value: Object) -> list[Object]:
    """List the choices that are objects."""
    found = value.get("choices")
    return [it for it in found if isinstance(it, dict)] if isinstance(found, list) else []


def read_finish_reason(choice: Object) -> str | None:
    """Read why a choice ended; None if the provider gives no reason."""
    word = choice.get("finish_reason")
    return word if isinstance(word, str) and word else None


def has_content(message: Json) -> bool:
    """True if a message, or a piece of one, holds content."""
    if not isinstance(message, dict):
        return False
    return any(map(_is_full, map(message.get, _CONTENT_MEMBERS)))


def _is_full(value: Json) -> bool:
    """True if a member holds something: some hosts write an object whose members are empty."""
    return any(value.values()) if isinstance(value, dict) else bool(value)
