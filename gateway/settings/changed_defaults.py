"""Defaults that have changed, and the setting that brings each old one back.

A note names each changed default that affects a configuration: one that leaves the key unset and
uses what the key controls. A configuration that sets the key, to either value, gets no note.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
from pydantic import BaseModel

from gateway.settings.errors import Path, format_path
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.root import Config


class ChangedDefault(NamedTuple):
    """A key whose default has changed."""

    path: Path
    new_behaviour: str
    old_setting: str
    """The setting that brings the old behaviour back."""
    applies_to: Callable[[Config], bool] = lambda _: True
    """True if a configuration uses what the key is for."""


class ChangedDefaultNote(msgspec.Struct, frozen=True):
    """A changed default that affects a configuration."""

    path: str
    file: str
    line: int | None
    now: str
    before: str
    """The setting that brings the old behaviour back."""

    def __str__(self) -> str:
        location = f"{self.file}:{self.line}" if self.line is not None else self.file
        return f"{location}: {self.path} is now {self.now}. As before: `{self.before}`."


CHANGED_DEFAULTS = (
    ChangedDefault(
        ("cache", "default"),
        "`deterministic`: embeddings, and chat at temperature 0 without tools",
        "cache: {default: on}",
        lambda config: config.cache.ttl > 0,
    ),
    ChangedDefault(
        ("routing", "conversation"),
        "`cost-aware`: each user turn is decided anew",
        "routing: {conversation: sticky}",
        lambda config: config.routing.classifier != "off",
    ),
    ChangedDefault(
        ("retry", "preferred_wait"),
        "`3s`: a call waits for a preferred target that names a time",
        "retry: {preferred_wait: 0s}",
    ),
    ChangedDefault(
        ("retry", "preferred_again"),
        "`1`: the preferred target is asked once more",
        "retry: {preferred_again: 0}",
    ),
    ChangedDefault(
        ("responses", "foreign"),
        "`refuse` where keys exist: an earlier answer that the gateway has not stored is not found",
        "responses: {foreign: pass}",
        lambda config: config.responses.ttl <= 0 and config.keys.store != "open",
    ),
    ChangedDefault(
        ("passthrough", "foreign"),
        "`refuse`: a file or other object that no key has made through the gateway is not found",
        "passthrough: {foreign: pass}",
    ),
    ChangedDefault(
        ("server", "max_values"),
        "`200000`: a body with more JSON values is refused",
        "server: {max_values: 32000000}",
    ),
    ChangedDefault(
        ("server", "hosts"),
        "empty: names of this machine alone may stand in `Host` while keys are open",
        'server: {hosts: "*"}',
        lambda config: config.server.open and config.keys.store == "open",
    ),
    ChangedDefault(
        ("server", "cors"),
        "empty: no web page of another origin may call",
        'server: {cors: "*"}',
        lambda config: config.server.open and config.keys.store == "open",
    ),
    ChangedDefault(
        ("metrics", "open"),
        "`false`: /metrics asks for an admin key where keys exist",
        "metrics: {open: true}",
        lambda config: config.keys.store != "open",
    ),
)

_PER_PATH = ("per",)
_OLD_PER_VALUES = {"all": "tenant", "tag": "[tenant, tag]", "tier": "[tenant, tier]"}
"""Values of `per` that once counted each tenant alone, and how to write that now."""


def find_notes(
    source: ConfigSource, *, several_tenants: bool = False
) -> Iterator[ChangedDefaultNote]:
    """Yield a note for each changed default that affects a configuration and is left unset.

    `several_tenants`: True if the keys that may call belong to more than one tenant.
    """
    config = source.config
    for changed in CHANGED_DEFAULTS:
        if changed.applies_to(config) and not _is_written(config, changed.path):
            yield _make_note(source, changed.path, changed.new_behaviour, changed.old_setting)
    if several_tenants:
        for kind, parts in (("limits", config.limits), ("budgets", config.budgets)):
            for index, count_part in enumerate(parts):
                if count_part.per in _OLD_PER_VALUES and not (
                    count_part.per == "all" and _is_written(count_part, _PER_PATH)
                ):
                    old_setting = f"per: {_OLD_PER_VALUES[count_part.per]}"
                    yield _make_note(
                        source,
                        (kind, index, *_PER_PATH),
                        "one for all tenants together",
                        old_setting,
                    )


def _make_note(
    source: ConfigSource, path: Path, new_behaviour: str, old_setting: str
) -> ChangedDefaultNote:
    """Return a note at a key that the configuration does not set."""
    mistake = source.make_mistake(path, "")
    return ChangedDefaultNote(
        format_path(path), mistake.file, mistake.line, new_behaviour, old_setting
    )


def _is_written(section: BaseModel, path: Path) -> bool:
    """Return True if a configuration sets the key at a path."""
    for step in path:
        if step not in section.model_fields_set:
            return False
        value = getattr(section, str(step))
        if not isinstance(value, BaseModel):
            return True
        section = value
    return True
