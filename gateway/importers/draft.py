"""The draft that another gateway's configuration becomes, with a note about each of its parts."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from gateway.core.target import TIERS, Tier
from gateway.settings.errors import Path, format_path

type Part = dict[str, Any]
type Fate = Literal["kept", "changed", "dropped"]

_NON_SLUG_PATTERN = re.compile(r"[^A-Za-z0-9_.-]+")
_KEY_PLACEHOLDERS = frozenset(
    {
        "",
        "none",
        "null",
        "no-key",
        "not-needed",
        "not_needed",
        "dummy",
        "empty",
        "ollama",
        "lm-studio",
    }
)
"""The values that people write for a key if the provider needs none."""
_RESERVED_MODELS = ("auto", *TIERS, "claude-auto")
"""The names of models that already have a meaning in this gateway."""
_MIN_SECONDS = 0.001
"""The shortest duration that a draft writes, in seconds."""


class ImportNote(msgspec.Struct, frozen=True):
    """A note that tells if one part of the file was kept, changed or dropped, and why."""

    fate: Fate
    path: str
    line: int | None
    text: str


class DraftTarget(msgspec.Struct):
    """A model at a provider, as a tier lists it."""

    provider: str
    model: str
    max_output: int | None = None
    params: Part = {}

    def to_part(self) -> Part:
        """Return the target in the form of our configuration, without empty fields."""
        options = {"max_output": self.max_output, "params": self.params or None}
        fields = {"provider": self.provider, "model": self.model, **options}
        return {name: value for name, value in fields.items() if value is not None}


class ConfigDraft:
    """A configuration of ours that an importer fills part by part."""

    def __init__(
        self,
        lines: Mapping[Path, int],
        used_variables: Iterable[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Begin an empty draft.

        `lines` has the line of each part of the file. `used_variables` are variables that already
        have a meaning. `environ` is the environment as it is set.
        """
        self._lines = lines
        self._used_variables = frozenset(used_variables)
        self._environ = environ or {}
        self.notes: list[ImportNote] = []
        self.server: Part = {}
        self.default: Part = {}
        self.aliases: dict[str, str] = {}
        self.cache: Part | None = None
        self.limits: list[Part] = []
        self.budgets: list[Part] = []
        self.choices: list[Part] = []
        self.providers: dict[str, Part] = {}
        self.labs: dict[str, Part] = {}
        self.models: dict[str, Part] = {}
        self.environ: dict[str, str] = {}
        """The variables for a .env file: values that must not, or cannot, be in a configuration."""
        self.secret_names: set[str] = set()
        """The names of these variables whose values are secrets."""
        self.required_variables: list[str] = []
        """The variables that the configuration reads."""
        self._variable_by_secret: dict[tuple[str, str], str] = {}

    def add_note(self, fate: Fate, path: Path, text: str) -> None:
        """Add a note about a part of the file, with its line; skip one that is there already."""
        lengths = range(len(path), 0, -1)
        line = next(
            (self._lines[path[:length]] for length in lengths if path[:length] in self._lines), None
        )
        note = ImportNote(fate, format_path(path), line, text)
        if note not in self.notes:
            self.notes.append(note)

    def drop_unknown_parts(
        self, part: Part, path: Path, known_names: Iterable[str], reason: str = ""
    ) -> None:
        """Add a note for each part of the file that the importer drops.

        These are the parts that are not in `known_names`, which have notes of their own.
        """
        for name in part:
            if name not in known_names:
                text = reason or "The gateway has no such setting."
                self.add_note("dropped", (*path, name), text)

    def add_credential(
        self, value: object, hint: str, path: Path, *, named_variable: str | None
    ) -> str | None:
        """Return a credential as `${NAME}`; None if there is none.

        `named_variable` is the variable that the file names for it, if any. A key in clear moves
        to a variable of the .env file. It never stands in the configuration.
        """
        if named_variable is not None:
            name = named_variable
        elif not isinstance(value, str) or value.strip().lower() in _KEY_PLACEHOLDERS:
            return None
        else:
            secret = make_one_line(value)
            name = self._variable_by_secret.get((hint, secret)) or self._find_free_variable(
                make_variable_name(hint), secret
            )
            self._variable_by_secret[hint, secret] = name
            self.environ[name] = secret
            self.secret_names.add(name)
            self.add_note(
                "changed", path, f"The key is in clear text. It moves to the variable {name}."
            )
        if name not in self.required_variables:
            self.required_variables.append(name)
        return "${" + name + "}"

    def add_provider(self, name: str, part: Part) -> str:
        """Return the name of an equal provider of the draft; add the provider if there is none."""
        base, count = make_slug(name), 1
        while True:
            candidate = base if count == 1 else f"{base}-{count}"
            if candidate not in self.providers:
                self.providers[candidate] = part
            if self.providers[candidate] == part:
                return candidate
            count += 1

    def add_lab(
        self, name: str, tiers: Mapping[Tier, Sequence[DraftTarget]], about: str = ""
    ) -> str:
        """Add a lab of targets by tier and return its name.

        The name gets a number if another lab has it.
        """
        base, count = make_slug(name), 1
        candidate = base
        while candidate in self.labs:
            count += 1
            candidate = f"{base}-{count}"
        lab: Part = {"about": about} if about else {}
        for tier in TIERS:
            if rows := drop_duplicates(target.to_part() for target in tiers.get(tier, ())):
                lab[tier] = rows
        self.labs[candidate] = lab
        return candidate

    def add_alias(self, name: str, target: str, path: Path) -> None:
        """Let clients ask for a target by a name.

        Add a note instead if the name is reserved, or if an alias and a model would clash.
        """
        alias_name = strip_variables(name)
        if alias_name in _RESERVED_MODELS or (
            "/" in alias_name and alias_name.rpartition("/")[2] in _RESERVED_MODELS
        ):
            self.add_note(
                "dropped",
                path,
                f"The name {alias_name!r} has another meaning here. Choose another.",
            )
        elif target in self.aliases or alias_name in self.aliases.values():
            self.add_note(
                "dropped", path, f"Another model has the name {alias_name!r} too. Choose another."
            )
        elif alias_name != target and alias_name.strip():
            self.aliases[alias_name] = target

    def _find_free_variable(self, name: str, secret: str) -> str:
        """Return a variable that is free, or that already has this value."""
        candidate, count = name, 1
        while (
            candidate in self.environ
            or candidate in self._used_variables
            or self._environ.get(candidate, secret) != secret
        ):
            count += 1
            candidate = f"{name}_{count}"
        return candidate


