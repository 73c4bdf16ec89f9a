"""Differences between two configurations, in words. They never show a credential."""

from collections.abc import Iterator, Mapping
from typing import cast
from urllib.parse import urlsplit

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.settings.catalogue import BuiltCatalogue
from gateway.settings.errors import Path, format_path
from gateway.settings.loader import ConfigSource, find_inner_schema
from gateway.settings.schema.root import Config

_MAX_SHOWN_CHARS = 120
"""The most characters of a value that a change shows."""
_HIDDEN = "(not shown)"
_NAMED_LISTS = ("guards", "choices", "limits", "budgets")
"""Lists whose items have names. Items with different names are different items."""
_STARTUP_PATHS: tuple[Path, ...] = (
    ("server",), ("keys",), ("metrics",), ("redis",), ("traces",), ("otlp",),
    ("cache", "max_bytes"),
    ("ledger", "journal"), ("ledger", "store"), ("ledger", "content"), ("ledger", "redact"),
    ("ledger", "sinks"), ("ledger", "deliver_on_stop"),
)  # fmt: skip
"""Settings that a running gateway cannot change."""
_STORE_PATH: Path = ("ledger", "store")
"""The address of the ledger store, which may contain a password."""
_KEYS_PATH: Path = ("keys", "store")
"""The file of keys, or the address of their database, which may contain a password."""


class ConfigChange(msgspec.Struct, frozen=True):
    """One part of a configuration that differs."""

    path: str
    before: str | None
    """The value in YAML without credentials; None if the part did not exist."""
    after: str | None
    waits: bool = False
    """True if the change takes effect only at the next start of the gateway."""

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.path}: added, {self.after}"
        if self.after is None:
            return f"{self.path}: gone, was {self.before}"
        if self.before == self.after:
            preposition = "" if self.after == _HIDDEN else "of "
            return f"{self.path}: another value {preposition}{self.after}"
        return f"{self.path}: {self.before} -> {self.after}"


def list_changes(old_source: ConfigSource, new_source: ConfigSource) -> list[ConfigChange]:
    """Return all parts that differ, in the order of the schema."""
    differences = _find_differences(
        (), _dump_config(old_source.config), _dump_config(new_source.config)
    )
    return [
        ConfigChange(
            format_path(path),
            _format_value(path, old, old_source),
            _format_value(path, new, new_source),
            waits=any(path[: len(startup_path)] == startup_path for startup_path in _STARTUP_PATHS),
        )
        for path, old, new in differences
    ]


def keep_startup_settings(started: Config, current: Config) -> Config:
    """Return a configuration whose startup settings are those with which the gateway started."""
    result = current
    for path in _STARTUP_PATHS:
        top, *names = map(str, path)
        section = getattr(started, top)
        for name in names:
            section = getattr(result, top).model_copy(update={name: getattr(section, name)})
        result = result.model_copy(update={top: section})
    return result


def list_switched_labs(
    old_catalogue: BuiltCatalogue, new_catalogue: BuiltCatalogue
) -> list[ConfigChange]:
    """Return the labs that a change has turned on or off, with the reasons."""
    old_labs, new_labs = old_catalogue.catalogue.labs, new_catalogue.catalogue.labs

    def describe_state(enabled: bool, reason: str) -> str:  # noqa: FBT001 - the two parts of one state
        return "on" if enabled else f"off ({reason})"

    return [
        ConfigChange(
            f"lab {name}",
            describe_state(old_labs[name].enabled, old_labs[name].disabled_reason),
            describe_state(lab.enabled, lab.disabled_reason),
        )
        for name, lab in new_labs.items()
        if name in old_labs and old_labs[name].enabled != lab.enabled
    ]


def _dump_config(config: Config) -> Json:
    return cast("Json", config.model_dump(by_alias=True))


def _find_differences(
    path: Path, old: object, new: object
) -> Iterator[tuple[Path, object, object]]:
    """Yield the path, old value and new value of each of the smallest parts that differ.

    A part that is new or gone counts as one.
    """
    if old == new:
        return
    is_named_list = len(path) == 1 and path[0] in _NAMED_LISTS
    if is_named_list:
        old, new = _index_by_name(old), _index_by_name(new)
    if isinstance(old, dict) and isinstance(new, dict) and (is_named_list or (old and new)):
        for name in {**old, **new}:
            yield from _find_differences((*path, name), old.get(name), new.get(name))
        if is_named_list and _is_reordered(list(old), list(new)):
            yield (*path, "order"), list(old), list(new)
    elif (
        isinstance(old, list)
        and isinstance(new, list)
        and _contains_mappings(old)
        and len(old) == len(new)
    ):
        for index, (old_item, new_item) in enumerate(zip(old, new, strict=True)):
            yield from _find_differences((*path, index), old_item, new_item)
    else:
        yield path, old, new


def _is_reordered(old_names: list[str], new_names: list[str]) -> bool:
    """Return True if the names that both lists have stand in another order."""
    return [name for name in old_names if name in new_names] != [
        name for name in new_names if name in old_names
    ]


def _contains_mappings(items: list[object]) -> bool:
    return any(isinstance(item, dict) for item in items)


def _index_by_name(items: object) -> dict[str, object]:
    """Return the items of a list by name; a repeated name gets a number."""
    items_by_name: dict[str, object] = {}
    for item in cast("list[dict[str, object]]", items):
        name, number = str(item["name"]), 2
        while name in items_by_name:
            name, number = f"{item['name']} ({number})", number + 1
        items_by_name[name] = item
    return items_by_name


def _format_value(path: Path, value: object, source: ConfigSource) -> str | None:
    """Return a value as people write it; None if it is None."""
    if value is None:
        return None
    text = jsonio.dumps(_redact_value(path, value, source)).decode()
    text = text[1:-1] if text.startswith('"') else text
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}..."


def _redact_value(path: Path, value: object, source: ConfigSource) -> Json:
    """Return a value without credentials."""
    is_database = path == _KEYS_PATH and "://" in str(value)
    if value and (path == _STORE_PATH or is_database or _is_secret(path)):
        return _HIDDEN
    if isinstance(value, Mapping):
        parts = {
            str(name): _HIDDEN
            if item and _is_secret((*path, name))
            else _redact_value((*path, name), item, source)
            for name, item in value.items()
        }
        return {name: item for name, item in parts.items() if item not in (None, "", [], {})}
    if isinstance(value, list):
        return [_redact_value((*path, index), item, source) for index, item in enumerate(value)]
    if isinstance(value, str):
        return source.expanded_strings.get(value) or _strip_url(value)
    return value if isinstance(value, int | float | bool | None) else str(value)


def _strip_url(text: str) -> str:
    """Return a text; a URL loses its credentials, query and fragment."""
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return _HIDDEN


def _is_secret(path: Path) -> bool:
    """Return True if the schema hides this part, or a part that contains it (`repr=False`)."""
    model: object = Config
    for step in path:
        fields = getattr(model, "model_fields", {})
        field = next(
            (candidate for name, candidate in fields.items() if step in (name, candidate.alias)),
            None,
        )
        if field is not None and not field.repr:
            return True
        model = find_inner_schema(model, step)
    return False
