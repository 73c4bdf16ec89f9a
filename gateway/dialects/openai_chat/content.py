"""The content of messages: parts and media, read and written, and the choices that hold content.

Images and documents stand in data URLs. The gateway writes text alone as one string, because some
hosts take no lists. Sources: the content parts of OpenAI's API reference. vLLM, DashScope and
OpenRouter have `video_url`; Mistral has `document_url` and "thinking".
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

_WEB_SCHEMES = ("https://", "http://")
_PDF = "application/pdf"
_LINK_KINDS: dict[str, Kind] = {"image_url": "image", "video_url": "video", "document_url": "file"}
_AUDIO_TYPES = {"mp3": "audio/mpeg"}
"""Media types whose subtype is not the name of the audio format."""

BLANK_LINE = "\n\n"
_AUDIO_FORMATS = {"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav"}
"""Audio formats whose name is not the subtype of the media type."""
_CONTENT_MEMBERS = (
    "content", "reasoning_content", "reasoning", "reasoning_text", "refusal", "tool_calls",
    "function_call", "audio", "images", "reasoning_details",
)  # fmt: skip
"""Members of a message that hold content."""


def read_parts(content: Json) -> list[Part]:
    """Return the parts of a content: a string, or a list of parts."""
    if isinstance(content, str):
        return [Text(text=content)] if content else []
    return [_read_part(part) for part in content] if isinstance(content, list) else []


def read_cache_mark(part: Object) -> str | None:
    """Return the cache lifetime if the prompt cache ends at this part; "" if it names none."""
    for name in ("cache_control", "prompt_cache_breakpoint"):
        mark = part.get(name)
        if mark:
            ttl = mark.get("ttl") if isinstance(mark, dict) else None
            return ttl if isinstance(ttl, str) else ""
    return None


def _read_part(part: Json) -> Part:
    if isinstance(part, str):
        return Text(text=part)
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        return Foreign(kind="content", source=part)
    return _read_known_part(kind, part) or Foreign(kind=kind, source=part)


def _read_known_part(kind: str, part: Object) -> Part | None:
    """Return a part of a known type; None if it lacks what its type promises."""
    value = part.get(kind)
    match kind:
        case "text" if isinstance(part.get("text"), str):
            return Text(text=part["text"], cache=read_cache_mark(part), source=part)
        case "refusal" if isinstance(value, str):
            return Refused(text=value, source=part)
        case "thinking":
            return Thought(text=read_thinking_text(value), source=part)
        case "image_url" | "video_url" | "document_url":
            return _read_link(_LINK_KINDS[kind], value, part)
        case "file" if isinstance(value, dict):
            return _read_file(value, part)
        case "input_audio":
            return _read_audio(value, part)
        case _:
            return None


def _read_link(kind: Kind, value: Json, part: Object) -> Media | None:
    """Read an image or a video: `{"url", "detail"}`, or the URL alone, as some hosts take it."""
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str):
        return None
    detail = value.get("detail") if isinstance(value, dict) else None
    type, data = split_data_url(url)
    return Media(
        kind=kind,
        type=type,
        data=data,
        url=url if data is None else None,
        detail=detail if isinstance(detail, str) and detail != "auto" else None,
        cache=read_cache_mark(part),
        source=part,
    )


def _read_audio(value: Json, part: Object) -> Media | None:
    """Read audio: `{"data", "format"}`, or for Mistral the base64 or URL alone."""
    audio, form = (
        (value.get("data"), value.get("format")) if isinstance(value, dict) else (value, None)
    )
    if not isinstance(audio, str):
        return None
    type = _AUDIO_TYPES.get(form, f"audio/{form}") if isinstance(form, str) else None
    if audio.startswith(_WEB_SCHEMES):
        return Media(kind="audio", type=type, url=audio, cache=read_cache_mark(part), source=part)
    return Media(kind="audio", type=type, data=audio, cache=read_cache_mark(part), source=part)


def _read_file(value: Object, part: Object) -> Media | None:
    name, id, file_data = (value.get(it) for it in ("filename", "file_id", "file_data"))
    name = name if isinstance(name, str) else None
    if isinstance(id, str):
        return Media(kind="file", id=id, name=name, cache=read_cache_mark(part), source=part)
    if not isinstance(file_data, str):
        return None
    type, data = split_data_url(file_data)
    url = file_data if file_data.startswith(_WEB_SCHEMES) else None
    if data is None and url is None:
        type, data = (mimetypes.guess_type(name)[0] if name else None) or _PDF, file_data
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
    """Return the text of a document that is plain text, None of any other."""
    if data is None or not (type or "").startswith("text/"):
        return None
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def split_data_url(url: str) -> tuple[str | None, str | None]:
    """Return the media type and base64 of a data URL, two None of any other URL."""
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
    """Return the text of a thinking part: a string, or a list of text parts."""
    if isinstance(thinking, str):
        return thinking
    if not isinstance(thinking, list):
        return ""
    texts = [part.get("text") for part in thinking if isinstance(part, dict)]
    return "".join([text for text in texts if isinstance(text, str)])


def join_text(parts: Iterable[Part]) -> str:
    """Join all text. Adjacent texts are one text; others are separated by a blank line."""
    joined = ""
    is_adjacent = True
    for part in parts:
        text = read_plain_text(part)
        if text is None:
            is_adjacent = False
        else:
            is_apart = joined and text and not (is_adjacent and isinstance(part, Text))
            joined += f"{BLANK_LINE}{text}" if is_apart else text
            is_adjacent = isinstance(part, Text)
    return joined


def write_content(parts: Iterable[Part]) -> Json:
    """Write the content of a user's or a system message: a string if it is text alone."""
    written: list[Object] = []
    for part in parts:
        text = read_plain_text(part)
        if text is not None:
            written.append({"type": "text", "text": text})
        elif isinstance(part, Media):
            written.append(write_media(part))
    if all(part["type"] == "text" for part in written):
        return BLANK_LINE.join([part["text"] for part in written])
    return written


