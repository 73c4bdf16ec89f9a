"""Find the folder in which the gateway writes its data, and what lies in it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SQLITE_SCHEME: Final = "sqlite:///"
"""The start of the URL of a ledger store in a SQLite file."""


def find_data_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder in which the gateway writes its data."""
    return Path(environ.get("TIERGATE_DATA") or "data")


def resolve_store_url(url: str, data: Path) -> str:
    """Return the URL of the store; a relative SQLite path is taken from the data folder."""
    path = url.removeprefix(SQLITE_SCHEME)
    if path != url and not os.path.isabs(path):  # noqa: PTH117 - a string, not a path yet
        return f"{SQLITE_SCHEME}{data / path}"
    return url
