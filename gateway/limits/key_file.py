"""A file of keys, edited: a key more, one that opens nothing any more, another secret.

The file keeps its comments and its order. It is replaced as a whole, so that whoever reads it has
the old one or the new one; two that edit it at once wait for each other.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.limits import keys
from gateway.limits.errors import KeyFileError
from gateway.limits.keys import KeyPart
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake, nearest

_BITS = 256
_MODE = 0o600
"""Of a file that is new; one that is there keeps what it has."""


class KeyFile:
    """A file of keys. `clock` tells seconds since the epoch, `token` makes bytes at random."""

    def __init__(
        self,
        file: Path,
        *,
        clock: Callable[[], float],
        token: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.file = file
        self._clock = clock
        self._token = token

    def read(self) -> dict[str, KeyPart]:
        """Every key, by its name; none where there is no file. Raises ConfigError, OSError."""
        try:
            text = self.file.read_text("utf-8")
        except FileNotFoundError:
            return {}
        return {name: part for name, part, _ in keys.parts(text, str(self.file))}

    def add(self, name: str, settings: Mapping[str, Any]) -> str:
        """A new key with these settings of the file; its secret, which stands nowhere else.

        Raises KeyFileError, ConfigError, OSError.
        """

        def change(found: dict[str, Any]) -> None:
            found[name] = {"sha256": _hash(secret), **settings}

        secret = self._secret()
        with self._held() as text:
            known = dict(_parts(text, self.file))
            if name in known:
                why = "It was revoked; its name stays with it." if known[name].revoked else ""
                hint = why or "`tiergate keys rotate` gives it another secret."
                raise KeyFileError(f"There is a key {name!r} in {self.file}. {hint}")
            self._write(text, name, change)
        return secret

    def begin(self, name: str) -> str | None:
        """Make the file where it holds no key, with one key in it; return that key's secret.

        None where there are keys. Raises KeyFileError, ConfigError, OSError.
        """
        try:
            return None if self.read() else self.add(name, {})
        except KeyFileError:
            return None  # another process has been first

    def revoke(self, name: str) -> bool:
        """Let a key open nothing from now on; False where it did not before.

        It stays in the file: its name, which the ledger and the cache know, goes to nobody else.
        Raises KeyFileError, ConfigError, OSError.
        """

        def change(found: dict[str, Any]) -> None:
            _put(found[name], "revoked", _written(self._clock()))

        with self._held() as text:
            if self._known(text, name).revoked:
                return False
            self._write(text, name, change)
        return True

    def rotate(self, name: str, keep: float) -> str:
        """Another secret for a key, which is given back; the one before opens `keep` seconds more.

        With 0 all that it had before end at once. Raises KeyFileError, ConfigError, OSError.
        """
        now, secret = self._clock(), self._secret()

        def change(found: dict[str, Any]) -> None:
            key = found[name]
            left = [
                {"sha256": one["sha256"], "until": str(one["until"])}
                for one in part.model_dump()["earlier"]
                if keep and keys.moment(one["until"]) > now
            ]
            if keep:
                left.insert(0, {"sha256": part.sha256, "until": _written(now + keep)})
            key["sha256"] = _hash(secret)
            if left:
                _put(key, "earlier", left)
            else:
                key.pop("earlier", None)

        with self._held() as text:
            part = self._known(text, name)
            if part.revoked:
                raise KeyFileError(f"The key {name!r} was revoked: add another.")
            if part.expires is not None and keys.moment(part.expires) <= now:
                hint = f"Change its `expires` in {self.file} first."
                raise KeyFileError(f"The key {name!r} expired on {part.expires}. {hint}")
            self._write(text, name, change)
        return secret

    def _secret(self) -> str:
        return f"tg-{self._token(_BITS // 8).hex()}"

    def _known(self, text: str, name: str) -> KeyPart:
        known = dict(_parts(text, self.file))
        if name not in known:
            hint = nearest(name, known)
            raise KeyFileError(f"There is no key {name!r} in {self.file}. {hint}".rstrip())
        return known[name]

    @contextlib.contextmanager
    def _held(self) -> Iterator[str]:
        """The text of the file, which nobody else edits for the length of a block."""
        new = not self.file.exists()
        while True:
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_still(descriptor, self.file):
                    yield self.file.read_text("utf-8")
                    return
            except UnicodeDecodeError:
                raise ConfigError([Mistake(file=str(self.file), message="is not UTF-8.")]) from None
            finally:
                if new and os.fstat(descriptor).st_size == 0 and _is_still(descriptor, self.file):
                    self.file.unlink()  # nothing came of it
                os.close(descriptor)

    def _write(self, text: str, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Replace the file, where the change is right and is the only one."""
        file = str(self.file)
        try:
            changed = yaml.amend(text, file, change)
        except (
            AttributeError,
            KeyError,
            TypeError,
        ):  # a name that YAML takes for a number, a value by an alias
            raise KeyFileError(
                f"{file} is written so that {name!r} must be changed by hand."
            ) from None
        keys.read(changed, file, {})
        before, after = yaml.read(text, file).value, yaml.read(changed, file).value
        if _others(before, name) != _others(after, name) or _comments(text) - _comments(changed):
            raise KeyFileError(f"{file} is written so that {name!r} must be changed by hand.")
        _replace(self.file.resolve(), changed.encode())


def _put(key: Any, name: str, value: object) -> None:
    """Set a value of a key: a new one first, since a comment behind the last is of what follows."""
    if name in key:
        key[name] = value
    else:
        key.insert(0, name, value)


def _comments(text: str) -> Counter[str]:
    """The lines that are comments."""
    return Counter(line.strip() for line in text.splitlines() if line.lstrip().startswith("#"))


def _parts(text: str, file: Path) -> Iterator[tuple[str, KeyPart]]:
    for name, part, _ in keys.parts(text, str(file)):
        yield name, part


def _others(value: yaml.Value, name: str) -> dict[str, yaml.Value]:
    found = value if isinstance(value, dict) else {}
    return {key: item for key, item in found.items() if key != name}


def _is_still(descriptor: int, file: Path) -> bool:
    """Whether an open file has not been replaced."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _replace(file: Path, data: bytes) -> None:
    """Put a file in the place of another, with its owner and what it allows."""
    old = file.stat()
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with os.fdopen(descriptor, "wb") as out:
            made = os.fstat(descriptor)
            if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
                os.fchown(descriptor, old.st_uid, old.st_gid)
            os.fchmod(descriptor, old.st_mode & 0o7777)
            out.write(data)
            out.flush()
            os.fsync(descriptor)
        fresh.replace(file)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _written(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "Z")
