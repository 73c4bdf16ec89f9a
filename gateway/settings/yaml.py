"""Read and write YAML 1.2: values with the line of each part. A repeated key is an error.

This is the only module that parses YAML. ruamel.yaml's parser composes nodes at 12,000 lines a
second, and this module makes plain values of them: `no` and `2026-01-01` stay strings. The parser
in C is a library of 2.7 MB and would make a start 0.1 s faster. The gateway does not use it even if
it is installed, so that mistakes read alike everywhere.

`dump_flow` writes a value on one line, for files that this program writes for people.
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
"""Plain words that some YAML reader takes for something other than text."""


def dump_flow(value: object) -> str:
    """Return a value as flow YAML 1.2: mappings, lists, texts, numbers, true, false and null."""
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

_MISPLACED = "this line belongs to no key above it"
_PARSER_MESSAGES = {
    "expected <block end>": _MISPLACED,
    "expected '<document start>'": _MISPLACED,
    "expected the node content": "a value is missing here",
}
"""Messages that replace the parser's own."""
_HINTS = {
    "values are not allowed": "Check its indentation. Put a text that has a colon in quotes.",
    "cannot start any token": "Indent with spaces, not tabs; put a text that begins so in quotes.",
    _MISPLACED: "Check the indentation of this line, and whether quotes end too early.",
}
"""Hints, by words of the message."""
_MAX_DEPTH = 50
_NESTING_MARKS = ("[", "{", "- ", "? ")
"""Marks that can nest values deeper without more indentation."""
_MAX_PARSER_DEPTH = 1_000
_MAX_VALUES = 100_000
"""The most values of a document. Each use of an anchor counts: a few lines can ask for a
billion."""


class YamlDocument(msgspec.Struct):
    """The value of a file, and the lines of its parts."""

    file: str
    value: Value
    lines: dict[Path, int]
    """The line, from 1, of each key or item."""


def read(text: str, file: str) -> YamlDocument:
    """Read one document. Raises ConfigError for broken YAML and repeated keys."""
    try:
        _refuse_deep_nesting(text, file)
        root = _make_parser().compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark is not None else None
        problem = str(error.problem).partition(", but ")[0]  # the file shows what it found instead
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
"""Matches an empty or commented rest of a line; the parser ends its text with a NUL."""


class _Resolver(VersionedResolver):
    """Resolves plain words as YAML 1.2 does, whatever version a document states."""

    processing_version = property(lambda _: (1, 2))


class _Scanner(Scanner):
    """Accepts tabs where YAML does: within a line or on an empty one, but not as indentation.

    The parser asks four times for the kind of each token. This class looks ahead at the first
    question alone, which saves a seventh of the time to read a document.
    """

    _looked_ahead_at = -1
    """The number of tokens that were taken when the scanner last looked ahead."""

    def check_token(self, *choices: Any) -> bool:
        if self._looked_ahead_at != self.tokens_taken or not self.tokens:
            while self.need_more_tokens():
                self.fetch_more_tokens()
            self._looked_ahead_at = self.tokens_taken
        return bool(self.tokens) and (not choices or isinstance(self.tokens[0], choices))

    def scan_to_next_token(self) -> None:
        super().scan_to_next_token()
        reader = self.reader
        while reader.peek() == "\t" and self._is_separation():
            reader.forward()
            super().scan_to_next_token()

    def _is_separation(self) -> bool:
        """Return True if text stands earlier on this line, or nothing follows on it."""
        text, position = self.reader.buffer, self.reader.pointer
        preceding = text[position - self.reader.column : position].strip()
        return bool(preceding or _BLANK_REST.match(text, position))


def _make_parser() -> YAML:
    parser = YAML(typ="safe", pure=True)
    parser.Resolver, parser.Scanner = _Resolver, _Scanner
    parser.composer.warn_double_anchors = False  # from there on the later anchor counts
    return parser


def _refuse_deep_nesting(text: str, file: str) -> None:
    """Refuse a document whose nesting would overflow the parser's stack. Raises ConfigError."""
    if sum(map(text.count, _NESTING_MARKS)) < _MAX_PARSER_DEPTH:
        return
    depth = 0
    for event in _make_parser().parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > _MAX_PARSER_DEPTH:
            line = event.start_mark.line + 1
            raise ConfigError([Mistake(file=file, line=line, message="nested too deeply")])


def amend(text: str, file: str, change: Callable[[dict[str, Any]], None]) -> str:
    """Return a document with a change made to it; the document must be a mapping or empty.

    Comments, order and the style of values stay. Lists that the change adds stand on one line.
    Raises ConfigError for what `read` does not accept.
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
    # The parser keeps nothing of a document without a value, not even comments.
    header = "" if value is not None or not text else text.rstrip("\n") + "\n"
    return header + output.getvalue()


def dump(value: dict[str, Value]) -> str:
    """Return a value as a YAML document, one part below the other, in the order of the value."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 1_000_000
    yaml.sort_base_mapping_type_on_output = False
    output = StringIO()
    yaml.dump(value, output)
    return output.getvalue()


def _measure_indents(text: str) -> tuple[int, int]:
    """Return the spaces by which a document indents its mappings, and the dashes of its lists."""
    mapping_match = re.search(r"^[^\s#-][^\n]*:[^\n]*\n( +)[^\s#-]", text, re.MULTILINE)
    sequence_match = re.search(r"^( *)[^\s#-][^\n]*:[^\S\n]*\n( *)- ", text, re.MULTILINE)
    return len(mapping_match[1]) if mapping_match else 2, max(
        len(sequence_match[2]) - len(sequence_match[1]), 0
    ) if sequence_match else 2


def _set_flow_style(value: Any) -> None:
    """Set new lists to be written on one line."""
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
            raise self.make_error(node, path, f"the gateway does not support the tag {node.tag}")
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
"""Tags that plain YAML has. A date is a text, and so are the values `=` and `<<`."""

_SCALAR_PARSERS: Mapping[str, Callable[[str], Value]] = {
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": _parse_int,
    "float": lambda text: float(text.replace("_", "").lower().replace(".inf", "inf")),
}
