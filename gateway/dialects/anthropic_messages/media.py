"""Text, images and documents as blocks of the Messages API."""

import base64
import binascii

from gateway.core.canonical_request import Media, Text
from gateway.core.jsonio import Json

type Object = dict[str, Json]

_IMAGES = {"iVBOR": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp"}
"""Media types that the API takes, by how such an image begins in base64."""
_PDF = "application/pdf"


def text(part: Text) -> Object | None:
    """A block of text; None for blank text, which the API refuses."""
    if not part.text.strip():
        return None
    return {"type": "text", "text": part.text, **cache(part.cache)}


def block(part: Media) -> Object | None:
    """A block of an image or a document; None for what the API has no block for."""
    image = part.kind == "image" or (part.kind == "file" and (part.type or "").startswith("image/"))
    if image:
        source = _source(part) or _image(part)
        return {"type": "image", "source": source, **cache(part.cache)}
    if part.kind != "file":
        return None
    source = _source(part) or _document(part)
    title = {"title": part.name} if part.name else {}
    return {"type": "document", "source": source, **title, **cache(part.cache)}


def cache(lifetime: str | None) -> Object:
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
