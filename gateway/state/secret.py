"""The root secret of a deployment, and the keys that labels derive from it."""

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

_SECRET_BITS = 256
_FILE_NAME = "secret"


def load_root(folder: Path, environ: Mapping[str, str]) -> bytes:
    """Return the root secret: TIERGATE_SECRET, otherwise the file `folder`/secret.

    The function makes the file if it is missing. Of `new,old` it takes the first: the gateway no
    longer finds what it made with the old one. Several processes that start at once agree on one
    file. Raises OSError if the file can be neither read nor made.
    """
    return find_root(folder, environ) or _create(folder / _FILE_NAME)


def find_root(folder: Path, environ: Mapping[str, str]) -> bytes:
    """Return the root secret; empty if there is none yet. Raises OSError."""
    candidates = [candidate.strip() for candidate in environ.get("TIERGATE_SECRET", "").split(",")]
    for candidate in candidates:
        if candidate:
            return candidate.encode()
    return _read(folder / _FILE_NAME)


def derive_key(root: bytes, label: str) -> bytes:
    """Return a 32-byte key for one purpose: HKDF-SHA256 (RFC 5869), no salt, the label as info."""
    pseudorandom_key = hmac.digest(bytes(hashlib.sha256().digest_size), root, "sha256")
    return hmac.digest(pseudorandom_key, label.encode() + b"\x01", "sha256")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except FileNotFoundError:
        return b""


def _create(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        # A second process waits here, then finds the secret that the first one wrote.
        fcntl.flock(file, fcntl.LOCK_EX)
        secret = file.read().strip()
        if not secret:
            secret = secrets.token_hex(_SECRET_BITS // 8).encode()
            file.write(secret + b"\n")
            file.flush()
            os.fsync(file.fileno())
    return secret
