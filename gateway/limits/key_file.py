"""A key file, and changes of its keys.

The file keeps its comments and its order. Each change replaces the file as a whole, so a reader
sees the old file or the new one. Two processes that edit it at once wait for each other.
"""

import contextlib
import fcntl
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gateway.limits import keys
from gateway.limits.errors import KeyFileError
from gateway.limits.key_store.store import ChangeKey, DescribeChange, KeyRecord, KeySettings
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake
from gateway.state.audit import AuditLog, AuditRow

_FILE_MODE = 0o600
"""The mode of a new file; an existing file keeps its own."""


class KeyFile:
    """A file of client keys. Its changes have their rows in `audit`."""

    def __init__(self, file: Path, audit: AuditLog | None = None) -> None:
        """Without `audit`, or without its folder, nothing is recorded: no gateway has run here."""
        self.file = file
        self._audit = audit

    @property
    def place(self) -> str:
        """The name of the store in messages."""
        return str(self.file)

    def read(self) -> dict[str, KeyRecord]:
        """Return all keys by name; none if the file is missing. Raises ConfigError, OSError."""
        try:
            text = self.file.read_text("utf-8")
        except FileNotFoundError:
            return {}
        return self._read_records(text)

    def edit(self, name: str, change: ChangeKey, describe: DescribeChange) -> KeyRecord:
        """Change one key while nobody else changes the file; see KeyStore.

        The row of the audit is written before the change. Raises KeyChangeError, ConfigError,
        OSError.
        """
        with self._locked_text() as text:
            before = self._read_records(text).get(name)
            settings = dict(change(before))
            if before is None or settings != before.settings:
                row = describe(before, settings)
                self._record(row)
                try:
                    self._write(text, name, before, settings)
                except Exception as error:
                    self._record(msgspec.structs.replace(row, error=type(error).__name__))
                    raise
        return KeyRecord(name=name, settings=settings)

    def _record(self, row: AuditRow) -> None:
        if self._audit is not None and self._audit.file.parent.is_dir():
            self._audit.write(row)

    def _read_records(self, text: str) -> dict[str, KeyRecord]:
        names = [name for name, _, _ in keys.iter_key_parts(text, str(self.file))]
        value: Any = yaml.read(text, str(self.file)).value
        return {name: KeyRecord(name=name, settings=value[name]) for name in names}

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

    def _write(self, text: str, name: str, before: KeyRecord | None, settings: KeySettings) -> None:
        """Replace the file. Raises KeyFileError if the change touches more than this key."""

        def change(entries: dict[str, Any]) -> None:
            if before is None:
                entries[name] = dict(settings)
                return
            entry = entries[name]
            for setting in before.settings.keys() - settings.keys():
                del entry[setting]
            for setting, value in settings.items():
                if setting not in before.settings or before.settings[setting] != value:
                    _set_value(entry, setting, value)

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
