"""The dashboard's files: read once, and served under a name made of their content."""

import hashlib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

_CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_VERSION_MARK = b"{version}"
_VERSION_LENGTH = 16


class AssetFile(NamedTuple):
    """A file: its content type and its bytes."""

    content_type: str
    data: bytes


class Assets:
    """All files by path; `version` is a hash of their content, `index` the page that loads them.

    The page names the version in every URL, so a browser never uses a cached file of another one.
    """

    def __init__(self, folder: Traversable | None = None) -> None:
        files = dict(_read_files(folder or resources.files(__package__) / "files", ""))
        page = files.pop("index.html").data
        digest = hashlib.sha256(page)
        for name in sorted(files):
            digest.update(f"{name}\0{len(files[name].data)}\0".encode() + files[name].data)
        self.version = digest.hexdigest()[:_VERSION_LENGTH]
        self.files: Mapping[str, AssetFile] = files
        self.index = AssetFile(
            _CONTENT_TYPES["html"], page.replace(_VERSION_MARK, self.version.encode())
        )


def _read_files(folder: Traversable, prefix: str) -> list[tuple[str, AssetFile]]:
    files: list[tuple[str, AssetFile]] = []
    for entry in folder.iterdir():
        content_type = _CONTENT_TYPES.get(entry.name.rpartition(".")[2])
        if entry.is_dir():
            files += _read_files(entry, f"{prefix}{entry.name}/")
        elif content_type is not None:
            files.append((prefix + entry.name, AssetFile(content_type, entry.read_bytes())))
    return files
