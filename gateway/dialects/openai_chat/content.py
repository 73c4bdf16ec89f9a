"""Parts of a message's content, read: text, pictures, documents, sounds and films.

Pictures and documents stand in data URLs. Sources: the content parts of OpenAI's API reference;
`video_url` is of vLLM, DashScope and OpenRouter, `document_url` and "thinking" are of Mistral.
"""

import base64
import binascii
import mimetypes
from typing import Literal
from urllib.parse import unquote_to_bytes

from gateway.core.canonical_request import Foreign, Media, Part, Refused, Text, Thought
from gateway.core.jsonio import Json
from gateway.dialects.openai_chat.reasoning import inner

type Object = dict[str, Json]
type Kind = Literal["image", "video", "file"]

_WEB = ("https://", "http://")
_PDF = "application/pdf"
_LINKS: dict[str, Kind] = {"image_url": "image", "video_url": "video", "document_url": "file"}
_SOUNDS = {"mp3": "audio/mpeg"}
"""Media types of formats that are not called as their type."""


def read(content: Json) -> list[Part]:
    """The parts of a content: a string, or a list of parts."""
    if isinstance(content, str):
        return [Text(text=content)] if content else []
    return [_part(part) for part in content] if isinstance(content, list) else []


def cache(part: Object) -> str | None:
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
            return Text(text=part["text"], cache=cache(part), source=part)
        case "refusal" if isinstance(held, str):
            return Refused(text=held, source=part)
        case "thinking":
            return Thought(text=inner(held), source=part)
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
    type, data = split(url)
    return Media(
        kind=kind,
        type=type,
        data=data,
        url=url if data is None else None,
        detail=detail if isinstance(detail, str) and detail != "auto" else None,
        cache=cache(part),
        source=part,
    )


def _sound(held: Json, part: Object) -> Media | None:
    """A sound: `{"data", "format"}`, or what Mistral takes, its base64 or URL alone."""
    said, form = (held.get("data"), held.get("format")) if isinstance(held, dict) else (held, None)
    if not isinstance(said, str):
        return None
    type = _SOUNDS.get(form, f"audio/{form}") if isinstance(form, str) else None
    if said.startswith(_WEB):
        return Media(kind="audio", type=type, url=said, cache=cache(part), source=part)
    return Media(kind="audio", type=type, data=said, cache=cache(part), source=part)


def _file(held: Object, part: Object) -> Media | None:
    name, id, said = (held.get(it) for it in ("filename", "file_id", "file_data"))
    name = name if isinstance(name, str) else None
    if isinstance(id, str):
        return Media(kind="file", id=id, name=name, cache=cache(part), source=part)
    if not isinstance(said, str):
        return None
    type, data = split(said)
    url = said if said.startswith(_WEB) else None
    if data is None and url is None:
        type, data = (mimetypes.guess_type(name)[0] if name else None) or _PDF, said
    text = _plain(type, data)
    return Media(
        kind="file",
        type=type,
        data=data if text is None else None,
        url=url,
        text=text,
        name=name,
        cache=cache(part),
        source=part,
    )


def _plain(type: str | None, data: str | None) -> str | None:
    """The words of a document that is plain text."""
    if data is None or not (type or "").startswith("text/"):
        return None
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def split(url: str) -> tuple[str | None, str | None]:
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
