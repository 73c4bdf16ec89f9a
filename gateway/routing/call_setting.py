"""Find the setting of a call that guards, its header, a choice, its key and the file may set."""

from typing import NamedTuple

from gateway.core.call import Key
from gateway.routing.rules.compile import CompiledChoice


class SettingValues[T](NamedTuple):
    """The values of one setting; None where a source leaves it open."""

    guard: tuple[T, str] | None
    """The value of the first guard that sets one, and the guard's name."""
    header: T | None
    choice: T | None
    key: T | None
    default: T
    """The value under `routing` in the configuration."""


def find_setting[T](
    name: str, values: SettingValues[T], choice: CompiledChoice | None, key: Key
) -> tuple[T, str]:
    """Return the value that applies to a call, and its source. `choice` decided the call."""
    if values.guard is not None:
        return values.guard
    if values.header is not None:
        return values.header, f"x-tiergate-{name}"
    if choice is not None and values.choice is not None:
        return values.choice, choice.name
    if values.key is not None:
        return values.key, f"key {key.name}"
    return values.default, f"routing.{name}"
