"""Mistakes in a configuration: the place, what is wrong, and what was probably meant.

SettingsError
ConfigError     a configuration that cannot be used
UnsetVariable   a variable or file that a string needs
"""

import difflib
from collections.abc import Iterable
from typing import Literal

import msgspec

type Path = tuple[str | int, ...]
"""The position of a value, such as ("labs", "openai", "fast", 0, "model")."""


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """A mistake. An error keeps the gateway from starting; a warning does not."""

    level: Literal["error", "warning"] = "error"
    file: str = ""
    line: int | None = None
    """The line, from 1; None if no line of a file has the value."""
    path: str = ""
    rule: str = ""
    """The name of the rule that contains the path; empty if there is none."""
    message: str
    hint: str = ""

    @property
    def text(self) -> str:
        """The message after its path and rule: `choices[3].tier (rule 'maths'): ...`."""
        if not self.path:
            return self.message
        rule = f" (rule {self.rule!r})" if self.rule else ""
        return f"{self.path}{rule}: {self.message}"

    def __str__(self) -> str:
        location = f"{self.file}:{self.line}" if self.line is not None else self.file
        parts = [location, self.level, self.text]
        return ": ".join(part for part in parts if part) + (f" {self.hint}" if self.hint else "")


class SettingsError(Exception):
    """The base of all errors in this package."""


class ConfigError(SettingsError):
    """A configuration that cannot be used; `mistakes` has everything that is wrong."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = list(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


def format_path(path: Path) -> str:
    """Return a path as people write it, such as labs.openai.fast[0].model."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def suggest_name(name: str, candidates: Iterable[str]) -> str:
    """Return a hint: the closest known name, or all names if there are at most 12, or nothing."""
    choices = sorted(candidates)
    matches = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    if matches:
        return f"Did you mean {matches[0]!r}?"
    max_listed = 12
    if 0 < len(choices) <= max_listed:
        return f"Known: {', '.join(choices)}."
    return ""


class UnsetVariable(SettingsError):
    """A string needs a variable or file that does not exist, or its `${...}` is malformed."""

    def __init__(self, message: str, *, variable: bool = False) -> None:
        super().__init__(message)
        self.variable = variable
        """True if an environment variable is not set."""
