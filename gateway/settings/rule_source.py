"""The rules of a configuration as their author wrote them, to be shown and edited elsewhere."""

from pathlib import Path as File

import msgspec

from gateway.settings import yaml
from gateway.settings.errors import ConfigError
from gateway.settings.loader import ConfigSource
from gateway.settings.rule_hints import RULE_SECTIONS

_MAX_FILE_BYTES = 1_000_000
"""The most bytes of a rule file that is shown exactly as written."""


class RuleSource(msgspec.Struct, frozen=True):
    """Guards and choices as one YAML text."""

    text: str
    file: str
    """The file of the rules; empty if several files have them, or if the file has changed since."""
    slices: dict[tuple[str, int], str]
    """The lines of each rule, by its section and its index."""


def read_rule_source(source: ConfigSource) -> RuleSource:
    """Return the rules in force, without anything from other sections."""
    text, file = _read_verbatim(source)
    if not text:
        value = {
            section: source.raw[section] for section in RULE_SECTIONS if source.raw.get(section)
        }
        text = yaml.dump(value) if value else ""
    return RuleSource(text, file, dict(_slice_rules(text)))


def _read_verbatim(source: ConfigSource) -> tuple[str, str]:
    """Return the lines of the rules and the name of the one file that has them all.

    Both are empty if there is no such file, or if it has changed since.
    """
    locations = {
        source.locations.get((section, index))
        for section in RULE_SECTIONS
        for index in range(_count_rules(source, section))
    }
    only_location = (
        locations.pop() if len({location and location[0] for location in locations}) == 1 else None
    )
    if only_location is None or only_location[1] is None:
        return "", ""
    name = only_location[0]
    try:
        file = File(name)
        text = file.read_text(encoding="utf-8") if file.stat().st_size <= _MAX_FILE_BYTES else ""
        document = yaml.read(text, name)
    except (OSError, UnicodeDecodeError, ConfigError):
        return "", ""
    value = document.value if isinstance(document.value, dict) else {}
    if any(
        (value.get(section) or []) != (source.raw.get(section) or []) for section in RULE_SECTIONS
    ):
        return "", ""
    lines = text.splitlines()
    section_lines = sorted(
        (line, str(path[0])) for path, line in document.lines.items() if len(path) == 1
    )
    ends = [*(line for line, _ in section_lines[1:]), len(lines) + 1]
    blocks = [
        _extract_block(lines, line, end)
        for (line, section), end in zip(section_lines, ends, strict=False)
        if section in RULE_SECTIONS
    ]
    text = "\n\n".join("\n".join(block) for block in blocks) + "\n"
    rules = {section: value[section] for section in RULE_SECTIONS if section in value}
    # In other YAML styles a line may also hold other sections, perhaps with credentials.
    return (text, name) if _parse_value(text) == rules else ("", "")


def _parse_value(text: str) -> yaml.Value:
    try:
        return yaml.read(text, "").value
    except ConfigError:
        return None


def _extract_block(lines: list[str], first_line: int, end_line: int) -> list[str]:
    """Return the lines of a section with the comments before it, but not those before the next."""
    start_index, stop_index = first_line - 1, end_line - 1
    while start_index and lines[start_index - 1].startswith("#"):
        start_index -= 1
    while stop_index > first_line and (
        not lines[stop_index - 1].strip() or lines[stop_index - 1].startswith("#")
    ):
        stop_index -= 1
    return lines[start_index:stop_index]


def _count_rules(source: ConfigSource, section: str) -> int:
    rules = source.raw.get(section)
    return len(rules) if isinstance(rules, list) else 0


def _slice_rules(text: str) -> list[tuple[tuple[str, int], str]]:
    document = yaml.read(text, "")
    lines = text.splitlines()
    starts = sorted(document.lines.items(), key=lambda entry: entry[1])
    starts = [(path, line) for path, line in starts if len(path) in (1, 2) and path]
    ends = [*(line - 1 for _, line in starts[1:]), len(lines)]
    result = []
    for (path, line), end in zip(starts, ends, strict=False):
        if len(path) == 2 and isinstance(path[1], int):
            rule_lines = lines[line - 1 : end]
            while rule_lines and (not rule_lines[-1].strip() or rule_lines[-1].startswith("#")):
                rule_lines.pop()
            result.append(((str(path[0]), path[1]), "\n".join(rule_lines)))
    return result
