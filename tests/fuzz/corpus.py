"""The kept inputs of each target: files of plain bytes, one folder for each target.

An input that once failed is named `failed-...` and stays for ever. The name of any other one is a
digest of its bytes.
"""

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
MAX_KEPT_BYTES = 4_000
"""The most bytes of a kept input."""


def name_input(data: bytes) -> str:
    """Return the name of an input by its bytes."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def list_files(target: str, folder: Path = FOLDER) -> list[Path]:
    """Return the files of a target's inputs, in a fixed order."""
    return sorted(path for path in (folder / target).glob("*") if path.is_file())


def read_inputs(target: str, folder: Path = FOLDER) -> dict[str, bytes]:
    """Return a target's inputs by the names of their files."""
    return {path.name: path.read_bytes() for path in list_files(target, folder)}


def add_input(target: str, data: bytes, folder: Path = FOLDER, name: str = "") -> Path:
    """Write an input, and return its file."""
    path = folder / target / (name or name_input(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
