"""YAML 1.2: the values of plain words, the line of each part, and refusals with their reason."""

import contextlib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Path
from gateway.settings.yaml import Value

VALUES: list[tuple[str, Value]] = [
    ("no", "no"),
    ("yes", "yes"),
    ("on", "on"),
    ("off", "off"),
    ("y", "y"),
    ("true", True),
    ("True", True),
    ("FALSE", False),
    ("null", None),
    ("~", None),
    ("", None),
    ("010", 10),
    ("0o10", 8),
    ("0x1F", 31),
    ("1_050_000", 1_050_000),
    ("-7", -7),
    ("1e3", 1000.0),
    ("0.25", 0.25),
    (".inf", float("inf")),
    ("-.inf", float("-inf")),
    ("1:30", "1:30"),
    ("12:30:45", "12:30:45"),
    ("2026-11-24", "2026-11-24"),
    ("2026-11-24T10:00:00Z", "2026-11-24T10:00:00Z"),
    ("1.2.3", "1.2.3"),
    ("'10'", "10"),
    ('"no"', "no"),
    ("gpt-6.2-sol", "gpt-6.2-sol"),
    ("=", "="),
    ("!!str 12", "12"),
    ("!!int '12'", 12),
    ("!!float 1", 1.0),
    ("[a, 1]", ["a", 1]),
    ("{b: {c: [d]}}", {"b": {"c": ["d"]}}),
    ("|\n  two\n  lines", "two\nlines"),
    (">-\n  one\n  line", "one line"),
    ("a # a comment", "a"),
    ("b#c", "b#c"),
    ("\tb", "b"),
    ("b\t# a comment", "b"),
    ("b # a comment\n\t\n \t# another\n", "b"),
    ("[01:00-02:00]", ["01:00-02:00"]),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_a_plain_word_has_its_yaml_1_2_value(text: str, value: Value) -> None:
    value_read = yaml.read(f"a: {text}", "f.yaml").value
    assert value_read == {"a": value}
    assert isinstance(value_read, dict)
    assert type(value_read["a"]) is type(value)


DOCUMENTS: list[tuple[str, Value]] = [
    ("", None),
    ("# nothing\n", None),
    ("---\na: 1\n...\n", {"a": 1}),
    ("\ufeffa: 1", {"a": 1}),
    ("%YAML 1.1\n---\na: no", {"a": "no"}),
    ("%YAML 1.2\n---\na: no", {"a": "no"}),
    ("- 1\n- a", [1, "a"]),
    ("a", "a"),
    ("1: a\nnull: b\ntrue: c", {"1": "a", "null": "b", "true": "c"}),
    ("a:\r\n  b: 1\r\n", {"a": {"b": 1}}),
    # anchors stand for what they name
    ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
    ("a: &x [1]\nb: [*x, *x]", {"a": [1], "b": [[1], [1]]}),
    ("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}),
]


@pytest.mark.parametrize(("text", "value"), DOCUMENTS)
def test_a_document_becomes_plain_values(text: str, value: Value) -> None:
    assert yaml.read(text, "f.yaml").value == value


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)

TOKEN = (
    "error: not valid YAML: found character {} that cannot start any token. "
    "Indent with spaces, not tabs; put a text that begins so in quotes."
)

COLON = (
    "error: not valid YAML: mapping values are not allowed here. "
    "Check its indentation. Put a text that has a colon in quotes."
)
NOWHERE = (
    "error: not valid YAML: this line belongs to no key above it. "
    "Check the indentation of this line, and whether quotes end too early."
)

REFUSED: list[tuple[str, str]] = [
    ("a: 1\nb: 2\na: 3", "f.yaml:3: error: a: this key is given twice, first in line 1"),
    ("a:\n  b: 1\n  b: 2", "f.yaml:3: error: a.b: this key is given twice, first in line 2"),
    ("1: a\n'1': b", "f.yaml:2: error: 1: this key is given twice, first in line 1"),
    ("a: {b: 1, b: 2}", "f.yaml:1: error: a.b: this key is given twice, first in line 1"),
    ("a:\n\tb: 1", f"f.yaml:2: {TOKEN.format(r"'\t'")}"),
    ("a: 1\n b: 2",
     f"f.yaml:2: {COLON}"),
    ("a: b: c", f"f.yaml:1: {COLON}"),
    ("{a: 1", "f.yaml:1: error: not valid YAML: expected ',' or '}'"),
    ("a: }", "f.yaml:1: error: not valid YAML: a value is missing here"),
    ("a: 'x", "f.yaml:1: error: not valid YAML: found unexpected end of stream"),
    ("a: @x", f"f.yaml:1: {TOKEN.format("'@'")}"),
    ("a:\n   b: 1\n  c: 2", f"f.yaml:3: {NOWHERE}"),
    (" a: 1\nb: 2", f"f.yaml:2: {NOWHERE}"),
    ("a: 'it's'", f"f.yaml:1: {NOWHERE}"),
    ("a: one\ttwo", f"f.yaml:1: {NOWHERE}"),
    ("a: *nope", "f.yaml:1: error: not valid YAML: found undefined alias 'nope'"),
    ("a: 1\n---\nb: 2", "f.yaml:2: error: not valid YAML: a second document begins here"),
    ("a: \x01", "f.yaml: error: not valid YAML: a character that YAML does not allow"),
    ("? [1, 2]\n: 3", "f.yaml:1: error: a key must be a plain word"),
    ("a: .nan", "f.yaml:1: error: a: '.nan' cannot be read as float"),
    ("a: !!int b", "f.yaml:1: error: a: 'b' cannot be read as int"),
    ("a:\n- !env KEY", "f.yaml:2: error: a[0]: the gateway does not support the tag !env"),
    ("a: !!python/name:os.system x",
     "f.yaml:1: error: a: the gateway does not support the tag tag:yaml.org,2002:python/name:os.system"),
    ("a: !!set {x}", "f.yaml:1: error: a: the gateway does not support the tag tag:yaml.org,2002:set"),
    ("a: !!binary aGk=",
     "f.yaml:1: error: a: the gateway does not support the tag tag:yaml.org,2002:binary"),
    ("a: &x {b: 1}\nc:\n  <<: *x",
     "f.yaml:3: error: c: YAML 1.2 has no merge key <<: write the keys out"),
    ("a: &x [*x]", "f.yaml:1: error: a[0][0]: nested too deeply"),
    ("a: " + "[" * 60 + "]" * 60, "f.yaml:1: error: a[0][0]: nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "mistake"), REFUSED)
def test_invalid_yaml_is_refused_with_its_line(text: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        yaml.read(text, "f.yaml")
    assert [str(item) for item in caught.value.mistakes] == [mistake]


def test_a_document_that_expands_to_a_billion_values_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than 100,000 values"):
        yaml.read(BOMB, "f.yaml")


LINES: list[tuple[str, Mapping[Path, int]]] = [
    ("a: 1\n\nb:\n  c: 2\n", {(): 1, ("a",): 1, ("b",): 3, ("b", "c"): 4}),
    ("a:\n- x\n- y: 1\n  z: 2\n",
     {(): 1, ("a",): 1, ("a", 0): 2, ("a", 1): 3, ("a", 1, "y"): 3, ("a", 1, "z"): 4}),
    ("a: {b: 1,\n  c: [\n  1]}", {(): 1, ("a",): 1, ("a", "b"): 1, ("a", "c"): 2, ("a", "c", 0): 3}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "lines"), LINES)
def test_each_part_has_its_line(text: str, lines: Mapping[Path, int]) -> None:
    assert yaml.read(text, "f.yaml").lines == lines


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert yaml.read(text, "f.yaml").file == "f.yaml"


_PIECES = [
    "a", "b-1", "1.5", "no", "a b", "'q'", '"q"', ":", ": ", ",", " ", "\n", "\n  ", "\n- ", "- ",
    "[", "]", "{", "}", "? ", "#", " # c", "---\n", "...", "&x ", "*x", "!t ", ">\n  ", "|\n  ",
    "é", "\r", "\ufeff", "\x85", "%", ".",
]  # fmt: skip


@given(st.lists(st.sampled_from(_PIECES), max_size=20).map("".join))
@example("a: [b, c: {d: e}, f-g]\nh:\n  - i.j\n")
def test_a_text_without_tabs_parses_as_with_the_plain_library(text: str) -> None:
    """The parser's classes here are faster than the library's own and accept tabs."""

    def parse(parser: YAML) -> list[object]:
        events: list[object] = []
        try:
            for event in parser.parse(text):
                start, end = event.start_mark, event.end_mark
                places = [(mark.index, mark.line, mark.column) for mark in (start, end)]
                events.append((type(event), getattr(event, "value", None), places))
        except MarkedYAMLError as error:
            mark = error.problem_mark
            events.append((error.problem, mark and (mark.index, mark.line, mark.column)))
        except YAMLError as error:
            events.append(type(error))
        return events

    plain_parser = YAML(typ="safe", pure=True)
    assert parse(yaml.make_parser()) == parse(plain_parser)


@pytest.mark.parametrize("sign", ["[", "{a: ", "- ", "? "])
def test_a_document_that_is_nested_too_deeply_is_refused(sign: str) -> None:
    """Many brackets side by side are no depth."""
    with pytest.raises(ConfigError, match="nested too deeply"):
        yaml.read(sign * 100_000, "f.yaml")
    assert yaml.read("[[], {a: {}}, " * 3 + "[]]]]", "f.yaml").value
    assert len(str(yaml.read(f"a: [{'[], ' * 5_000}]", "f.yaml").value)) > 5_000


BEFORE = """\
# Ours.

shop:  # the first
  name: "quoted"
  list: [a, b]
  sums:
    - usd: 5.50   # each
      day: 2027-01-31

# What follows is hidden.
other: {a: 'b', no: no}
# The end.
"""


def test_an_amendment_keeps_comments_order_and_style() -> None:
    def change(value: dict[str, Any]) -> None:
        value["other"]["more"] = 1
        value["new"] = {"list": ["a", "b"], "maps": [{"a": 1}], "text": "2027-01-31"}

    after = yaml.amend(BEFORE, "f.yaml", change)
    new = "new:\n  list: [a, b]\n  maps:\n    - a: 1\n  text: '2027-01-31'\n"
    expected = BEFORE.replace("no: no}", "no: no, more: 1}").replace("# The end.\n", new)
    assert after == f"{expected}# The end.\n"


@pytest.mark.parametrize(
    "text",
    [
        BEFORE,
        BEFORE.replace("    - usd", "  - usd").replace("      day", "    day"),
        "a:\n    b: 1\n    c:\n    - 1\n",
        "a: 1\n",
    ],
)
def test_an_empty_amendment_changes_no_byte(text: str) -> None:
    assert yaml.amend(text, "f.yaml", lambda _: None) == text


@pytest.mark.parametrize("text", ["", "# Only this.\n", "# Only this.", "---\n"])
def test_a_value_can_be_added_to_an_empty_document(text: str) -> None:
    after = yaml.amend(text, "f.yaml", lambda value: value.update(a=1))
    assert yaml.read(after, "f.yaml").value == {"a": 1}
    assert after.startswith(text)


@pytest.mark.parametrize("null", ["null", "~", "--- null"])
def test_a_value_takes_the_place_of_a_written_null(null: str) -> None:
    after = yaml.amend(f"# Keys.\n{null}\n", "f.yaml", lambda value: value.update(a=1))
    assert after == "# Keys.\na: 1\n"


@pytest.mark.parametrize(("text", "words"), [("- a", "must map"), ("a: 1\na: 2", "given twice")])
def test_a_document_that_cannot_be_read_is_not_changed(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        yaml.amend(text, "f.yaml", lambda value: value.update(a=1))


def test_text_of_any_characters_reads_as_it_was_written() -> None:
    """YAML does not allow some characters unless they are escaped (YAML 1.2.2, 5.1)."""
    text = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x10001), 0x1FFFF, 0x10FFFF)))
    assert yaml.read(f"key: {yaml.dump_flow(text)}", "f").value == {"key": text}
