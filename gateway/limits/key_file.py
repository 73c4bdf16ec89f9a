"""A key file, and changes to it: add a key, revoke one, or give it a new secret.

The file keeps its comments and its order. Each change replaces the file as a whole, so a reader
sees the old file or the new one. Two processes that edit it at once wait for each other.
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
from gateway.settings.errors import ConfigError, Mistake, suggest_name

_SECRET_BITS = 256
_FILE_MODE = 0o600
"""The mode of a new file; an existing file keeps its own."""


class KeyFile:
    """A file of client keys.

    `clock` returns seconds since the epoch, `random_bytes` returns random bytes.
    """

    def __init__(
        self,
        file: Path,
        *,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.file = file
        self._clock = clock
        self._random_bytes = random_bytes

    def read(self) -> dict[str, KeyPart]:
        """Return all keys by name; none if the file is missing. Raises ConfigError, OSError."""
        try:
            text = self.file.read_text("utf-8")
        except FileNotFoundError:
            return {}
        return {name: part for name, part, _ in keys.iter_key_parts(text, str(self.file))}

    def add(self, name: str, settings: Mapping[str, Any]) -> str:
        """Add a key with these settings, and return its secret, which is stored nowhere.

        Raises KeyFileError, ConfigError, OSError.
        """

        def change(entries: dict[str, Any]) -> None:
            entries[name] = {"sha256": _hash_secret(secret), **settings}

        secret = self._make_secret()
        with self._locked_text() as text:
            key_parts = dict(_iter_parts(text, self.file))
            if name in key_parts:
                reason = (
                    "It is revoked, and its name cannot be used again."
                    if key_parts[name].revoked
                    else ""
                )
                hint = reason or "`tiergate keys rotate` gives it a new secret."
                raise KeyFileError(f"There is a key {name!r} in {self.file}. {hint}")
            self._write(text, name, change)
        return secret

    def create_first(self, name: str) -> str | None:
        """Add a first key to a file that has none, and return its secret.

        Return None if the file has keys already. Raises ConfigError, OSError.
        """
        try:
            return None if self.read() else self.add(name, {})
        except KeyFileError:
            return None  # another process was faster

    def revoke(self, name: str) -> bool:
        """Revoke a key from now on; return False if it was revoked before.

        The key stays in the file, so that nobody else gets its name: the ledger and the cache know
        it. Raises KeyFileError, ConfigError, OSError.
        """

        def change(entries: dict[str, Any]) -> None:
            _set_value(entries[name], "revoked", _format_time(self._clock()))

        with self._locked_text() as text:
            if self._find_part(text, name).revoked:
                return False
            self._write(text, name, change)
        return True

    def rotate(self, name: str, keep_seconds: float) -> str:
        """Give a key a new secret, and return it; the current one stays valid for `keep_seconds`.

        With 0 seconds all earlier secrets end at once. Raises KeyFileError, ConfigError, OSError.
        """
        now, secret = self._clock(), self._make_secret()

        def change(entries: dict[str, Any]) -> None:
            entry = entries[name]
            earlier = [
                {"sha256": earlier_entry["sha256"], "until": str(earlier_entry["until"])}
                for earlier_entry in part.model_dump()["earlier"]
                if keep_seconds and keys.parse_time(earlier_entry["until"]) > now
            ]
            if keep_seconds:
                earlier.insert(
                    0, {"sha256": part.sha256, "until": _format_time(now + keep_seconds)}
                )
            entry["sha256"] = _hash_secret(secret)
            if earlier:
                _set_value(entry, "earlier", earlier)
            else:
                entry.pop("earlier", None)

        with self._locked_text() as text:
            part = self._find_part(text, name)
            if part.revoked:
                raise KeyFileError(f"The key {name!r} was revoked: add another.")
            if part.expires is not None and keys.parse_time(part.expires) <= now:
                hint = f"Change its `expires` in {self.file} first."
                raise KeyFileError(f"The key {name!r} expired on {part.expires}. {hint}")
            self._write(text, name, change)
        return secret

    def _make_secret(self) -> str:
        return f"tg-{self._random_bytes(_SECRET_BITS // 8).hex()}"

    def _find_part(self, text: str, name: str) -> KeyPart:
        key_parts = dict(_iter_parts(text, self.file))
        if name not in key_parts:
            hint = suggest_name(name, key_parts)
            raise KeyFileError(f"There is no key {name!r} in {self.file}. {hint}".rstrip())
        return key_parts[name]

    @contextlib.contextmanager
    def _locked_text(self) -> Iterator[str]:
        """Lock the file for the length of a block, and yield its text.

        Raises ConfigError if the text is not UTF-8.
        """
        is_new = not self.file.exists()
        while True:
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_same_file(descriptor, self.file):
                    yield self.file.read_text("utf-8")
                    return
            except UnicodeDecodeError:
                raise ConfigError([Mistake(file=str(self.file), message="is not UTF-8.")]) from None
            finally:
                if (
                    is_new
                    and os.fstat(descriptor).st_size == 0
                    and _is_same_file(descriptor, self.file)
                ):
                    self.file.unlink()  # the block wrote nothing
                os.close(descriptor)

    def _write(self, text: str, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Replace the file. Raises KeyFileError if the change touches more than this key."""
        file = str(self.file)
        try:
            new_text = yaml.amend(text, file, change)
        # YAML reads the name as a number, for example, or a value comes from an alias.
        except (AttributeError, KeyError, TypeError):
            raise KeyFileError(
                f"tiergate cannot edit {name!r} in {file}: change it by hand."
            ) from None
        keys.read(new_text, file, {})
        old_value, new_value = yaml.read(text, file).value, yaml.read(new_text, file).value
        if _without_key(old_value, name) != _without_key(new_value, name) or _count_comments(
            text
        ) - _count_comments(new_text):
            raise KeyFileError(f"tiergate cannot edit {name!r} in {file}: change it by hand.")
        _replace_file(self.file.resolve(), new_text.encode())


def _set_value(key: Any, name: str, value: object) -> None:
    """Set a value of a key.

    A new value goes first, since a comment after the last one belongs to what follows.
    """
    if name in key:
        key[name] = value
    else:
        key.insert(0, name, value)


def _count_comments(text: str) -> Counter[str]:
    """Return the comment lines, and how often each occurs."""
    return Counter(line.strip() for line in text.splitlines() if line.lstrip().startswith("#"))


def _iter_parts(text: str, file: Path) -> Iterator[tuple[str, KeyPart]]:
    for name, part, _ in keys.iter_key_parts(text, str(file)):
        yield name, part


def _without_key(value: yaml.Value, name: str) -> dict[str, yaml.Value]:
    entries = value if isinstance(value, dict) else {}
    return {key: item for key, item in entries.items() if key != name}


def _is_same_file(descriptor: int, file: Path) -> bool:
    """Return True if nobody has replaced an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _replace_file(file: Path, data: bytes) -> None:
    """Replace a file, and keep its owner and its permissions."""
    old_stat = file.stat()
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as output:
            new_stat = os.fstat(descriptor)
            if (new_stat.st_uid, new_stat.st_gid) != (old_stat.st_uid, old_stat.st_gid):
                os.fchown(descriptor, old_stat.st_uid, old_stat.st_gid)
            os.fchmod(descriptor, old_stat.st_mode & 0o7777)
            output.write(data)
            output.flush()
            os.fsync(descriptor)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder_descriptor = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder_descriptor)
    finally:
        os.close(folder_descriptor)


def _hash_secret(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _format_time(timestamp: float) -> str:
    return datetime.fromtimestamp(int(timestamp), UTC).isoformat().replace("+00:00", "Z")
