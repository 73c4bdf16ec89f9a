"""Find the setting of a call that guards, its header, a choice, its key and the file may set."""

from gateway.routing.features import Features
from gateway.routing.rules.compile import CompiledChoice


def find_setting[T](
    name: str,
    guard: tuple[T, str] | None,
    call: Features,
    choice: CompiledChoice | None,
    default: T,
) -> tuple[T, str]:
    """Return the value that applies to a call, and its source.

    `name` is the setting's name in the header, in a choice, at the key and under `routing` in the
    configuration. Each of them has None where it leaves the setting open. `guard` is the value of
    the first guard that sets one, and the guard's name. `choice` decided the call. `default` is the
    value under `routing`.
    """
    if guard is not None:
        return guard
    value: T | None = getattr(call.options, name)
    if value is not None:
        return value, f"x-tiergate-{name}"
    value = None if choice is None else getattr(choice, name)
    if choice is not None and value is not None:
        return value, choice.name
    value = getattr(call.key, name)
    if value is not None:
        return value, f"key {call.key.name}"
    return default, f"routing.{name}"
