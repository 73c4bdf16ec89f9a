"""The files from which a configuration was read, and a check for changes since then."""

import stat
from collections.abc import Callable, Iterable
from pathlib import Path as File

import msgspec

from gateway.core import jsonio

type FileState = tuple[int, ...] | None
"""The state of a file, from `stat`: it differs after a change. None if the file does not exist."""
type FileFinder = Callable[[], Iterable[File]]


class _SnapshotData(msgspec.Struct):
    """Recorded texts and pattern results, so that another process reads the same."""

    texts: dict[str, str]
    found: list[tuple[str, str, list[str]]]


def read_state(file: File) -> FileState:
    """Return the state of a file; of a link, the state of its target.

    So it also differs after somebody swaps the folder that the file is in.
    """
    try:
        status = file.stat()
    except (OSError, ValueError):
        return None
    return (
        status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns,
        status.st_ctime_ns,
    )  # fmt: skip


class FileSnapshot:
    """A record of each file before it is read, and of each pattern with the files it found."""

    def __init__(self, recorded: bytes | None = None) -> None:
        """`recorded` comes from another process's `dump`: its texts and findings replace the files.

        Raises JsonError, msgspec.ValidationError.
        """
        self.file_states: dict[File, FileState] = {}
        """The recorded files, each with its state before it was read."""
        self._texts: dict[str, str] = {}
        self._recorded = (
            None if recorded is None else msgspec.convert(jsonio.loads(recorded), _SnapshotData)
        )
        self._pattern_results: dict[tuple[File, str], tuple[FileFinder, tuple[File, ...]]] = {}

    def record_file(self, file: File) -> FileState:
        """Record a file before it is read, and return its state.

        The first state counts, since a reader may not have seen a later one.
        """
        return self.file_states.setdefault(file, read_state(file))

    def read_text(self, file: File) -> str:
        """Return the text of a file. Raises OSError, UnicodeDecodeError."""
        if self._recorded is not None and str(file) in self._recorded.texts:
            return self._recorded.texts[str(file)]
        text = self._texts[str(file)] = file.read_text(encoding="utf-8")
        return text

    def dump(self) -> bytes:
        """Return all texts and pattern results, for a process that must read the same."""
        patterns = [
            (str(folder), pattern, [str(file) for file in files])
            for (folder, pattern), (_, files) in self._pattern_results.items()
        ]
        return jsonio.dumps(_SnapshotData(self._texts, patterns))

    def find_files(self, folder: File, pattern: str, finder: FileFinder) -> tuple[File, ...]:
        """Record a pattern and return the files that it finds, sorted."""
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
        """Return the state of all files and patterns now, for comparison with another moment."""
        return (
            *[read_state(file) for file in self.file_states],
            *[tuple(sorted(finder())) for finder, _ in self._pattern_results.values()],
        )

    def list_recorded_state(self) -> tuple[object, ...]:
        """Return the state of all files and patterns when they were read."""
        return (*self.file_states.values(), *[files for _, files in self._pattern_results.values()])

    def is_unchanged(self) -> bool:
        """Return True if no file and no pattern has changed since it was read."""
        return self.read_current_state() == self.list_recorded_state()


def is_rereadable(state: FileState) -> bool:
    """Return True if a file can be read again; a pipe gives its content only once."""
    return state is None or stat.S_ISREG(state[2]) or stat.S_ISDIR(state[2])


def get_size(state: FileState) -> int:
    """Return the size of a file in bytes; 0 if it does not exist."""
    return 0 if state is None else state[3]
