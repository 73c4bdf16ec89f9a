"""Read the files of a configuration and merge them into one value, with the place of each part."""

from collections.abc import Iterator, Sequence
from pathlib import Path as File

from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake, Path, format_path
from gateway.settings.file_snapshot import FileSnapshot, get_size

type Locations = dict[Path, tuple[str, int | None]]
"""The file and line of each part. A part from the environment has the variable's name and no
line."""

_UNIQUE_SECTIONS = ("providers", "labs")
"""Sections in which two files must not have the same key. The author of the second file may not
know of the first."""
_MAX_FILE_BYTES = 16_000_000
"""The most bytes of a file; what people write is a thousandth of that."""
_JOINED_SECTIONS = ("guards", "choices", "exemplars", "routes", "limits", "budgets")


class IncludedFiles:
    """A file with the files it includes. Included files come first, so the file itself wins."""

    def __init__(self, file: File, snapshot: FileSnapshot | None = None) -> None:
        """`snapshot` records each file before it is read."""
        self._snapshot = snapshot or FileSnapshot()
        self.raw: dict[str, yaml.Value] = {}
        """The merged value, before `${...}` placeholders are replaced."""
        self.locations: Locations = {}
        self.mistakes: list[Mistake] = []
        self._visited: set[File] = set()
        self._add_file(file, root=True)

    def replace_sections(self, text: str, name: str, section_names: Sequence[str]) -> None:
        """Replace sections of the configuration with those of a text.

        A section that the text leaves out stays as it is. Any other section in the text is a
        mistake.
        """
        try:
            document = yaml.read(text, name)
        except ConfigError as error:
            self.mistakes += error.mistakes
            return
        value = document.value if isinstance(document.value, dict) else {}
        sections = {
            section: value.get(section) or [] for section in section_names if section in value
        }
        if not sections or len(sections) < len(value):
            extra_section = next(
                (section for section in value if section not in section_names), None
            )
            line = 1 if extra_section is None else document.lines[extra_section,]
            message = f"only {' and '.join(section_names)} stand here."
            self._add_mistake(
                name, line, message, () if extra_section is None else (extra_section,)
            )
            return
        self.raw |= sections
        self.locations = {
            path: location
            for path, location in self.locations.items()
            if not path or path[0] not in sections
        }
        self.locations |= {path: (name, line) for path, line in document.lines.items() if path}

    def _add_file(self, file: File, *, root: bool) -> None:
        if file.resolve() in self._visited:
            return
        self._visited.add(file.resolve())
        try:
            document = _read_document(file, self._snapshot)
        except ConfigError as error:
            self.mistakes += error.mistakes
            return
        value = document.value if isinstance(document.value, dict) else {}
        include = value.get("include")
        if root:
            for index, pattern in enumerate(include if isinstance(include, list) else ()):
                self._include_pattern(file, str(pattern), document.lines["include", index])
        elif include is not None:
            message = "only the first file may include others."
            self._add_mistake(document.file, document.lines["include",], message, ("include",))
        self._merge(value, document)

    def _include_pattern(self, file: File, pattern: str, line: int) -> None:
        files = list(
            self._snapshot.find_files(
                file.parent, pattern, lambda: _expand_glob(file.parent, pattern)
            )
        )
        if not files:
            self._add_mistake(
                display_path(file), line, f"no file matches {pattern!r}.", ("include",)
            )
        if files == [file]:
            self._add_mistake(
                display_path(file), line, "a file cannot include itself.", ("include",)
            )
        for item in files:
            self._add_file(item, root=False)

    def _merge(self, value: dict[str, yaml.Value], document: yaml.YamlDocument) -> None:
        offsets: dict[str, int] = {}
        for name, section in value.items():
            existing = self.raw.get(name)
            if section is None:
                continue  # a heading with nothing below it
            if isinstance(existing, dict) and isinstance(section, dict):
                self._refuse_duplicates(name, existing, section, document)
                self.raw[name] = _merge_deep(existing, section)
            elif (
                name in _JOINED_SECTIONS
                and isinstance(existing, list)
                and isinstance(section, list)
            ):
                offsets[name] = len(existing)
                self.raw[name] = [*existing, *section]
            else:
                self.raw[name] = section
        for path, line in document.lines.items():
            new_path = path
            if len(path) > 1 and path[0] in offsets and isinstance(path[1], int):
                new_path = (path[0], path[1] + offsets[str(path[0])], *path[2:])
            self.locations[new_path] = (document.file, line)

    def _refuse_duplicates(
        self,
        name: str,
        existing: dict[str, yaml.Value],
        section: dict[str, yaml.Value],
        document: yaml.YamlDocument,
    ) -> None:
        for key in section if name in _UNIQUE_SECTIONS else ():
            if key in existing:
                file, line = self.locations[name, key]
                message = f"is also given at {file}:{line}."
                self._add_mistake(document.file, document.lines[name, key], message, (name, key))

    def _add_mistake(self, file: str, line: int, message: str, path: Path) -> None:
        self.mistakes.append(Mistake(file=file, line=line, path=format_path(path), message=message))


def display_path(file: File) -> str:
    """Return a file's path, relative to the working directory if it lies below it."""
    try:
        return str(file.resolve().relative_to(File.cwd()))
    except ValueError:
        return str(file)


def _read_document(file: File, snapshot: FileSnapshot) -> yaml.YamlDocument:
    name = display_path(file)
    if get_size(snapshot.record_file(file)) > _MAX_FILE_BYTES:
        message = f"is larger than {_MAX_FILE_BYTES // 1_000_000} MB."
        raise ConfigError([Mistake(file=name, message=message)])
    try:
        text = snapshot.read_text(file)
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        raise ConfigError([Mistake(file=name, message=f"cannot be read: {reason}.")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Mistake(file=name, message="is not UTF-8.")]) from None
    document = yaml.read(text, name)
    if document.value is not None and not isinstance(document.value, dict):
        raise ConfigError([Mistake(file=name, line=1, message="must be a mapping.")])
    return document


def _expand_glob(folder: File, pattern: str) -> Iterator[File]:
    """Yield the files that match a pattern, which is relative to a folder or absolute."""
    relative = File(pattern)
    if relative.anchor:
        folder, relative = File(relative.anchor), relative.relative_to(relative.anchor)
    if relative.parts and "\0" not in pattern:  # no file name has a NUL
        yield from folder.glob(str(relative))


def _merge_deep(
    existing: dict[str, yaml.Value], addition: dict[str, yaml.Value]
) -> dict[str, yaml.Value]:
    result = dict(existing)
    for name, value in addition.items():
        previous = result.get(name)
        result[name] = (
            _merge_deep(previous, value)
            if isinstance(previous, dict) and isinstance(value, dict)
            else value
        )
    return result