def drop_duplicates(rows: Iterable[Part]) -> list[Part]:
    """Return each row once, in order."""
    unique_rows: list[Part] = []
    for row in rows:
        if row not in unique_rows:
            unique_rows.append(row)
    return unique_rows


def make_slug(text: str) -> str:
    """Return a text as a name of letters, digits, `.`, `_` and `-`."""
    return _NON_SLUG_PATTERN.sub("-", text).strip("-.") or "unnamed"


def make_variable_name(text: str) -> str:
    """Return a text as the name of an environment variable that ends in _KEY or _TOKEN."""
    name = re.sub(r"[^A-Z0-9]+", "_", text.upper()).strip("_") or "IMPORTED"
    name = f"X_{name}" if name[0].isdigit() else name
    return name if name.endswith(("_KEY", "_TOKEN")) else f"{name}_API_KEY"


def make_one_line(text: str) -> str:
    """Return a text as the value of a line of .env: trimmed, and only printable characters."""
    return "".join(char for char in text if char.isprintable()).strip()


def strip_variables(text: str) -> str:
    """Return a text in which this gateway reads no `${NAME}`."""
    return text.replace("${", "$")


def as_mapping(value: object) -> Part:
    """Return a mapping with texts as keys; empty if the value is none."""
    return {str(name): item for name, item in value.items()} if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return a list; empty if the value is none."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    """Return a text; empty if the value is none."""
    return value if isinstance(value, str) else ""


def parse_count(value: object, maximum: float = 10**9) -> int | None:
    """Return a number from 1 to `maximum`, rounded down; None if the value is no such number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if 1 <= number <= maximum else None


def parse_seconds(value: object, divisor: float = 1.0) -> float | None:
    """Return seconds, from a number or its text, divided by `divisor`.

    None if the value is no number, or if the result is not between 0 and 86,400 (a day).
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value) / divisor
    except ValueError:
        return None
    return number if 0 < number < 86_400 else None


def format_duration(seconds: float) -> str:
    """Return seconds as `90s` or `0.5s`, never with an exponent, which configurations refuse."""
    text = f"{max(seconds, _MIN_SECONDS):.3f}" if seconds else "0"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}s"


def sanitize_param(value: object, depth: int = 6) -> Any:
    """Return a value that can stand in `params`: plain, and without variables.

    Values of other types, numbers that are not finite, and anything nested deeper than `depth`
    become None.
    """
    if isinstance(value, str):
        return strip_variables(value)
    if isinstance(value, dict) and depth:
        return {
            strip_variables(str(name)): sanitize_param(item, depth - 1)
            for name, item in value.items()
        }
    if isinstance(value, list) and depth:
        return [sanitize_param(item, depth - 1) for item in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):  # noqa: PLR0124
        return None
    return value if isinstance(value, bool | int | float) else None
