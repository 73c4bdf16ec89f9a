"""What a configuration was read from, and whether that has changed since."""

import stat
from collections.abc import Callable, Iterable
from pathlib import Path as File

import msgspec

from gateway.core import jsonio

type FileState = tuple[int, ...] | None
"""What tells one state of a file from another; None where it is not there."""
type FileFinder = Callable[[], Iterable[File]]


class _SnapshotData(msgspec.Struct):
    """What was read, to be read again elsewhere."""

    texts: dict[str, str]
    found: list[tuple[str, str, list[str]]]


def read_state(file: File) -> FileState:
    """The state of a file, of what a link leads to: also of one in a folder that was swapped."""
    try:
        status = file.stat()
    except (OSError, ValueError):
        return None
    return (
        status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns,
        status.st_ctime_ns,
    )  # fmt: skip


class FileSnapshot:
    """Told of each file before it is read, and of each pattern with what it has found."""

    def __init__(self, recorded: bytes | None = None) -> None:
        """`recorded` is what another gave: its texts and findings are those that are read.

        Raises JsonError, msgspec.ValidationError.
        """
        self.file_states: dict[File, FileState] = {}
        """With the state in which it was read."""
        self._texts: dict[str, str] = {}
        self._recorded = (
            None if recorded is None else msgspec.convert(jsonio.loads(recorded), _SnapshotData)
        )
        self._pattern_results: dict[tuple[File, str], tuple[FileFinder, tuple[File, ...]]] = {}

    def record_file(self, file: File) -> FileState:
        """A file is to be read. The first state counts: what came after it may not be read."""
        return self.file_states.setdefault(file, read_state(file))

    def read_text(self, file: File) -> str:
        """What a file has. Raises OSError, UnicodeDecodeError."""
        if self._recorded is not None and str(file) in self._recorded.texts:
            return self._recorded.texts[str(file)]
        text = self._texts[str(file)] = file.read_text(encoding="utf-8")
        return text

    def dump(self) -> bytes:
        """All texts, and what patterns have found: for whoever is to read the same."""
        patterns = [
            (str(folder), pattern, [str(file) for file in files])
            for (folder, pattern), (_, files) in self._pattern_results.items()
        ]
        return jsonio.dumps(_SnapshotData(self._texts, patterns))

    def find_files(self, folder: File, pattern: str, finder: FileFinder) -> tuple[File, ...]:
        """A pattern, in order of what it finds."""
        if self._recorded is not None:
            recorded = {
                (known_folder, known_pattern): files
                for known_folder, known_pattern, files in self._recorded.found
            }
            return tuple(File(file) for file in recorded.get((str(folder), pattern), ()))
        files = tuple(sorted(finder()))
        self._pattern_results.setdefault((folder, pattern), (finder, files))
        return files

    def read_current_state(self) -> tuple[object, ...]:
        """How all of it is now, to be compared with how it was or will be."""
        return (
            *[read_state(file) for file in self.file_states],
            *[tuple(sorted(finder())) for finder, _ in self._pattern_results.values()],
        )

    def list_recorded_state(self) -> tuple[object, ...]:
        """How all of it was when it was read."""
        return (*self.file_states.values(), *[files for _, files in self._pattern_results.values()])

    def is_unchanged(self) -> bool:
        """Whether nothing has changed since."""
        return self.read_current_state() == self.list_recorded_state()


def is_rereadable(state: FileState) -> bool:
    """Whether a file can be read again: a pipe gives what it has once."""
    return state is None or stat.S_ISREG(state[2]) or stat.S_ISDIR(state[2])


def get_size(state: FileState) -> int:
    """Bytes of a file."""
    return 0 if state is None else state[3]
