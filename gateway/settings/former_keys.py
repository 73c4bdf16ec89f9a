"""Former names of keys, and of values. They still work, with a warning that gives the new name."""

from collections.abc import Iterator
from typing import NamedTuple

from gateway.settings import yaml
from gateway.settings.errors import Path
from gateway.settings.includes import Locations
from gateway.settings.rule_hints import RULE_SECTIONS

_ROUTING_KEYS = {"shadow_share": "shadow_sample"}
_CONDITION_KEYS = {"turn": "kind"}
_NESTED_CONDITIONS = ("any", "all", "not")
_FORMER_VALUES: dict[tuple[str, str], tuple[str, str]] = {
    ("on_redis_loss", "local"): (
        "lease",
        "without Redis, calls under a hard budget get what is leased, and then a refusal",
    ),
}
"""Each former value of a key, with its new value and what that means."""


class RenamedValue(NamedTuple):
    """A value that a configuration writes under its former name."""

    path: Path
    former_value: str
    value: str
    effect: str

    @property
    def message(self) -> str:
        """The text of the warning."""
        return f"`{self.former_value}` is now `{self.value}`: {self.effect}."


class RenamedKey(NamedTuple):
    """A key that a configuration writes under its former name."""

    path: Path
    """The path of the key, under its new name."""
    former_name: str

    @property
    def message(self) -> str:
        """The text of the warning."""
        return f"was written as `{self.former_name}`, its former name: write `{self.path[-1]}`."


def rename_former_keys(raw: dict[str, yaml.Value], locations: Locations) -> list[RenamedKey]:
    """Rename former keys of a configuration in place, and return the keys renamed.

    A former key that stands beside its new name stays, and the schema refuses it as unknown.
    """
    renamed = [*_rename(raw.get("routing"), ("routing",), _ROUTING_KEYS)]
    for section in RULE_SECTIONS:
        rules = raw.get(section)
        for index, rule in enumerate(rules if isinstance(rules, list) else []):
            if isinstance(rule, dict):
                renamed += _rename_conditions(rule.get("when"), (section, index, "when"))
    for key in renamed:
        former_path = (*key.path[:-1], key.former_name)
        length = len(former_path)
        for path in [path for path in locations if path[:length] == former_path]:
            locations[(*key.path, *path[length:])] = locations.pop(path)
    return renamed


def rename_former_values(raw: dict[str, yaml.Value]) -> list[RenamedValue]:
    """Replace former values of a configuration in place, and return the values replaced."""
    renamed: list[RenamedValue] = []
    for (key, former_value), (value, effect) in _FORMER_VALUES.items():
        if raw.get(key) == former_value:
            raw[key] = value
            renamed.append(RenamedValue((key,), former_value, value, effect))
    return renamed


def _rename_conditions(when: yaml.Value, path: Path) -> Iterator[RenamedKey]:
    if not isinstance(when, dict):
        return
    yield from _rename(when, path, _CONDITION_KEYS)
    for name in _NESTED_CONDITIONS:
        nested = when.get(name)
        if isinstance(nested, list):
            for index, item in enumerate(nested):
                yield from _rename_conditions(item, (*path, name, index))
        else:
            yield from _rename_conditions(nested, (*path, name))


def _rename(part: yaml.Value, path: Path, new_names: dict[str, str]) -> Iterator[RenamedKey]:
    if not isinstance(part, dict):
        return
    for former_name, name in new_names.items():
        if former_name in part and name not in part:
            part[name] = part.pop(former_name)
            yield RenamedKey((*path, name), former_name)
