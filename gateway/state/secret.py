"""The one root secret of a deployment, and the keys that are derived from it by label."""

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

_BITS = 256


def root(data: Path, environ: Mapping[str, str]) -> bytes:
    """The root secret: TIERGATE_SECRET, else `data`/secret, which is made where it is missing.

    Of `new,old` the first is used: what was made with the old one is simply not found any more.
    Several processes that start at once agree on one file. Raises OSError where it can be neither
    read nor made.
    """
    given = [part.strip() for part in environ.get("TIERGATE_SECRET", "").split(",")]
    for part in given:
        if part:
            return part.encode()
    path = data / "secret"
    return _read(path) or _make(path)


def derive(root: bytes, label: str) -> bytes:
    """A key of 32 bytes for one purpose: HKDF-SHA256 (RFC 5869), no salt, the label as its info."""
    extracted = hmac.digest(bytes(hashlib.sha256().digest_size), root, "sha256")
    return hmac.digest(extracted, label.encode() + b"\x01", "sha256")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except FileNotFoundError:
        return b""


def _make(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        # Whoever comes second waits here and finds what the first has written.
        fcntl.flock(file, fcntl.LOCK_EX)
        made = file.read().strip()
        if not made:
            made = secrets.token_hex(_BITS // 8).encode()
            file.write(made + b"\n")
            file.flush()
            os.fsync(file.fileno())
    return made
