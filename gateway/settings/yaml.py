"""The one door to YAML 1.2: values with the line each stands on; a repeated key is an error.

The C parser composes nodes (2,000 lines in about 0.1 s; the round-trip loader takes eight times
that), and this module makes plain values of them: `no` and `2026-01-01` stay strings.
"""

from collections.abc import Callable, Mapping

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gateway.settings.mistake import ConfigError, Mistake, Path, written

type Value = dict[str, Value] | list[Value] | str | int | float | bool | None

_HINTS = {
    "unexpected ':'": "Put a text that holds a colon in quotes.",
    "cannot start any token": "Indent with spaces, not tabs; put a text that begins so in quotes.",
    "did not find expected key": "Does this line stand as far in as those it belongs to?",
}
"""What to do, by words of the parser."""
_DEPTH = 50
_MOST = 100_000
"""Values of a document, each use of an anchor counted: a few lines can ask for a billion."""


class Document(msgspec.Struct):
    """A file's value and where its parts stand."""

    file: str
    value: Value
    lines: dict[Path, int]
    """Line, from 1, of each key or item."""


def read(text: str, file: str) -> Document:
    """Read one document. Raises ConfigError for broken YAML and repeated keys."""
    try:
        root = YAML(typ="safe").compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark is not None else None
        message = f"not valid YAML: {error.problem}"
        hint = next((hint for words, hint in _HINTS.items() if words in message), "")
        message += "." if hint else ""
        raise ConfigError([Mistake(file=file, line=line, message=message, hint=hint)]) from None
    except YAMLError:
        message = "not valid YAML: a character that YAML does not allow"
        raise ConfigError([Mistake(file=file, message=message)]) from None
    document = Document(file, None, {(): 1})
    if root is not None:
        document.value = _Reader(document).value(root, ())
    return document


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.count = 0

    def value(self, node: Node, path: Path) -> Value:
        self.count += 1
        if len(path) > _DEPTH:
            raise self.wrong(node, path[:3], "nested too deeply")
        if self.count > _MOST:
            raise self.wrong(node, path[:3], f"more than {_MOST:,} values")
        if str(node.tag).partition("tag:yaml.org,2002:")[2] not in _KINDS:
            raise self.wrong(node, path, f"the tag {node.tag} means nothing here")
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        if isinstance(node, SequenceNode):
            items = []
            for at, item in enumerate(node.value):
                self.document.lines[*path, at] = item.start_mark.line + 1
                items.append(self.value(item, (*path, at)))
            return items
        return self.scalar(node, path)

    def mapping(self, node: MappingNode, path: Path) -> Value:
        found: dict[str, Value] = {}
        for key, item in node.value:
            if not isinstance(key, ScalarNode):
                raise self.wrong(key, path, "a key must be a plain word")
            name = str(key.value)
            if str(key.tag).endswith(":merge"):
                raise self.wrong(key, path, "YAML 1.2 has no merge key <<: write the keys out")
            if name in found:
                raise self.wrong(key, (*path, name), "this key is given twice")
            self.document.lines[*path, name] = key.start_mark.line + 1
            found[name] = self.value(item, (*path, name))
        return found

    def scalar(self, node: Node, path: Path) -> Value:
        kind = str(node.tag).rpartition(":")[2]
        text = str(node.value)
        try:
            return _SCALARS.get(kind, str)(text)
        except ValueError:
            raise self.wrong(node, path, f"{text!r} cannot be read as {kind}") from None

    def wrong(self, node: Node, path: Path, message: str) -> ConfigError:
        line = node.start_mark.line + 1
        at = written(path)
        return ConfigError([Mistake(file=self.document.file, line=line, path=at, message=message)])


def _whole(text: str) -> int:
    digits = text.replace("_", "").lower()
    base = 0 if digits.lstrip("+-").startswith(("0x", "0o", "0b")) else 10
    return int(digits, base)


_KINDS = frozenset(
    {"map", "seq", "str", "null", "bool", "int", "float", "timestamp", "value", "merge"}
)
"""Tags that plain YAML has. A date is a text, and so are `=` and `<<` where they are values."""

_SCALARS: Mapping[str, Callable[[str], Value]] = {
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": _whole,
    "float": lambda text: float(text.replace("_", "").lower().replace(".inf", "inf")),
}
