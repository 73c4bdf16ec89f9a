"""Read and write YAML 1.2: values with the line of each part. A repeated key is an error.

This is the only module that parses YAML. ruamel.yaml's parser gives events, and this module makes
plain values of them: `no` and `2026-01-01` stay strings. The parser
in C is a library of 2.7 MB and would make a start 0.1 s faster. The gateway does not use it even if
it is installed, so that mistakes read alike everywhere.

`dump_flow` writes a value on one line, for files that this program writes for people.
"""

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from itertools import takewhile
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.parser import Parser
from ruamel.yaml.reader import Reader
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scanner import Scanner
from ruamel.yaml.tokens import ScalarToken

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
_MAX_PARSER_DEPTH = 200
"""The depth at which parsing ends: the parser takes longer for each value that lies deeper."""
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
    document = YamlDocument(file, None, {(): 1})
    reader = _Reader(document)
    try:
        reader.parse(text)
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
    except AssertionError:  # the library asserts it
        message = "not valid YAML: a %YAML line names version 1.1 or 1.2"
        raise ConfigError([Mistake(file=file, message=message)]) from None
    if reader.events:
        document.value = reader.read_value(())
    return document


type Span = tuple[int, int]
"""The positions in a text where a part begins and ends."""


def locate_scalars(text: str) -> dict[Path, Span]:
    """Return where each value that is no collection stands in a text that `read` has accepted.

    Parts that an alias repeats are left out: who changes one of them changes several.
    """
    root = YAML(pure=True).compose(text)
    counts: Counter[int] = Counter()
    _count_nodes(root, counts)
    return dict(_iter_scalars(root, (), counts))


def _count_nodes(node: Node | None, counts: Counter[int]) -> None:
    if node is None:
        return
    counts[id(node)] += 1
    if counts[id(node)] == 1:
        for _, child in _list_children(node):
            _count_nodes(child, counts)


def _iter_scalars(
    node: Node | None, path: Path, counts: Counter[int]
) -> Iterator[tuple[Path, Span]]:
    if node is None or counts[id(node)] > 1:
        return
    if isinstance(node, ScalarNode):
        yield path, (node.start_mark.index, node.end_mark.index)
    for step, child in _list_children(node):
        yield from _iter_scalars(child, (*path, step), counts)


def _list_children(node: Node) -> list[tuple[str | int, Node]]:
    """Return the key or index of each child of a mapping or a list."""
    if isinstance(node, MappingNode):
        return [(key.value, child) for key, child in node.value if isinstance(key, ScalarNode)]
    return list(enumerate(node.value)) if isinstance(node, SequenceNode) else []


_BLANK_REST = re.compile(r"[ \t]*[#\r\n\0]")
"""Matches an empty or commented rest of a line; the parser ends its text with a NUL."""


_SIMPLE_WORD = re.compile(r"([A-Za-z0-9_./-]+)(?:(:)[ \n]|[,\]}])")
"""Matches a plain word, and the mark that ends it: a key's colon, or one of a flow collection."""


class _Resolver(VersionedResolver):
    """Resolves plain words as YAML 1.2 does, whatever version a document states."""

    processing_version = property(lambda _: (1, 2))


class _TextReader(Reader):
    """Steps over a word at once; the library's own reader steps over each character."""

    def forward(self, length: int = 1) -> None:
        # A line break, a byte order mark and the NUL at the end are not printable.
        if self.buffer[self.pointer : self.pointer + length].isprintable():
            self.pointer += length
            self.index += length
            self.column += length
        else:
            super().forward(length)


class _Scanner(Scanner):
    """Accepts tabs where YAML does: within a line or on an empty one, but not as indentation.

    The parser asks six times for each token. This class looks ahead at the first question alone.
    """

    _looked_ahead_at = -1
    """The number of tokens that were taken when the scanner last looked ahead."""

    def _look_ahead(self) -> list[Any]:
        """Return the tokens that are known, the next one first; empty at the end."""
        if self._looked_ahead_at != self.tokens_taken or not self.tokens:
            while self.need_more_tokens():
                self.fetch_more_tokens()
            self._looked_ahead_at = self.tokens_taken
        return self.tokens

    def check_token(self, *choices: Any) -> bool:
        tokens = self._look_ahead()
        return bool(tokens) and (not choices or isinstance(tokens[0], choices))

    def peek_token(self) -> Any:
        tokens = self._look_ahead()
        return tokens[0] if tokens else None

    def get_token(self) -> Any:
        tokens = self._look_ahead()
        if not tokens:
            return None
        self.tokens_taken += 1
        return tokens.pop(0)

    def scan_plain(self) -> Any:
        # The library looks four times at each character of a word. Most words of a configuration
        # are simple, and here one search finds their end: a document is read in 0.9 of the time.
        reader = self.reader
        match = _SIMPLE_WORD.match(reader.buffer, reader.pointer)
        if match is None or (match[2] != ":" and not self.flow_level):
            return super().scan_plain()
        start_mark = reader.get_mark()
        reader.forward(len(match[1]))
        self.allow_simple_key = False
        return ScalarToken(match[1], True, start_mark, reader.get_mark())  # noqa: FBT003 - library's

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


class _Parser(Parser):
    """Looks its scanner up once; the library's own parser does so for each token."""

    @functools.cached_property
    def scanner(self) -> Any:
        return super().scanner


