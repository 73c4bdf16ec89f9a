"""What one configuration changes of another, in words; a credential is never among them."""

from collections.abc import Iterator, Mapping
from typing import cast
from urllib.parse import urlsplit

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.settings.catalogue import BuiltCatalogue
from gateway.settings.errors import Path, written
from gateway.settings.loader import ConfigSource, inside
from gateway.settings.schema.root import Config

_LONG = 120
"""Characters of a value that are shown."""
_HIDDEN = "(not shown)"
_NAMED = ("guards", "choices", "limits", "budgets")
"""Lists whose items have names: one of another name is another."""
_LASTING: tuple[Path, ...] = (
    ("server",), ("keys",), ("metrics",), ("redis",), ("traces",), ("cache", "max_bytes"),
    ("ledger", "journal"), ("ledger", "store"), ("ledger", "content"), ("ledger", "redact"),
)  # fmt: skip
"""What a running gateway cannot change."""
_STORE: Path = ("ledger", "store")
"""Its address may have a password."""


class ConfigChange(msgspec.Struct, frozen=True):
    """One part that is another."""

    path: str
    before: str | None
    """As it is written in YAML, credentials left out; None where it was not there."""
    after: str | None
    waits: bool = False
    """Takes effect when the gateway is started anew."""

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.path}: added, {self.after}"
        if self.after is None:
            return f"{self.path}: gone, was {self.before}"
        if self.before == self.after:
            of = "" if self.after == _HIDDEN else "of "
            return f"{self.path}: another value {of}{self.after}"
        return f"{self.path}: {self.before} -> {self.after}"


def changes(before: ConfigSource, after: ConfigSource) -> list[ConfigChange]:
    """All parts that are others, in the order of the schema."""
    found = _differ((), _value(before.config), _value(after.config))
    return [
        ConfigChange(
            written(path),
            _shown(path, was, before),
            _shown(path, now, after),
            waits=any(path[: len(one)] == one for one in _LASTING),
        )
        for path, was, now in found
    ]


def lasting(first: Config, now: Config) -> Config:
    """A configuration with what a running gateway cannot change as it was at its start."""
    found = now
    for path in _LASTING:
        top, *more = map(str, path)
        part = getattr(first, top)
        for name in more:
            part = getattr(found, top).model_copy(update={name: getattr(part, name)})
        found = found.model_copy(update={top: part})
    return found


def switched(before: BuiltCatalogue, after: BuiltCatalogue) -> list[ConfigChange]:
    """Labs that a change has turned on or off, in words of their own."""
    was, now = before.catalogue.labs, after.catalogue.labs

    def word(on: bool, why: str) -> str:  # noqa: FBT001 - the two parts of one state
        return "on" if on else f"off ({why})"

    return [
        ConfigChange(f"lab {name}", word(was[name].on, was[name].why), word(lab.on, lab.why))
        for name, lab in now.items()
        if name in was and was[name].on != lab.on
    ]


def _value(config: Config) -> Json:
    return cast("Json", config.model_dump(by_alias=True))


def _differ(path: Path, was: object, now: object) -> Iterator[tuple[Path, object, object]]:
    """The smallest parts that differ; a part that is new or gone is one."""
    if was == now:
        return
    named = len(path) == 1 and path[0] in _NAMED
    if named:
        was, now = _by_name(was), _by_name(now)
    if isinstance(was, dict) and isinstance(now, dict) and (named or (was and now)):
        for name in {**was, **now}:
            yield from _differ((*path, name), was.get(name), now.get(name))
        if named and _moved(list(was), list(now)):
            yield (*path, "order"), list(was), list(now)
    elif isinstance(was, list) and isinstance(now, list) and _deep(was) and len(was) == len(now):
        for at, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from _differ((*path, at), one, other)
    else:
        yield path, was, now


def _moved(was: list[str], now: list[str]) -> bool:
    """Whether those that are in both stand in another order."""
    return [one for one in was if one in now] != [one for one in now if one in was]


def _deep(items: list[object]) -> bool:
    return any(isinstance(one, dict) for one in items)


def _by_name(items: object) -> dict[str, object]:
    """The items of a list by their names; one of a name that was there gets a number too."""
    found: dict[str, object] = {}
    for one in cast("list[dict[str, object]]", items):
        name, more = str(one["name"]), 2
        while name in found:
            name, more = f"{one['name']} ({more})", more + 1
        found[name] = one
    return found


def _shown(path: Path, value: object, source: ConfigSource) -> str | None:
    """A value as people write it."""
    if value is None:
        return None
    text = jsonio.dumps(_open(path, value, source)).decode()
    text = text[1:-1] if text.startswith('"') else text
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def _open(path: Path, value: object, source: ConfigSource) -> Json:
    """A value without what nobody is to see."""
    if value and (path == _STORE or _secret(path)):
        return _HIDDEN
    if isinstance(value, Mapping):
        parts = {
            str(name): _HIDDEN
            if one and _secret((*path, name))
            else _open((*path, name), one, source)
            for name, one in value.items()
        }
        return {name: one for name, one in parts.items() if one not in (None, "", [], {})}
    if isinstance(value, list):
        return [_open((*path, at), one, source) for at, one in enumerate(value)]
    if isinstance(value, str):
        return source.filled.get(value) or _plain(value)
    return value if isinstance(value, int | float | bool | None) else str(value)


def _plain(text: str) -> str:
    """A text; of a URL neither who asks nor what."""
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return _HIDDEN


def _secret(path: Path) -> bool:
    """Whether the schema does not show this part, or one that it is in."""
    model: object = Config
    for part in path:
        fields = getattr(model, "model_fields", {})
        field = next((one for name, one in fields.items() if part in (name, one.alias)), None)
        if field is not None and not field.repr:
            return True
        model = inside(model, part)
    return False
