"""Finds where two header lists, bodies or JSON values differ, and names each place in few words."""

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

MISSING = "(nothing)"
_CONTEXT = 60
"""Characters around the first difference of two texts."""
_LONGEST, _HEAD, _TAIL = 300, 200, 80
"""Characters of the longest text that is shown whole, and of the head and the tail of a longer one."""
_FRAME_END = re.compile(r"\r?\n\r?\n")
_FRAME_KIND = re.compile(r'^event: ?(.*)$|"type" ?: ?"([\w.]+)"', re.MULTILINE)
_FIRST_WORD = re.compile(r"[^\s{,]*")
_DEEPEST = 40
_FEWEST_LINES = 2
"""Texts of fewer lines are compared byte by byte."""
_MOST_PAIRS = 250_000
"""Pairs of frames of the largest two streams in which the best match of frames is searched."""
_INDEX = re.compile(r"\[\d+\]")

type Diff = Iterator[tuple[str, str, str]]
"""Places that differ: their name, the text of the base, the text of this tree."""


def headers(base: Sequence[str], tree: Sequence[str]) -> Diff:
    """Compare header lines: names, values, and their order."""
    before, after = _by_name(base), _by_name(tree)
    if before != after:
        for name in dict.fromkeys((*before, *after)):
            if before.get(name) != after.get(name):
                yield name, _joined(before.get(name)), _joined(after.get(name))
    elif [*base] != [*tree]:
        names = [" ".join(line.partition(":")[0] for line in lines) for lines in (base, tree)]
        if names[0] == names[1]:
            yield "white space of headers", shorten("\n".join(base)), shorten("\n".join(tree))
        else:
            yield "order of headers", names[0], names[1]


def _by_name(lines: Sequence[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        grouped.setdefault(name, []).append(value.strip())
    return grouped


def _joined(values: list[str] | None) -> str:
    return MISSING if values is None else shorten(", ".join(values))


def bodies(base: str, tree: str) -> Diff:
    """Compare two different bodies as frames of a stream, as JSON, or as lines."""
    before, after = _frames(base), _frames(tree)
    places = [*(_streams(before, after) if before and after else _texts(base, tree))]
    yield from places or [("bytes", *_excerpts(base, tree))]


def _frames(text: str) -> list[str]:
    if not text.lstrip("\r\n").startswith(("data:", "event:", ":", "id:")):
        return []
    return [frame for frame in _FRAME_END.split(text) if frame]


def _streams(base: list[str], tree: list[str]) -> Diff:
    """Compare frames in their order. A missing frame does not shift the ones behind it."""
    for before, after in _pairs(base, tree):
        if before is None or after is None:
            yield f"frame {_kind(before or after or '')}", shorten(before), shorten(after)
            continue
        for what, was, now in _texts(_data(before), _data(after)):
            yield f"{_kind(before)} {what}", was, now
        if _data(before) == _data(after) and before != after:
            yield f"frame {_kind(before)}", shorten(before), shorten(after)


def _pairs(base: list[str], tree: list[str]) -> Iterator[tuple[str | None, str | None]]:
    """Pair frames by their places if there are equally many, else by their best match."""
    if len(base) == len(tree) or len(base) * len(tree) > _MOST_PAIRS:
        yield from zip_longest(base, tree)
        return
    matcher = difflib.SequenceMatcher(None, base, tree, autojunk=False)
    for tag, start, end, other_start, other_end in matcher.get_opcodes():
        if tag != "equal":
            yield from zip_longest(base[start:end], tree[other_start:other_end])


def _kind(frame: str) -> str:
    kind = _FRAME_KIND.search(frame)
    if kind is not None:
        return kind[1] or kind[2]
    return "frame" if frame.startswith("data") else "comment"


def _data(frame: str) -> str:
    return "\n".join(line[5:].strip() for line in frame.splitlines() if line.startswith("data:"))


def _texts(base: str, tree: str) -> Diff:
    """Compare texts as JSON if both are JSON, else line by line."""
    if base == tree:
        return
    try:
        before, after = json.loads(base), json.loads(tree)
    except ValueError:
        yield from _lines(base, tree)
        return
    places = [*values(before, after)]
    yield from places or [("bytes of equal JSON", *_excerpts(base, tree))]


def _lines(base: str, tree: str) -> Diff:
    """Compare JSON lines one by one. Of other texts, find the lines that only one of them has."""
    before, after = base.splitlines(), tree.splitlines()
    if len(before) == len(after) and base.startswith("{"):
        for pair in zip(before, after, strict=True):
            yield from _texts(*pair)
        return
    if min(len(before), len(after)) < _FEWEST_LINES:
        yield ("bytes", *_excerpts(base, tree))
        return
    names_before, new = set(before), set(after)
    for line in before:
        if line not in new:
            yield f"line {_first_word(line)}", shorten(line), MISSING
    for line in after:
        if line not in names_before:
            yield f"line {_first_word(line)}", MISSING, shorten(line)


def _first_word(line: str) -> str:
    """Return the first word of a line, which is the name of a metric."""
    word = _FIRST_WORD.match(line.strip())
    return word[0][:60] if word else ""


def values(base: Any, tree: Any, path: str = "$", depth: int = 0) -> Diff:
    """Compare two JSON values member by member. The order of members counts."""
    if type(base) is type(tree) and base == tree and _text(base) == _text(tree):
        return
    if isinstance(base, dict) and isinstance(tree, dict) and depth < _DEEPEST:
        for name in dict.fromkeys((*base, *tree)):
            if name in base and name in tree:
                yield from values(base[name], tree[name], f"{path}.{name}", depth + 1)
            else:
                before, after = (shorten(value.get(name, MISSING)) for value in (base, tree))
                yield f"{_any_index(path)}.{name}", before, after
        if [*base] != [*tree] and set(base) == set(tree):
            yield f"{_any_index(path)} order of members", " ".join(base), " ".join(tree)
    elif _are_equally_long(base, tree) and depth < _DEEPEST:
        for index, pair in enumerate(zip(base, tree, strict=True)):
            yield from values(*pair, f"{path}[{index}]", depth + 1)
    else:
        yield _any_index(path), shorten(base), shorten(tree)


def _are_equally_long(base: Any, tree: Any) -> bool:
    return isinstance(base, list) and isinstance(tree, list) and len(base) == len(tree)


def _any_index(path: str) -> str:
    """Write a path without indexes of lists, which is the same for all items."""
    return _INDEX.sub("[]", path)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def shorten(value: Any) -> str:
    """Write a value as text, without the middle of a long one."""
    text = MISSING if value is None else value if isinstance(value, str) else _text(value)
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_HEAD]} ... {text[-_TAIL:]} ({len(text)} characters)"


def _excerpts(base: str, tree: str) -> tuple[str, str]:
    """Cut out the surroundings of the first difference."""
    pairs = enumerate(zip(base, tree, strict=False))
    at = next((index for index, (a, b) in pairs if a != b), min(len(base), len(tree)))
    start, end = max(0, at - _CONTEXT), at + _CONTEXT
    return base[start:end], tree[start:end]