def make_parser() -> YAML:
    """Return a parser of YAML 1.2 that accepts tabs where YAML does."""
    parser = YAML(typ="safe", pure=True)
    parser.Reader, parser.Scanner = _TextReader, _Scanner
    parser.Parser, parser.Resolver = _Parser, _Resolver
    return parser


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
    try:
        document: dict[str, Any] = yaml.load(text) if value is not None else CommentedMap()
    except (YAMLError, ValueError, AssertionError) as error:
        # Its parser takes no tab between a name and its value, and it makes values of names.
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        line = mark.line + 1 if mark is not None else None
        message = "cannot be changed without changing more."
        hint = "Replace tabs with spaces, or make the change by hand."
        raise ConfigError([Mistake(file=file, line=line, message=message, hint=hint)]) from None
    change(document)
    _set_flow_style(document)
    output = StringIO()
    yaml.dump(document, output)
    # The parser keeps nothing of a document without a value, not even comments.
    lines = takewhile(lambda line: not line.startswith("..."), text.splitlines())
    kept_lines = [
        line for line in lines if line.rstrip() == "---" or line.lstrip()[:1] in ("", "#")
    ]
    header = "" if value is not None or not text else "\n".join(kept_lines).rstrip("\n") + "\n"
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
    """Makes plain values of the parser's events.

    ruamel.yaml could compose nodes of the events first, which takes a fifth of the time again.
    """

    def __init__(self, document: YamlDocument) -> None:
        self.document = document
        self.parser = make_parser()
        self.events: list[Any] = []
        """The start of each value, and the end of each list and mapping, in their order."""
        self.alias_targets: dict[int, int] = {}
        """The position in `events` of each alias, and of the value that it stands for."""
        self.position = 0
        """The position of the next event to read."""
        self.count = 0
        """The number of values that were read."""

    def parse(self, text: str) -> None:
        """Parse a text. Raises YAMLError for broken YAML, ConfigError for what is not accepted."""
        anchors: dict[str, int] = {}
        depth = documents = 0
        for event in self.parser.parse(text):
            if isinstance(event, NodeEvent):
                depth += isinstance(event, CollectionStartEvent)
                if depth > _MAX_PARSER_DEPTH:
                    raise self.make_error(event, (), "nested too deeply")
                if isinstance(event, AliasEvent):
                    if event.anchor not in anchors:
                        message = f"not valid YAML: found undefined alias {event.anchor!r}"
                        raise self.make_error(event, (), message)
                    self.alias_targets[len(self.events)] = anchors[event.anchor]
                elif event.anchor is not None:
                    anchors[event.anchor] = len(self.events)  # from here on the later anchor counts
            elif isinstance(event, CollectionEndEvent):
                depth -= 1
            else:
                documents += isinstance(event, DocumentStartEvent)
                if documents > 1:
                    message = "not valid YAML: a second document begins here"
                    raise self.make_error(event, (), message)
                continue
            self.events.append(event)

    def peek(self) -> Any:
        """Return the event that begins the next value. An alias begins as the value it stands for.

        Return the end of the list or mapping if there is no other value in it.
        """
        return self.events[self.alias_targets.get(self.position, self.position)]

    def read_value(self, path: Path) -> Value:
        target = self.alias_targets.get(self.position)
        if target is None:
            return self.read_node(path)
        position, self.position = self.position, target
        value = self.read_node(path)
        self.position = position + 1
        return value

    def read_node(self, path: Path) -> Value:
        event = self.events[self.position]
        self.position += 1
        self.count += 1
        if len(path) > _MAX_DEPTH:
            raise self.make_error(event, path[:3], "nested too deeply")
        if self.count > _MAX_VALUES:
            raise self.make_error(event, path[:3], f"more than {_MAX_VALUES:,} values")
        if isinstance(event, ScalarEvent):
            return self.read_scalar(event, path)
        self.check_tag(event, event.tag, path)
        if isinstance(event, MappingStartEvent):
            return self.read_mapping(path)
        return self.read_sequence(path)

    def read_sequence(self, path: Path) -> Value:
        items: list[Value] = []
        while not isinstance(event := self.peek(), CollectionEndEvent):
            item_path = (*path, len(items))
            self.document.lines[item_path] = event.start_mark.line + 1
            items.append(self.read_value(item_path))
        self.position += 1
        return items

    def read_mapping(self, path: Path) -> Value:
        result: dict[str, Value] = {}
        while not isinstance(key := self.peek(), CollectionEndEvent):
            if not isinstance(key, ScalarEvent):
                raise self.make_error(key, path, "a key must be a plain word")
            self.position += 1
            name = str(key.value)
            if name == "<<" and self.find_tag(key).endswith(":merge"):
                raise self.make_error(key, path, "YAML 1.2 has no merge key <<: write the keys out")
            key_path = (*path, name)
            if name in result:
                message = f"this key is given twice, first in line {self.document.lines[key_path]}"
                raise self.make_error(key, key_path, message)
            self.document.lines[key_path] = key.start_mark.line + 1
            result[name] = self.read_value(key_path)
        self.position += 1
        return result

    def read_scalar(self, event: ScalarEvent, path: Path) -> Value:
        tag = self.find_tag(event)
        self.check_tag(event, tag, path)
        kind = tag.rpartition(":")[2]
        text = str(event.value)
        try:
            return _SCALAR_PARSERS.get(kind, str)(text)
        except ValueError:
            raise self.make_error(event, path, f"{text!r} cannot be read as {kind}") from None

    def find_tag(self, event: ScalarEvent) -> str:
        """Return the tag of a scalar: the one that is written, or that of its text."""
        if event.tag is not None and event.tag != "!":
            return event.tag
        return str(self.parser.resolver.resolve(ScalarNode, event.value, event.implicit))

    def check_tag(self, event: NodeEvent, tag: str | None, path: Path) -> None:
        if tag is None or tag == "!" or tag.partition("tag:yaml.org,2002:")[2] in _KNOWN_TAGS:
            return
        raise self.make_error(event, path, f"the gateway does not support the tag {tag}")

    def make_error(self, event: Event, path: Path, message: str) -> ConfigError:
        line = event.start_mark.line + 1
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
