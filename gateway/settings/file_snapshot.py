"""What a configuration was read from, and whether that has changed since."""

import stat
from collections.abc import Callable, Iterable
from pathlib import Path as File

import msgspec

from gateway.core import jsonio

type Mark = tuple[int, ...] | None
"""What tells one state of a file from another; None where it is not there."""
type Find = Callable[[], Iterable[File]]


class _Kept(msgspec.Struct):
    """What was read, to be read again elsewhere."""

    texts: dict[str, str]
    found: list[tuple[str, str, list[str]]]


def mark(file: File) -> Mark:
    """The state of a file, of what a link leads to: also of one in a folder that was swapped."""
    try:
        found = file.stat()
    except (OSError, ValueError):
        return None
    return (
        found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns,
        found.st_ctime_ns,
    )  # fmt: skip


class FileSnapshot:
    """Told of each file before it is read, and of each pattern with what it has found."""

    def __init__(self, kept: bytes | None = None) -> None:
        """`kept` is what another gave: its texts and findings are those that are read.

        Raises JsonError, msgspec.ValidationError.
        """
        self.files: dict[File, Mark] = {}
        """With the state in which it was read."""
        self._texts: dict[str, str] = {}
        self._given = None if kept is None else msgspec.convert(jsonio.loads(kept), _Kept)
        self._found: dict[tuple[File, str], tuple[Find, tuple[File, ...]]] = {}

    def note(self, file: File) -> Mark:
        """A file is to be read. The first state counts: what came after it may not be read."""
        return self.files.setdefault(file, mark(file))

    def text(self, file: File) -> str:
        """What a file has. Raises OSError, UnicodeDecodeError."""
        if self._given is not None and str(file) in self._given.texts:
            return self._given.texts[str(file)]
        text = self._texts[str(file)] = file.read_text(encoding="utf-8")
        return text

    def kept(self) -> bytes:
        """All texts, and what patterns have found: for whoever is to read the same."""
        found = [
            (str(folder), pattern, [str(file) for file in files])
            for (folder, pattern), (_, files) in self._found.items()
        ]
        return jsonio.dumps(_Kept(self._texts, found))

    def found(self, folder: File, pattern: str, find: Find) -> tuple[File, ...]:
        """A pattern, in order of what it finds."""
        if self._given is not None:
            told = {(one, other): files for one, other, files in self._given.found}
            return tuple(File(file) for file in told.get((str(folder), pattern), ()))
        files = tuple(sorted(find()))
        self._found.setdefault((folder, pattern), (find, files))
        return files

    def now(self) -> tuple[object, ...]:
        """How all of it is now, to be compared with how it was or will be."""
        return (
            *[mark(file) for file in self.files],
            *[tuple(sorted(find())) for find, _ in self._found.values()],
        )

    def then(self) -> tuple[object, ...]:
        """How all of it was when it was read."""
        return (*self.files.values(), *[files for _, files in self._found.values()])

    def same(self) -> bool:
        """Whether nothing has changed since."""
        return self.now() == self.then()


def whole(state: Mark) -> bool:
    """Whether a file can be read again: a pipe gives what it has once."""
    return state is None or stat.S_ISREG(state[2]) or stat.S_ISDIR(state[2])


def size(state: Mark) -> int:
    """Bytes of a file."""
    return 0 if state is None else state[3]
