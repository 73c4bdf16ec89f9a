"""Apply settings from environment variables over those from files.

A variable's name has only letters, digits and underscores. So an underscore in a part of its path
stands for any run of signs that are neither letters nor digits: AZURE_OPENAI is the key
`azure-openai`. A key that no file has is new, and is spelt as in the variable, in lower case.
"""

import re

from gateway.settings import yaml
from gateway.settings.environment import KEY_FILE_VARIABLE
from gateway.settings.errors import Mistake, Path
from gateway.settings.includes import Locations

_SEPARATORS = re.compile(r"[^a-z0-9]+")


def apply_override(
    raw: dict[str, yaml.Value], locations: Locations, words: tuple[str, ...], value: yaml.Value
) -> Mistake | None:
    """Set the value at the path that a variable's words mean; return a mistake if there is one.

    `locations` then names the variable in place of the file for this part.
    """
    name = KEY_FILE_VARIABLE if words == ("keys",) else f"TIERGATE_{'__'.join(words).upper()}"
    mapping = raw
    path: Path = ()
    for word in words[:-1]:
        key = _find_key(mapping, word)
        if isinstance(key, list):
            return _make_ambiguous_mistake(name, path, key)
        path, child = (*path, key), mapping.get(key)
        if isinstance(child, list):
            message = "stands inside a list."
            return Mistake(file=name, message=message, hint="Give the whole list.")
        if not isinstance(child, dict):
            _record_variable(locations, path, name)
            child = {}
        mapping[key] = mapping = dict(child)
    key = _find_key(mapping, words[-1])
    if isinstance(key, list):
        return _make_ambiguous_mistake(name, path, key)
    _record_variable(locations, (*path, key), name)
    mapping[key] = value
    return None


def _find_key(mapping: dict[str, yaml.Value], word: str) -> str | list[str]:
    """Return the key that a word means, or all keys if the word is ambiguous."""
    keys = [key for key in mapping if _normalize_key(key) == _normalize_key(word)]
    if len(keys) > 1:
        return keys
    return keys[0] if keys else word


def _normalize_key(key: str) -> str:
    return _SEPARATORS.sub("_", key.lower())


def _record_variable(locations: Locations, path: Path, name: str) -> None:
    """Record that a variable sets a part and everything inside it."""
    for inner_path in [
        located_path for located_path in locations if located_path[: len(path)] == path
    ]:
        del locations[inner_path]
    locations[path] = (name, None)


def _make_ambiguous_mistake(name: str, path: Path, keys: list[str]) -> Mistake:
    message = f"could be {' or '.join(map(repr, keys))}."
    hint = f"Give all of TIERGATE_{'__'.join(map(str, path)).upper()}, or rename one in the file."
    return Mistake(file=name, message=message, hint=hint)
