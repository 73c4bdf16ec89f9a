"""The rules of a configuration as somebody wrote them: to be read, and edited elsewhere."""

from pathlib import Path as File

import msgspec

from gateway.settings import yaml
from gateway.settings.errors import ConfigError
from gateway.settings.loader import RULES, ConfigSource

_MOST = 1_000_000
"""Bytes of a file of rules that is shown as it is written."""


class RuleSource(msgspec.Struct, frozen=True):
    """Guards and choices as one text of YAML."""

    text: str
    file: str
    """Where they stand; empty where that is more than one file, or changed since it was read."""
    slices: dict[tuple[str, int], str]
    """The lines of each rule, by its part and place."""


def book(source: ConfigSource) -> RuleSource:
    """The rules in force. Of other parts of the files nothing is in it."""
    text, file = _verbatim(source)
    if not text:
        value = {part: source.raw[part] for part in RULES if source.raw.get(part)}
        text = yaml.write(value) if value else ""
    return RuleSource(text, file, dict(_slices(text)))


def _verbatim(source: ConfigSource) -> tuple[str, str]:
    """Their lines in the one file that has them all, with its name; empty where there is none."""
    places = {source.where.get((part, at)) for part in RULES for at in range(_many(source, part))}
    place = places.pop() if len({one and one[0] for one in places}) == 1 else None
    if place is None or place[1] is None:
        return "", ""
    name = place[0]
    try:
        file = File(name)
        text = file.read_text(encoding="utf-8") if file.stat().st_size <= _MOST else ""
        document = yaml.read(text, name)
    except (OSError, UnicodeDecodeError, ConfigError):
        return "", ""
    value = document.value if isinstance(document.value, dict) else {}
    if any((value.get(part) or []) != (source.raw.get(part) or []) for part in RULES):
        return "", ""
    lines = text.splitlines()
    heads = sorted((line, str(path[0])) for path, line in document.lines.items() if len(path) == 1)
    ends = [*(line for line, _ in heads[1:]), len(lines) + 1]
    blocks = [
        _block(lines, line, end)
        for (line, part), end in zip(heads, ends, strict=False)
        if part in RULES
    ]
    text = "\n\n".join("\n".join(block) for block in blocks) + "\n"
    alone = {part: value[part] for part in RULES if part in value}
    # In other styles of YAML a line may have more than its part: credentials, perhaps.
    return (text, name) if _value(text) == alone else ("", "")


def _value(text: str) -> yaml.Value:
    try:
        return yaml.read(text, "").value
    except ConfigError:
        return None


def _block(lines: list[str], first: int, end: int) -> list[str]:
    """The lines of a part with the comments before it, and without those before the next."""
    start, stop = first - 1, end - 1
    while start and lines[start - 1].startswith("#"):
        start -= 1
    while stop > first and (not lines[stop - 1].strip() or lines[stop - 1].startswith("#")):
        stop -= 1
    return lines[start:stop]


def _many(source: ConfigSource, part: str) -> int:
    found = source.raw.get(part)
    return len(found) if isinstance(found, list) else 0


def _slices(text: str) -> list[tuple[tuple[str, int], str]]:
    document = yaml.read(text, "")
    lines = text.splitlines()
    starts = sorted(document.lines.items(), key=lambda one: one[1])
    starts = [(path, line) for path, line in starts if len(path) in (1, 2) and path]
    ends = [*(line - 1 for _, line in starts[1:]), len(lines)]
    found = []
    for (path, line), end in zip(starts, ends, strict=False):
        if len(path) == 2 and isinstance(path[1], int):
            part = lines[line - 1 : end]
            while part and (not part[-1].strip() or part[-1].startswith("#")):
                part.pop()
            found.append(((str(path[0]), path[1]), "\n".join(part)))
    return found
