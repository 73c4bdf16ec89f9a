"""Find the setting of a call that guards, its header, a choice, its key and the file may set."""

from gateway.core.call import Key
from gateway.routing.rules.compile import CompiledChoice


def find_setting[T](
    name: str,
    *,
    guard: tuple[T, str] | None,
    header: T | None,
    choice: CompiledChoice | None,
    choice_value: T | None,
    key: Key,
    key_value: T | None,
    default: T,
) -> tuple[T, str]:
    """Return the value that applies to a call, and its source.

    Each value is None where its source leaves the setting open. `guard` is the value of the first
    guard that sets one, and the guard's name. `choice` decided the call. `default` is the value
    under `routing` in the configuration.
    """
    if guard is not None:
        return guard
    if header is not None:
        return header, f"x-tiergate-{name}"
    if choice is not None and choice_value is not None:
        return choice_value, choice.name
    if key_value is not None:
        return key_value, f"key {key.name}"
    return default, f"routing.{name}"
