"""What the environment adds: `${NAME}` in a configuration's strings, TIERGATE_* over its keys."""

import re
from collections.abc import Mapping
from pathlib import Path as File

from dotenv import dotenv_values

from gateway.settings import yaml
from gateway.settings.mistake import ConfigError, Mistake, nearest

RESERVED = frozenset({"config", "data", "secret", "admin_key", "keys"})
"""TIERGATE_ names that are no settings."""

_START = re.compile(r"\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Unset(Exception):
    """A variable or file that a string needs and that is not there."""


def read(folder: File, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, over what a `.env` in the folder says."""
    found = {name: value for name, value in dotenv_values(folder / ".env").items() if value}
    return {**found, **environ}


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace `${NAME}`, `${NAME:-default}` (also nested) and `${file:/path}`. Raises Unset."""
    out = []
    at = 0
    while (match := _START.search(text, at)) is not None:
        out.append(text[at : match.start()])
        end = _close(text, match.end())
        out.append(_one(text[match.end() : end], environ))
        at = end + 1
    out.append(text[at:])
    return "".join(out)


def names(text: str) -> list[str]:
    """The variables that a string is made from, in order of preference."""
    return re.findall(r"\$\{([A-Za-z_][A-Za-z0-9_]*)", text)


def _close(text: str, at: int) -> int:
    depth = 1
    for index in range(at, len(text)):
        if text.startswith("${", index):
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    raise Unset(f"{text!r} lacks a closing brace")


def _one(inside: str, environ: Mapping[str, str]) -> str:
    if inside.startswith("file:"):
        try:
            return File(inside[5:]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise Unset(f"the file {inside[5:]} cannot be read") from None
    name, default, rest = inside.partition(":-")
    if _NAME.fullmatch(name) is None:
        raise Unset(f"${{{inside}}} is neither ${{NAME}}, ${{NAME:-default}} nor ${{file:/path}}")
    value = environ.get(name, "")
    if value or not default:
        if not value and not default:
            raise Unset(f"the environment variable {name} is not set")
        return value
    return expand(rest, environ)


def overrides(
    environ: Mapping[str, str], known: frozenset[str]
) -> dict[tuple[str, ...], yaml.Value]:
    """Settings that TIERGATE_<PATH> gives, by path. Raises ConfigError for a path that is none."""
    found: dict[tuple[str, ...], yaml.Value] = {}
    for name, text in environ.items():
        if not name.startswith("TIERGATE_"):
            continue
        path = tuple(name.removeprefix("TIERGATE_").lower().split("__"))
        if path[0] in known and path[0] not in RESERVED:
            found[path] = yaml.read(text, name).value
        elif len(path) > 1:
            message = f"no setting is called {path[0]!r}."
            raise ConfigError([Mistake(file=name, message=message, hint=nearest(path[0], known))])
    return found
