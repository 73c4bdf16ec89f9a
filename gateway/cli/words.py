"""Which words may stand at a place of the command line.

`words.json` has the commands with their options and arguments, each with the kind of its value; a
test holds it against the commands themselves.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gateway.core import jsonio

FILE = Path(__file__).parent / "words.json"

_TIERS = ("fast", "smart", "reasoning")
_ONLY = ("key", "lab", "model", "rule", "tier")
"""Names before the `=` of --only whose values are known."""
_CONFIG = "config/gateway.yaml"
_MOST = 100
"""Files of a configuration that are read: a press of a key must not take long."""


class Known(NamedTuple):
    """A word that may stand there; `file` leaves it to the shell."""

    text: str
    kind: Literal["plain", "file"] = "plain"
    about: str | None = None


def candidates(args: list[str], incomplete: str) -> list[Known]:
    """The words that may follow `args` and begin as what was typed."""
    table: dict[str, Any] = jsonio.loads(FILE.read_bytes())
    place, rest = _place(table, args)
    named = _named(args)
    kind = _awaited(place, rest)
    if kind is None and incomplete.startswith("--") and "=" in incomplete:
        option, _, begun = incomplete.partition("=")
        kind = place["options"].get(option)
        found = _values(kind, begun, named)
        return [one._replace(text=f"{option}={one.text}") if one.text else one for one in found]
    if kind is not None:
        return _values(kind, incomplete, named)
    if incomplete.startswith("-"):
        given = {arg for arg in rest if arg.startswith("-")}
        names = [name for name in place["options"] if name not in given or name in place["many"]]
        return [Known(name) for name in names if name.startswith(incomplete)]
    words = _plain(place, rest)
    if "commands" in place:
        return (
            []
            if words
            else [
                Known(name, about=one["about"])
                for name, one in place["commands"].items()
                if name.startswith(incomplete)
            ]
        )
    kinds = place["arguments"]
    at = min(len(words), len(kinds) - 1) if place["endless"] else len(words)
    return _values(kinds[at], incomplete, named) if at < len(kinds) else []


def _place(table: dict[str, Any], args: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The command that is being written, and what stands behind its name."""
    place, begin = table, 0
    for at, arg in enumerate(args):
        if arg.startswith("-") or _awaited(place, args[begin:at]) is not None:
            continue
        if (found := place.get("commands", {}).get(arg)) is None:
            break
        place, begin = found, at + 1
    return place, args[begin:]


def _awaited(place: dict[str, Any], rest: list[str]) -> str | None:
    """The kind of value that the option at the end waits for."""
    if not rest or not rest[-1].startswith("-"):
        return None
    return place["options"].get(rest[-1]) or None


def _plain(place: dict[str, Any], rest: list[str]) -> list[str]:
    """What of it are arguments."""
    return [
        word
        for at, word in enumerate(rest)
        if not word.startswith("-") and _awaited(place, rest[:at]) is None
    ]


def _values(kind: str | None, begun: str, named: str | None) -> list[Known]:
    if kind is None or kind == "text":
        return []
    if kind == "file":
        return [Known(begun, "file")]
    if kind == "config":
        return [*_configs(begun), Known(begun, "file")]
    if "|" in kind:
        return [Known(one) for one in kind.split("|") if one.startswith(begun)]
    if kind == "only":
        name, sign, start = begun.partition("=")
        if not sign:
            return [Known(f"{one}=") for one in _ONLY if one.startswith(begun)]
        found = _names(name, named) if name in _ONLY else ()
        return [Known(f"{name}={one}") for one in found if one.startswith(start)]
    *others, last = begun.split(",")  # lists take commas
    before = "".join(f"{one}," for one in others)
    found = _names(kind, named)
    return [Known(before + one) for one in found if one.startswith(last) and one not in others]


def _configs(begun: str) -> list[Known]:
    """What looks like a configuration, in the folder that was begun."""
    folder = Path(begun).parent if "/" in begun else Path()
    usual = [one for one in (_CONFIG, "gateway.yaml") if one.startswith(begun)]
    found = sorted(str(one) for one in folder.glob("*.y*ml") if str(one).startswith(begun))
    return [Known(one) for one in dict.fromkeys([*usual, *found]) if Path(one).is_file()]


def _named(args: list[str]) -> str | None:
    """The configuration that the line names."""
    for at, arg in enumerate(args):
        if arg == "--config" and at + 1 < len(args):
            return args[at + 1]
        if arg.startswith("--config="):
            return arg.partition("=")[2]
    return None


def _names(kind: str, named: str | None) -> list[str]:
    """Names of a kind; what cannot be read has none: nobody looks for an error behind a key."""
    look = _LOOKS.get(kind)
    if look is None:
        return []
    try:
        return [*dict.fromkeys(look(_parts(named)))]
    except Exception:  # noqa: BLE001 - whatever is wrong, `tiergate check` says it
        return []


def _parts(named: str | None) -> list[tuple[Path, dict[str, Any]]]:
    """The files of a configuration as they are written, nothing of it checked."""
    from gateway.settings import environ, yaml  # noqa: PLC0415 - most presses need neither
    from gateway.settings.place import find  # noqa: PLC0415

    first = find(named, environ.read(Path.cwd(), os.environ))
    waiting, found = [first], list[tuple[Path, dict[str, Any]]]()
    while waiting and len(found) < _MOST:
        file = waiting.pop()
        part: Any = yaml.read(file.read_text("utf-8"), str(file)).value
        if isinstance(part, dict):
            found.append((file, part))
            waiting += [one for text in part.get("include", ()) for one in _globbed(file, text)]
    return found


def _globbed(file: Path, text: str) -> list[Path]:
    if Path(text).is_absolute():
        return [*Path(Path(text).anchor).glob(str(Path(text).relative_to(Path(text).anchor)))]
    return sorted(file.parent.glob(text))


type _Parts = list[tuple[Path, dict[str, Any]]]


def _labs(parts: _Parts) -> Iterator[str]:
    for _, part in parts:
        yield from part.get("labs", {})


def _models(parts: _Parts) -> Iterator[str]:
    yield from ("auto", *_TIERS)
    for lab in _labs(parts):
        yield from (f"{lab}/{name}" for name in ("auto", *_TIERS))
    for _, part in parts:
        yield from part.get("aliases", {})
        for lab in part.get("labs", {}).values():
            for tier in _TIERS:
                yield from (one["model"] for one in lab.get(tier, ()))


def _rules(parts: _Parts) -> Iterator[str]:
    for _, part in parts:
        for kind in ("guards", "choices"):
            yield from (one["name"] for one in part.get(kind, ()))


def _keys(parts: _Parts) -> Iterator[str]:
    from gateway.settings import yaml  # noqa: PLC0415 - only where keys are asked for

    for file, part in parts:
        if (setting := part.get("keys", "open")) != "open":
            path = file.parent / setting
            known: Any = yaml.read(path.read_text("utf-8"), str(path)).value
            yield from known or ()
    for pair in re.split(r"\s*,\s*", os.environ.get("TIERGATE_KEYS", "")):
        if name := pair.partition("=")[0]:
            yield name


_LOOKS: dict[str, Callable[[_Parts], Iterator[str]]] = {
    "lab": _labs,
    "model": _models,
    "rule": _rules,
    "key": _keys,
    "tier": lambda _: iter(_TIERS),
}
