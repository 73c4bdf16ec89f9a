"""The files of the dashboard as they are served: read once, under a name made of their content."""

import hashlib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

_KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_VERSION = b"{version}"
_LENGTH = 16


class AssetFile(NamedTuple):
    """A file: what it is, and what is in it."""

    kind: str
    data: bytes


class Assets:
    """All files by path; `version` is that of their content, and `index` the page that loads them.

    The page names the version in every address, so what a browser has kept is never of another one.
    """

    def __init__(self, folder: Traversable | None = None) -> None:
        found = dict(_files(folder or resources.files(__package__) / "files", ""))
        page = found.pop("index.html").data
        whole = hashlib.sha256(page)
        for name in sorted(found):
            whole.update(f"{name}\0{len(found[name].data)}\0".encode() + found[name].data)
        self.version = whole.hexdigest()[:_LENGTH]
        self.files: Mapping[str, AssetFile] = found
        self.index = AssetFile(_KINDS["html"], page.replace(_VERSION, self.version.encode()))


def _files(folder: Traversable, under: str) -> list[tuple[str, AssetFile]]:
    found: list[tuple[str, AssetFile]] = []
    for one in folder.iterdir():
        kind = _KINDS.get(one.name.rpartition(".")[2])
        if one.is_dir():
            found += _files(one, f"{under}{one.name}/")
        elif kind is not None:
            found.append((under + one.name, AssetFile(kind, one.read_bytes())))
    return found
