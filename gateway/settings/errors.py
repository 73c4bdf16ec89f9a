"""What is wrong with a configuration: where, what, and what was probably meant.

SettingsError
ConfigError     a configuration that cannot be used
UnsetVariable   a variable or file that a string needs
"""

import difflib
from collections.abc import Iterable
from typing import Literal

import msgspec

type Path = tuple[str | int, ...]
"""Where a value stands, e.g. ("labs", "openai", "fast", 0, "model")."""


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. An error keeps the gateway from starting, a warning does not."""

    level: Literal["error", "warning"] = "error"
    file: str = ""
    line: int | None = None
    """Counted from 1."""
    path: str = ""
    rule: str = ""
    """The name of the rule that the path leads into."""
    message: str
    hint: str = ""

    @property
    def text(self) -> str:
        """The message behind its path and its rule: `choices[3].tier (rule 'maths'): ...`."""
        if not self.path:
            return self.message
        rule = f" (rule {self.rule!r})" if self.rule else ""
        return f"{self.path}{rule}: {self.message}"

    def __str__(self) -> str:
        location = f"{self.file}:{self.line}" if self.line is not None else self.file
        parts = [location, self.level, self.text]
        return ": ".join(part for part in parts if part) + (f" {self.hint}" if self.hint else "")


class SettingsError(Exception):
    """The base of all errors of this package."""


class ConfigError(SettingsError):
    """A configuration that cannot be used, with everything that is wrong with it."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = list(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


def format_path(path: Path) -> str:
    """A path as people write it: labs.openai.fast[0].model."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def suggest_name(name: str, candidates: Iterable[str]) -> str:
    """A hint that names the closest known name, or the few there are."""
    choices = sorted(candidates)
    matches = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    if matches:
        return f"Did you mean {matches[0]!r}?"
    max_listed = 12
    if 0 < len(choices) <= max_listed:
        return f"Known: {', '.join(choices)}."
    return ""


class UnsetVariable(SettingsError):
    """A variable or file that a string needs and that is not there."""

    def __init__(self, message: str, *, variable: bool = False) -> None:
        super().__init__(message)
        self.variable = variable
        """It is a variable that is not set."""
