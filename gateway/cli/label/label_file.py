"""The file of labels: each label is on the disk before the next one is paid for."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import click

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.ledger.file_lock import try_lock
from gateway.state.private_file import open_private


class LabelFile:
    """A file of labels that this process alone extends, readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        """Open the file, and remove a last line that was being written when a process died.

        Raises click.ClickException if that fails, or if another process writes the file.
        """
        self._path = path
        try:
            self._descriptor = open_private(path, os.O_RDWR | os.O_APPEND)
            if not try_lock(self._descriptor):
                raise click.ClickException(f"{path} is being written by another command.")
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            os.ftruncate(self._descriptor, len(whole))
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise click.ClickException(f"{path} cannot be written: {reason}.") from None
        rows = [_read_line(line) for line in whole.splitlines()]
        self.digests = {row["digest"] for row in rows if row is not None and "digest" in row}
        """The prompts that have a label, by their digest."""

    def append(self, row: Mapping[str, Json]) -> None:
        """Append a label. It is on the disk when this returns."""
        data = jsonio.dumps(row) + b"\n"
        if os.write(self._descriptor, data) != len(data):
            raise click.ClickException(f"{self._path} cannot be written: the disk is full.")
        os.fsync(self._descriptor)
        self.digests.add(row["digest"])

    def __enter__(self) -> Self:
        """Return the file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _read_line(line: bytes) -> dict[str, Json] | None:
    try:
        row = jsonio.loads(line)
    except jsonio.JsonError:
        return None
    return row if isinstance(row, dict) else None
