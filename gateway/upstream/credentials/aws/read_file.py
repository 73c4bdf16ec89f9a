"""Read the small files that hold credentials."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from gateway.upstream.credentials.request_signer import CredentialError

_MAX_BYTES = 1_000_000
"""Bytes of the longest file: AWS's files of a large company have some hundred profiles."""


async def read_token_file(path: str, environ: Mapping[str, str]) -> str:
    """Return the text of a file that the environment or a profile names. Raises CredentialError."""
    try:
        return await read_file(expand_home(path, environ))
    except OSError as error:
        raise CredentialError(f"{path} cannot be read: {error.strerror}") from None


async def read_file(path: Path) -> str:
    """Return a file's text, read in a thread. Raises OSError and CredentialError."""
    return await asyncio.to_thread(_read, path)


def expand_home(path: str, environ: Mapping[str, str]) -> Path:
    """Return a path in which a leading `~/` is the folder HOME, if there is one."""
    home = environ.get("HOME")
    return Path(home, path[2:]) if home and path.startswith("~/") else Path(path)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise CredentialError(f"{path} is longer than {_MAX_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CredentialError(f"{path} is not UTF-8") from None