def read_plain_text(part: Part) -> str | None:
    """Return the text of a part; a document of plain text follows its name."""
    if isinstance(part, Text):
        return part.text
    if not isinstance(part, Media) or part.text is None:
        return None
    return part.text if part.name is None else f"{part.name}:{BLANK_LINE}{part.text}"


def write_media(part: Media) -> Object:
    """Write an image, audio, a video or a document as a content part."""
    url = part.url if part.data is None else f"data:{_find_media_type(part)};base64,{part.data}"
    match part.kind:
        case "image":
            image: Object = {"url": url}
            if part.detail is not None:
                image["detail"] = part.detail
            return {"type": "image_url", "image_url": image}
        case "audio":
            audio_format = _AUDIO_FORMATS.get(
                _find_media_type(part), _find_media_type(part).removeprefix("audio/")
            )
            data = part.url if part.data is None else part.data  # Mistral takes URLs there
            return {"type": "input_audio", "input_audio": {"data": data, "format": audio_format}}
        case "video":
            return {"type": "video_url", "video_url": {"url": url}}
        case _:
            name = part.name or f"document{mimetypes.guess_extension(_find_media_type(part)) or ''}"
            return {"type": "file", "file": {"filename": name, "file_data": url}}


def _find_media_type(part: Media) -> str:
    kinds = {"image": "image/png", "audio": "audio/wav", "video": "video/mp4"}
    return part.type or kinds.get(part.kind, "application/pdf")


def list_choices(value: Object) -> list[Object]:
    """List the choices that are objects."""
    choices = value.get("choices")
    return [it for it in choices if isinstance(it, dict)] if isinstance(choices, list) else []


def read_index(choice: Object, otherwise: int) -> int:
    """Return the index of a choice; `otherwise` if the host gives none."""
    index = choice.get("index")
    return index if isinstance(index, int) else otherwise


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
