"""Text, images, documents and cache points as blocks of Converse.

A block has one member, which says what it is. Bytes stand in base64. Sources: ContentBlock,
DocumentBlock, ImageBlock and CachePointBlock of AWS's API reference, and what the API refuses:
blank text, two documents of one name, a document in a message without text, a cache point right
after a document.
"""

import base64
import re

from gateway.core.canonical_request import Media
from gateway.core.jsonio import Json

type Object = dict[str, Json]

_IMAGE_FORMATS = {"iVBOR": "png", "/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp"}
"""Formats that the API takes, by the first characters of such an image in base64."""
_DOCUMENT_FORMATS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
"""Formats that the API takes, by media type."""
_FORBIDDEN_IN_NAMES = re.compile(r"[^A-Za-z0-9\s()\[\]-]+")
_SPACES = re.compile(r"\s+")
_MAX_NAME_CHARS = 190
"""Characters of a name; the API takes 200, of which a number behind it may take some."""
_DOCUMENT, _CACHE_POINT = "document", "cachePoint"


def is_image(part: Media) -> bool:
    """True if media is an image, also if the client sends it as a file."""
    return part.kind == "image" or (part.kind == "file" and (part.type or "").startswith("image/"))


def write_image(part: Media) -> Object:
    """Return the block of an image; the provider itself refuses a format that it does not know."""
    data = part.data or ""
    formats = (format for prefix, format in _IMAGE_FORMATS.items() if data.startswith(prefix))
    format = next(formats, (part.type or "image/png").partition("/")[2])
    return {"image": {"format": format, "source": {"bytes": data}}}


class DocumentWriter:
    """Writes the documents of one request, each with a name of its own."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: set[str] = set()

    def write(self, part: Media) -> tuple[Object, bool]:
        """Return the block of a document, and True if it has the client's own name."""
        name = self._choose_name(part.name or "")
        data, format = part.data or "", _find_format(part)
        if part.text is not None:
            data, format = base64.b64encode(part.text.encode("utf-8", "replace")).decode(), "txt"
        document = {"format": format, "name": name, "source": {"bytes": data}}
        return {_DOCUMENT: document}, part.name in (None, name)

    def _choose_name(self, name: str) -> str:
        plain = _SPACES.sub(" ", _FORBIDDEN_IN_NAMES.sub(" ", name)).strip()[:_MAX_NAME_CHARS]
        base = plain or "Document"
        number, chosen = 1, base
        while chosen in self._names:
            number += 1
            chosen = f"{base} {number}"
        self._names.add(chosen)
        return chosen


def _find_format(part: Media) -> str:
    """Return the format of a document by its media type, else by the end of its name."""
    media_type = (part.type or "").partition(";")[0].strip().lower()
    if media_type in _DOCUMENT_FORMATS:
        return _DOCUMENT_FORMATS[media_type]
    ending = (part.name or "").rpartition(".")[2].lower()
    if ending in _DOCUMENT_FORMATS.values():
        return ending
    return "txt" if media_type.startswith("text/") else "pdf"


def has_document(blocks: list[Object]) -> bool:
    """True if one of some blocks is a document."""
    return any(_DOCUMENT in block for block in blocks)


def is_cache_point(block: Object) -> bool:
    """True if a block is a cache point."""
    return _CACHE_POINT in block


def write_cache_point() -> Object:
    """Return a cache point, for the lifetime that the model has: 5 minutes."""
    return {_CACHE_POINT: {"type": "default"}}
