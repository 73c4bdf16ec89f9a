"""Text, images, documents and cache breakpoints: blocks of a message as parts, and back."""

import base64
import binascii

from gateway.core.canonical_request import Foreign, Media, Text
from gateway.core.jsonio import Json

type Object = dict[str, Json]
_IMAGES = {"iVBOR": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp"}
"""Media types that the API takes, by how such an image begins in base64."""
_PDF = "application/pdf"
_PLACES = {
    "base64": ("data", "data"),
    "url": ("url", "url"),
    "file": ("file_id", "id"),
    "text": ("data", "text"),
}
"""By type of a source: its member, and that of Media."""


def read_text(value: Json) -> str:
    """Text, empty where there is none."""
    return value if isinstance(value, str) else ""


def read_cache(block: Object) -> str | None:
    """The lifetime of the prompt cache that ends at a block or tool; None where none does."""
    control = block.get("cache_control")
    return read_text(control.get("ttl")) if isinstance(control, dict) else None


def read_block(block: Object) -> Text | Media | Foreign:
    """A block that may stand in a message as well as in a result."""
    kind, source = read_text(block.get("type")), block.get("source")
    if kind == "text":
        return Text(text=read_text(block.get("text")), cache=read_cache(block), source=block)
    if kind in ("image", "document") and isinstance(source, dict):
        place = _place(source)
        if place:
            return Media(
                kind="image" if kind == "image" else "file",
                type=source.get("media_type"),
                name=block.get("title"),
                cache=read_cache(block),
                source=block,
                **place,
            )
    return Foreign(kind=kind or "unknown", source=block)


def _place(source: Object) -> dict[str, str]:
    """Where the content of an image or document is: one member of Media, none where unknown."""
    kind = source.get("type")
    if kind == "content":
        content = source.get("content")
        texts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if isinstance(texts, list) and all(map(_is_text, texts)):
            return {"text": "\n".join(it["text"] for it in texts)}
        return {}
    member, name = _PLACES.get(read_text(kind), ("", ""))
    value = source.get(member)
    return {name: value} if isinstance(value, str) else {}


def _is_text(block: Json) -> bool:
    return isinstance(block, dict) and isinstance(block.get("text"), str)


def write_text(part: Text) -> Object | None:
    """A block of text; None for blank text, which the API refuses."""
    if not part.text.strip():
        return None
    return {"type": "text", "text": part.text, **write_cache(part.cache)}


def write_media(part: Media) -> Object | None:
    """A block of an image or a document; None for what the API has no block for."""
    image = part.kind == "image" or (part.kind == "file" and (part.type or "").startswith("image/"))
    if image:
        source = _source(part) or _image(part)
        return {"type": "image", "source": source, **write_cache(part.cache)}
    if part.kind != "file":
        return None
    source = _source(part) or _document(part)
    title = {"title": part.name} if part.name else {}
    return {"type": "document", "source": source, **title, **write_cache(part.cache)}


def write_cache(lifetime: str | None) -> Object:
    """The breakpoint of a prompt cache: the API knows 5 minutes, which is its default, and 1h."""
    if lifetime is None:
        return {}
    ttl = {} if lifetime in ("", "5m") else {"ttl": "1h"}
    return {"cache_control": {"type": "ephemeral", **ttl}}


def _source(part: Media) -> Object | None:
    """Where content is that is not data; None for data and for text."""
    if part.url is not None:
        return {"type": "url", "url": part.url}
    return {"type": "file", "file_id": part.id} if part.id is not None else None


def _image(part: Media) -> Object:
    data = part.data or ""
    found = (kind for begin, kind in _IMAGES.items() if data.startswith(begin))
    kind = next(found, part.type or "image/png")
    return {"type": "base64", "media_type": kind, "data": data}


def _document(part: Media) -> Object:
    """Plain text, or a PDF: what else it may be, the provider says that it does not take it."""
    said = part.text
    if said is None and (part.type or "").startswith("text/"):
        said = _decoded(part.data or "")
    if said is not None:
        return {"type": "text", "media_type": "text/plain", "data": said}
    return {"type": "base64", "media_type": part.type or _PDF, "data": part.data or ""}


def _decoded(data: str) -> str | None:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
