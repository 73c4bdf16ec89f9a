"""Puts what the environment gives over what the files say.

A variable's name has no sign but letters, digits and underscores. So in each part of its path an
underscore stands for every sign that is neither a letter nor a digit: AZURE_OPENAI is the key
`azure-openai`. A key that no file has is new, and gets the name that the variable has for it.
"""

import re

from gateway.settings import yaml
from gateway.settings.environment import KEY_FILE
from gateway.settings.errors import Mistake, Path
from gateway.settings.includes import Where

_OTHER = re.compile(r"[^a-z0-9]+")


def put(
    raw: dict[str, yaml.Value], where: Where, words: tuple[str, ...], value: yaml.Value
) -> Mistake | None:
    """Put a value at the path that the words of a variable mean; return what is wrong with them.

    `where` has the variable in place of the file for all that it gives.
    """
    name = KEY_FILE if words == ("keys",) else f"TIERGATE_{'__'.join(words).upper()}"
    at = raw
    path: Path = ()
    for word in words[:-1]:
        key = _key(at, word)
        if isinstance(key, list):
            return _ambiguous(name, path, key)
        path, inside = (*path, key), at.get(key)
        if isinstance(inside, list):
            message = "stands inside a list."
            return Mistake(file=name, message=message, hint="Give the whole list.")
        if not isinstance(inside, dict):
            _blame(where, path, name)
            inside = {}
        at[key] = at = dict(inside)
    key = _key(at, words[-1])
    if isinstance(key, list):
        return _ambiguous(name, path, key)
    _blame(where, (*path, key), name)
    at[key] = value
    return None


def _key(at: dict[str, yaml.Value], word: str) -> str | list[str]:
    """Return the key that a word means, or all keys where it could mean several."""
    keys = [key for key in at if _plain(key) == _plain(word)]
    if len(keys) > 1:
        return keys
    return keys[0] if keys else word


def _plain(key: str) -> str:
    return _OTHER.sub("_", key.lower())


def _blame(where: Where, path: Path, name: str) -> None:
    """Say that a variable gives a part, and all that is inside of it."""
    for inner in [one for one in where if one[: len(path)] == path]:
        del where[inner]
    where[path] = (name, None)


def _ambiguous(name: str, path: Path, keys: list[str]) -> Mistake:
    message = f"could be {' or '.join(map(repr, keys))}."
    hint = f"Give all of TIERGATE_{'__'.join(map(str, path)).upper()}, or rename one in the file."
    return Mistake(file=name, message=message, hint=hint)
