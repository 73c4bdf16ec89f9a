"""The one door to YAML 1.2: values with the line each stands on; a repeated key is an error.

ruamel.yaml's parser composes nodes, 12,000 lines a second, and this module makes plain values of
them: `no` and `2026-01-01` stay strings. Its parser in C is a library of 2.7 MB that would save a
start 0.1 s; it is not used where it is installed either, so that mistakes read alike everywhere.

Values as YAML on one line, for files that this program writes for people.
"""

import re
from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scanner import Scanner

from gateway.core import jsonio
from gateway.settings.errors import ConfigError, Mistake, Path, format_path

_PLAIN_SCALAR = re.compile(r"[A-Za-z_][\w./@+-]*( [\w./@+-]+)*", re.ASCII)
_RESERVED_WORDS = frozenset(
    {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan"}
)
"""Plain words that some reader takes for something else than a text."""


def dump_flow(value: object) -> str:
    """A value as flow YAML 1.2: mappings, lists, texts, numbers, true, false and null."""
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{dump_flow(str(key))}: {dump_flow(item)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(dump_flow, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return str(value)
    return _quote_text(str(value))


def _quote_text(text: str) -> str:
    if _PLAIN_SCALAR.fullmatch(text) and text.lower() not in _RESERVED_WORDS:
        return text
    return jsonio.dumps_printable(text.encode("utf-8", "replace").decode())


type Value = dict[str, Value] | list[Value] | str | int | float | bool | None

_MISPLACED = "what stands here belongs to nothing above it"
_PARSER_MESSAGES = {
    "expected <block end>": _MISPLACED,
    "expected '<document start>'": _MISPLACED,
    "expected the node content": "a value is missing here",
}
"""What the parser says in words of its own, and what we say."""
_HINTS = {
    "values are not allowed": "Does it stand too far in? Put a text that holds a colon in quotes.",
    "cannot start any token": "Indent with spaces, not tabs; put a text that begins so in quotes.",
    _MISPLACED: "Does this line stand as far in as those it belongs to? Do quotes end too early?",
}
"""What to do, by words of the message."""
_MAX_DEPTH = 50
_NESTING_MARKS = ("[", "{", "- ", "? ")
"""What nests further without a line that stands further in."""
_MAX_PARSER_DEPTH = 1_000
_MAX_VALUES = 100_000
"""Values of a document, each use of an anchor counted: a few lines can ask for a billion."""


class YamlDocument(msgspec.Struct):
    """A file's value and where its parts stand."""

    file: str
    value: Value
    lines: dict[Path, int]
    """Line, from 1, of each key or item."""


def read(text: str, file: str) -> YamlDocument:
    """Read one document. Raises ConfigError for broken YAML and repeated keys."""
    try:
        _refuse_deep_nesting(text, file)
        root = _make_parser().compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark is not None else None
        problem = str(error.problem).partition(", but ")[0]  # what it found instead is in the file
        message = f"not valid YAML: {_PARSER_MESSAGES.get(problem, problem)}"
        hint = next((hint for phrase, hint in _HINTS.items() if phrase in message), "")
        message += "." if hint else ""
        raise ConfigError([Mistake(file=file, line=line, message=message, hint=hint)]) from None
    except YAMLError:
        message = "not valid YAML: a character that YAML does not allow"
        raise ConfigError([Mistake(file=file, message=message)]) from None
    document = YamlDocument(file, None, {(): 1})
    if root is not None:
        document.value = _Reader(document).read_value(root, ())
    return document


_BLANK_REST = re.compile(r"[ \t]*[#\r\n\0]")
"""The rest of a line that has nothing on it; the parser ends its text with a zero."""


class _Resolver(VersionedResolver):
    """Knows plain words as YAML 1.2 does, whatever version a document says it has."""

    processing_version = property(lambda _: (1, 2))


class _Scanner(Scanner):
    """Takes tabs where YAML has them: within a line or on an empty one, not to indent."""

    def scan_to_next_token(self) -> None:
        super().scan_to_next_token()
        reader = self.reader
        while reader.peek() == "\t" and self._is_separation():
            reader.forward()
            super().scan_to_next_token()

    def _is_separation(self) -> bool:
        """Whether anything stands on this line before, or nothing after."""
        text, position = self.reader.buffer, self.reader.pointer
        preceding = text[position - self.reader.column : position].strip()
        return bool(preceding or _BLANK_REST.match(text, position))


def _make_parser() -> YAML:
    parser = YAML(typ="safe", pure=True)
    parser.Resolver, parser.Scanner = _Resolver, _Scanner
    parser.composer.warn_double_anchors = False  # the later one counts from there on
    return parser


def _refuse_deep_nesting(text: str, file: str) -> None:
    """Refuse what is nested so deeply that the parser's own stack would not hold it."""
    if sum(map(text.count, _NESTING_MARKS)) < _MAX_PARSER_DEPTH:
        return
    depth = 0
    for event in _make_parser().parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > _MAX_PARSER_DEPTH:
            line = event.start_mark.line + 1
            raise ConfigError([Mistake(file=file, line=line, message="nested too deeply")])


def amend(text: str, file: str, change: Callable[[dict[str, Any]], None]) -> str:
    """A document, a mapping or nothing, with something changed in it.

    Comments, order and the way values are written stay. Lists that are added stand on one line.
    Raises ConfigError for what read() does not take.
    """
    value = read(text, file).value
    if value is not None and not isinstance(value, dict):
        raise ConfigError([Mistake(file=file, line=1, message="must map names to values")])
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 1_000_000
    indent, dash_offset = _measure_indents(text)
    yaml.indent(mapping=indent, sequence=dash_offset + 2, offset=dash_offset)
    document: dict[str, Any] = yaml.load(text) if value is not None else CommentedMap()
    change(document)
    _set_flow_style(document)
    output = StringIO()
    yaml.dump(document, output)
    # Of a document without a value the parser keeps nothing, not even its comments.
    header = "" if value is not None or not text else text.rstrip("\n") + "\n"
    return header + output.getvalue()


def dump(value: dict[str, Value]) -> str:
    """A document of a value: its parts below each other, in the order that they have."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 1_000_000
    yaml.sort_base_mapping_type_on_output = False
    output = StringIO()
    yaml.dump(value, output)
    return output.getvalue()


def _measure_indents(text: str) -> tuple[int, int]:
    """How far in a document writes its mappings, and the dashes of its lists."""
    mapping_match = re.search(r"^[^\s#-][^\n]*:[^\n]*\n( +)[^\s#-]", text, re.MULTILINE)
    sequence_match = re.search(r"^( *)[^\s#-][^\n]*:[^\S\n]*\n( *)- ", text, re.MULTILINE)
    return len(mapping_match[1]) if mapping_match else 2, max(
        len(sequence_match[2]) - len(sequence_match[1]), 0
    ) if sequence_match else 2


def _set_flow_style(value: Any) -> None:
    """Write lists that are new on one line."""
    for key, item in list(value.items()) if isinstance(value, dict) else ():
        if type(item) is list and not any(isinstance(entry, dict) for entry in item):
            value[key] = CommentedSeq(item)
            value[key].fa.set_flow_style()
        else:
            _set_flow_style(item)


class _Reader:
    def __init__(self, document: YamlDocument) -> None:
        self.document = document
        self.count = 0

    def read_value(self, node: Node, path: Path) -> Value:
        self.count += 1
        if len(path) > _MAX_DEPTH:
            raise self.make_error(node, path[:3], "nested too deeply")
        if self.count > _MAX_VALUES:
            raise self.make_error(node, path[:3], f"more than {_MAX_VALUES:,} values")
        if str(node.tag).partition("tag:yaml.org,2002:")[2] not in _KNOWN_TAGS:
            raise self.make_error(node, path, f"the tag {node.tag} means nothing here")
        if isinstance(node, MappingNode):
            return self.read_mapping(node, path)
        if isinstance(node, SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self.document.lines[*path, index] = item.start_mark.line + 1
                items.append(self.read_value(item, (*path, index)))
            return items
        return self.read_scalar(node, path)

    def read_mapping(self, node: MappingNode, path: Path) -> Value:
        result: dict[str, Value] = {}
        for key, item in node.value:
            if not isinstance(key, ScalarNode):
                raise self.make_error(key, path, "a key must be a plain word")
            name = str(key.value)
            if str(key.tag).endswith(":merge"):
                raise self.make_error(key, path, "YAML 1.2 has no merge key <<: write the keys out")
            if name in result:
                message = (
                    f"this key is given twice, first in line {self.document.lines[*path, name]}"
                )
                raise self.make_error(key, (*path, name), message)
            self.document.lines[*path, name] = key.start_mark.line + 1
            result[name] = self.read_value(item, (*path, name))
        return result

    def read_scalar(self, node: Node, path: Path) -> Value:
        kind = str(node.tag).rpartition(":")[2]
        text = str(node.value)
        try:
            return _SCALAR_PARSERS.get(kind, str)(text)
        except ValueError:
            raise self.make_error(node, path, f"{text!r} cannot be read as {kind}") from None

    def make_error(self, node: Node, path: Path, message: str) -> ConfigError:
        line = node.start_mark.line + 1
        shown_path = format_path(path)
        return ConfigError(
            [Mistake(file=self.document.file, line=line, path=shown_path, message=message)]
        )


def _parse_int(text: str) -> int:
    digits = text.replace("_", "").lower()
    base = 0 if digits.lstrip("+-").startswith(("0x", "0o", "0b")) else 10
    return int(digits, base)


_KNOWN_TAGS = frozenset(
    {"map", "seq", "str", "null", "bool", "int", "float", "timestamp", "value", "merge"}
)
"""Tags that plain YAML has. A date is a text, and so are `=` and `<<` where they are values."""

_SCALAR_PARSERS: Mapping[str, Callable[[str], Value]] = {
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": _parse_int,
    "float": lambda text: float(text.replace("_", "").lower().replace(".inf", "inf")),
}
