"""What a configuration of another gateway becomes, and what is told of each of its parts."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from gateway.core.target import TIERS, Tier
from gateway.settings.errors import Path, written

type Part = dict[str, Any]
type Fate = Literal["kept", "changed", "dropped"]

_ODD = re.compile(r"[^A-Za-z0-9_.-]+")
_NO_KEYS = frozenset(
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
"""What stands for a key where none is needed."""
_OURS = ("auto", *TIERS, "claude-auto")
"""Names of models that have a meaning of their own."""
_LEAST_SPAN = 0.001
"""Seconds: what is shorter is no time that anybody waits."""


class ImportNote(msgspec.Struct, frozen=True):
    """What became of one part of the configuration that was read."""

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

    def plain(self) -> Part:
        """As the configuration has it."""
        more = {"max_output": self.max_output, "params": self.params or None}
        told = {"provider": self.provider, "model": self.model, **more}
        return {name: value for name, value in told.items() if value is not None}


class ConfigDraft:
    """A configuration in the making. `lines` has the line of each part that was read."""

    def __init__(
        self,
        lines: Mapping[Path, int],
        taken: Iterable[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """`taken` are variables that mean something already; `environ` is what is set."""
        self._lines = lines
        self._taken = frozenset(taken)
        self._set = environ or {}
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
        """Lines for a .env: what must not stand in a configuration, or is none of it."""
        self.secret: set[str] = set()
        """Names of these whose values are secrets."""
        self.needed: list[str] = []
        """Variables that the configuration reads."""
        self._known: dict[tuple[str, str], str] = {}

    def note(self, fate: Fate, path: Path, text: str) -> None:
        """Tell what became of a part."""
        ends = range(len(path), 0, -1)
        line = next((self._lines[path[:end]] for end in ends if path[:end] in self._lines), None)
        note = ImportNote(fate, written(path), line, text)
        if note not in self.notes:
            self.notes.append(note)

    def rest(self, part: Part, path: Path, known: Iterable[str], why: str = "") -> None:
        """Tell of all parts that nothing is made of; those that are known were told of."""
        for name in part:
            if name not in known:
                text = why or "is not carried over: this gateway has nothing of that name."
                self.note("dropped", (*path, name), text)

    def variable(self, value: object, hint: str, path: Path, *, refers: str | None) -> str | None:
        """How the configuration says a credential: a variable, or None where there is none.

        `refers` is the variable that was meant, where what was read names one. A literal key is
        moved to a line of .env: it never stands in the configuration.
        """
        if refers is not None:
            name = refers
        elif not isinstance(value, str) or value.strip().lower() in _NO_KEYS:
            return None
        else:
            secret = one_line(value)
            name = self._known.get((hint, secret)) or self._fresh(variable_name(hint), secret)
            self._known[hint, secret] = name
            self.environ[name] = secret
            self.secret.add(name)
            self.note("changed", path, f"is a key in clear: it moves to the variable {name}.")
        if name not in self.needed:
            self.needed.append(name)
        return "${" + name + "}"

    def provider(self, name: str, part: Part) -> str:
        """The name of a provider like this: one that is there already, or a new one."""
        base, count = slug(name), 1
        while True:
            tried = base if count == 1 else f"{base}-{count}"
            if tried not in self.providers:
                self.providers[tried] = part
            if self.providers[tried] == part:
                return tried
            count += 1

    def lab(self, name: str, tiers: Mapping[Tier, Sequence[DraftTarget]], about: str = "") -> str:
        """A lab of targets by tier; its name, which is another where that is taken."""
        base, count = slug(name), 1
        tried = base
        while tried in self.labs:
            count += 1
            tried = f"{base}-{count}"
        lab: Part = {"about": about} if about else {}
        for tier in TIERS:
            if rows := once(one.plain() for one in tiers.get(tier, ())):
                lab[tier] = rows
        self.labs[tried] = lab
        return tried

    def alias(self, name: str, target: str, path: Path) -> None:
        """Let clients ask for something by a name."""
        asked = plain(name)
        if asked in _OURS or ("/" in asked and asked.rpartition("/")[2] in _OURS):
            self.note("dropped", path, f"the name {asked!r} means something else here.")
        elif asked != target and asked.strip():
            self.aliases[asked] = target

    def _fresh(self, name: str, secret: str) -> str:
        """A variable that is free, or has this value already."""
        tried, count = name, 1
        while (
            tried in self.environ or tried in self._taken or self._set.get(tried, secret) != secret
        ):
            count += 1
            tried = f"{name}_{count}"
        return tried


def once(rows: Iterable[Part]) -> list[Part]:
    """Each of them once."""
    found: list[Part] = []
    for row in rows:
        if row not in found:
            found.append(row)
    return found


def slug(text: str) -> str:
    """A name of letters, digits, `.`, `_` and `-`."""
    return _ODD.sub("-", text).strip("-.") or "unnamed"


def variable_name(text: str) -> str:
    """A name of a variable of the environment."""
    name = re.sub(r"[^A-Z0-9]+", "_", text.upper()).strip("_") or "IMPORTED"
    name = f"X_{name}" if name[0].isdigit() else name
    return name if name.endswith(("_KEY", "_TOKEN")) else f"{name}_API_KEY"


def one_line(text: str) -> str:
    """A text as the value of a line of .env."""
    return "".join(sign for sign in text if sign.isprintable()).strip()


def plain(text: str) -> str:
    """A text that no `${NAME}` of this gateway's is read in."""
    return text.replace("${", "$")


def mapping(value: object) -> Part:
    """A mapping, empty where it is something else."""
    return {str(name): one for name, one in value.items()} if isinstance(value, dict) else {}


def rows(value: object) -> list[Any]:
    """A list, empty where it is something else."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """A text, empty where it is something else."""
    return value if isinstance(value, str) else ""


def count(value: object, most: float = 10**9) -> int | None:
    """A whole number above nothing, None where it is something else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return int(found) if 1 <= found <= most else None


def seconds(value: object, per: float = 1.0) -> float | None:
    """Seconds of a number or a text of one, None where it is something else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value) / per
    except ValueError:
        return None
    return found if 0 < found < 86_400 else None


def span(seconds: float) -> str:
    """Write seconds as `90s` or `0.5s`, without an exponent, which the configuration refuses."""
    text = f"{max(seconds, _LEAST_SPAN):.3f}" if seconds else "0"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}s"


def safe(value: object, depth: int = 6) -> Any:
    """A value that can stand in `params`: plain, and with no variable in it."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict) and depth:
        return {plain(str(name)): safe(one, depth - 1) for name, one in value.items()}
    if isinstance(value, list) and depth:
        return [safe(one, depth - 1) for one in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):  # noqa: PLR0124
        return None
    return value if isinstance(value, bool | int | float) else None
