"""The vectors of exemplars and routes, in a file of the data folder: a restart pays for none again.

A vector has the hash of its embedder and its text as its name. The file has no text.
"""

import os
from array import array
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path

import msgspec

from gateway.routing.classifier.meaning import Vector
from gateway.state.private_file import open_private

_read_file = msgspec.msgpack.Decoder(dict[str, bytes]).decode


class SavedVectors:
    """The vectors of one file; it outlives configurations. Losing the file costs no call.

    Without a file, the vectors last as long as the process.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._vectors: dict[str, tuple[float, ...]] = {}

    def find(self, embedder: str, texts: Iterable[str]) -> dict[str, tuple[float, ...]]:
        """Return the known vectors of texts, by text; another process may have saved some."""
        vectors = self._read() | self._vectors
        names = {text: make_name(embedder, text) for text in texts}
        return {text: vectors[name] for text, name in names.items() if name in vectors}

    def save(self, embedder: str, vectors: Mapping[str, Vector]) -> None:
        """Save the vectors of texts in place of all others. Raises OSError."""
        self._vectors = {make_name(embedder, text): tuple(v) for text, v in vectors.items()}
        if self._file is None:
            return
        data = {name: array("d", vector).tobytes() for name, vector in self._vectors.items()}
        scratch = self._file.with_name(f"{self._file.name}.{os.getpid()}.new")
        with os.fdopen(open_private(scratch, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(msgspec.msgpack.encode(data))
        scratch.replace(self._file)

    def _read(self) -> dict[str, tuple[float, ...]]:
        if self._file is None:
            return {}
        try:
            data = _read_file(self._file.read_bytes())
            return {name: tuple(array("d", vector)) for name, vector in data.items()}
        except (OSError, ValueError):  # missing, or of another form: the embedder is asked anew
            return {}


def make_name(embedder: str, text: str) -> str:
    """Return the name of a text's vector, from which nobody can read the text."""
    identity = f"{embedder}\0{text}".encode("utf-8", "surrogatepass")
    return blake2b(identity, digest_size=16).hexdigest()
