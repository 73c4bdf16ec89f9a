"""Text, images, documents and cache breakpoints: blocks of a message as parts, and back."""

import base64
import binascii

from gateway.core.canonical_request import Foreign, Media, Text
from gateway.core.jsonio import Json
from gateway.dialects.json_values import read_text

type Object = dict[str, Json]

_IMAGE_TYPES = {
    "iVBOR": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}
"""Media types that the API takes, by the first characters of such an image in base64."""
_PDF = "application/pdf"
_SOURCE_MEMBERS = {
    "base64": ("data", "data"),
    "url": ("url", "url"),
    "file": ("file_id", "id"),
    "text": ("data", "text"),
}
"""By source type: the member that holds the content, and the field of Media for it."""


def read_cache(block: Object) -> str | None:
    """Return the lifetime of the cache breakpoint at a block or tool; None if it has none."""
    control = block.get("cache_control")
    return read_text(control.get("ttl")) if isinstance(control, dict) else None


def read_block(block: Object) -> Text | Media | Foreign:
    """Return the part of a block that both messages and tool results may hold."""
    kind, source = read_text(block.get("type")), block.get("source")
    if kind == "text":
        return Text(text=read_text(block.get("text")), cache=read_cache(block), source=block)
    if kind in ("image", "document") and isinstance(source, dict):
        content = _read_source(source)
        if content:
            return Media(
                kind="image" if kind == "image" else "file",
                type=source.get("media_type"),
                name=block.get("title"),
                cache=read_cache(block),
                source=block,
                **content,
            )
    return Foreign(kind=kind or "unknown", source=block)


def _read_source(source: Object) -> dict[str, str]:
    """Return the content of an image or document as one field of Media; empty if unknown."""
    kind = source.get("type")
    if kind == "content":
        content = source.get("content")
        texts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if isinstance(texts, list) and all(map(_is_text, texts)):
            return {"text": "\n".join(it["text"] for it in texts)}
        return {}
    member, name = _SOURCE_MEMBERS.get(read_text(kind), ("", ""))
    value = source.get(member)
    return {name: value} if isinstance(value, str) else {}


def _is_text(block: Json) -> bool:
    return isinstance(block, dict) and isinstance(block.get("text"), str)


def write_text(part: Text) -> Object | None:
    """Return a text block; None for blank text, which the API refuses."""
    if not part.text.strip():
        return None
    return {"type": "text", "text": part.text, **write_cache(part.cache)}


def write_media(part: Media) -> Object | None:
    """Return an image or document block; None for media that the API has no block for."""
    image = part.kind == "image" or (part.kind == "file" and (part.type or "").startswith("image/"))
    if image:
        source = _write_reference(part) or _write_image_data(part)
        return {"type": "image", "source": source, **write_cache(part.cache)}
    if part.kind != "file":
        return None
    source = _write_reference(part) or _write_document_data(part)
    title = {"title": part.name} if part.name else {}
    return {"type": "document", "source": source, **title, **write_cache(part.cache)}


def write_cache(lifetime: str | None) -> Object:
    """Return a cache breakpoint; the API knows 5 minutes, which is its default, and 1 hour."""
    if lifetime is None:
        return {}
    ttl = {} if lifetime in ("", "5m") else {"ttl": "1h"}
    return {"cache_control": {"type": "ephemeral", **ttl}}


def _write_reference(part: Media) -> Object | None:
    """Return the source of media behind a URL or file id; None for data and text."""
    if part.url is not None:
        return {"type": "url", "url": part.url}
    return {"type": "file", "file_id": part.id} if part.id is not None else None


def _write_image_data(part: Media) -> Object:
    data = part.data or ""
    kinds = (kind for prefix, kind in _IMAGE_TYPES.items() if data.startswith(prefix))
    kind = next(kinds, part.type or "image/png")
    return {"type": "base64", "media_type": kind, "data": data}


def _write_document_data(part: Media) -> Object:
    """Return plain text or data; the provider itself refuses data that is not a PDF."""
    text = part.text
    if text is None and (part.type or "").startswith("text/"):
        text = _decode_text(part.data or "")
    if text is not None:
        return {"type": "text", "media_type": "text/plain", "data": text}
    return {"type": "base64", "media_type": part.type or _PDF, "data": part.data or ""}


def _decode_text(data: str) -> str | None:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
