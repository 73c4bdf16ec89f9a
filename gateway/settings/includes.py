"""The files of a configuration: included and merged into one value, each part with its place."""

from collections.abc import Iterator, Sequence
from pathlib import Path as File

from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake, Path, written
from gateway.settings.file_snapshot import FileSnapshot, size

type Where = dict[Path, tuple[str, int | None]]
"""The file and line of each part; a variable of the environment has a name and no line."""

_ONCE = ("providers", "labs")
"""What may not be in two files: who wrote the second did not know of the first."""
_MOST = 16_000_000
"""Bytes of a file: what people write is a thousandth of that."""
_JOINED = ("guards", "choices", "exemplars", "limits", "budgets")


class IncludedFiles:
    """A file with those it includes: the included come first, so that it has the last word."""

    def __init__(self, file: File, reads: FileSnapshot | None = None) -> None:
        """`reads` is told of each that is read."""
        self._reads = reads or FileSnapshot()
        self.raw: dict[str, yaml.Value] = {}
        """Before anything of the environment is put in."""
        self.where: Where = {}
        self.mistakes: list[Mistake] = []
        self._seen: set[File] = set()
        self._add(file, root=True)

    def replace(self, text: str, name: str, parts: Sequence[str]) -> None:
        """Put what a text has of some parts in place of what files have of them.

        A part that the text leaves out stays as it is; it may have no other.
        """
        try:
            document = yaml.read(text, name)
        except ConfigError as error:
            self.mistakes += error.mistakes
            return
        value = document.value if isinstance(document.value, dict) else {}
        found = {part: value.get(part) or [] for part in parts if part in value}
        if not found or len(found) < len(value):
            other = next((part for part in value if part not in parts), None)
            line = 1 if other is None else document.lines[other,]
            message = f"only {' and '.join(parts)} stand here."
            self._wrong(name, line, message, () if other is None else (other,))
            return
        self.raw |= found
        self.where = {
            path: at for path, at in self.where.items() if not path or path[0] not in found
        }
        self.where |= {path: (name, line) for path, line in document.lines.items() if path}

    def _add(self, file: File, *, root: bool) -> None:
        if file.resolve() in self._seen:
            return
        self._seen.add(file.resolve())
        try:
            document = _read(file, self._reads)
        except ConfigError as error:
            self.mistakes += error.mistakes
            return
        value = document.value if isinstance(document.value, dict) else {}
        include = value.get("include")
        if root:
            for at, pattern in enumerate(include if isinstance(include, list) else ()):
                self._include(file, str(pattern), document.lines["include", at])
        elif include is not None:
            message = "only the first file may include others."
            self._wrong(document.file, document.lines["include",], message, ("include",))
        self._merge(value, document)

    def _include(self, file: File, pattern: str, line: int) -> None:
        found = list(self._reads.found(file.parent, pattern, lambda: _glob(file.parent, pattern)))
        if not found:
            self._wrong(shown(file), line, f"no file matches {pattern!r}.", ("include",))
        if found == [file]:
            self._wrong(shown(file), line, "a file cannot include itself.", ("include",))
        for item in found:
            self._add(item, root=False)

    def _merge(self, value: dict[str, yaml.Value], document: yaml.YamlDocument) -> None:
        moved: dict[str, int] = {}
        for name, part in value.items():
            held = self.raw.get(name)
            if part is None:
                continue  # a heading with nothing below it
            if isinstance(held, dict) and isinstance(part, dict):
                self._twice(name, held, part, document)
                self.raw[name] = _deep(held, part)
            elif name in _JOINED and isinstance(held, list) and isinstance(part, list):
                moved[name] = len(held)
                self.raw[name] = [*held, *part]
            else:
                self.raw[name] = part
        for path, line in document.lines.items():
            place = path
            if len(path) > 1 and path[0] in moved and isinstance(path[1], int):
                place = (path[0], path[1] + moved[str(path[0])], *path[2:])
            self.where[place] = (document.file, line)

    def _twice(
        self,
        name: str,
        held: dict[str, yaml.Value],
        part: dict[str, yaml.Value],
        document: yaml.YamlDocument,
    ) -> None:
        for key in part if name in _ONCE else ():
            if key in held:
                file, line = self.where[name, key]
                message = f"is also given at {file}:{line}."
                self._wrong(document.file, document.lines[name, key], message, (name, key))

    def _wrong(self, file: str, line: int, message: str, path: Path) -> None:
        self.mistakes.append(Mistake(file=file, line=line, path=written(path), message=message))


def shown(file: File) -> str:
    """A file as people call it: from where they are, when it lies below."""
    try:
        return str(file.resolve().relative_to(File.cwd()))
    except ValueError:
        return str(file)


def _read(file: File, reads: FileSnapshot) -> yaml.YamlDocument:
    name = shown(file)
    if size(reads.note(file)) > _MOST:
        message = f"is larger than {_MOST // 1_000_000} MB."
        raise ConfigError([Mistake(file=name, message=message)])
    try:
        text = reads.text(file)
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        raise ConfigError([Mistake(file=name, message=f"cannot be read: {reason}.")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Mistake(file=name, message="is not UTF-8.")]) from None
    document = yaml.read(text, name)
    if document.value is not None and not isinstance(document.value, dict):
        raise ConfigError([Mistake(file=name, line=1, message="must be a mapping.")])
    return document


def _glob(folder: File, pattern: str) -> Iterator[File]:
    """Files of a pattern that is relative to a folder, or whole."""
    base = File(pattern)
    if base.anchor:
        folder, base = File(base.anchor), base.relative_to(base.anchor)
    if base.parts and "\0" not in pattern:  # which no name of a file holds
        yield from folder.glob(str(base))


def _deep(held: dict[str, yaml.Value], part: dict[str, yaml.Value]) -> dict[str, yaml.Value]:
    out = dict(held)
    for name, value in part.items():
        old = out.get(name)
        out[name] = (
            _deep(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return out
