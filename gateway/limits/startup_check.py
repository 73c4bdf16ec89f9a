"""A check at start for limits that several workers would each count by themselves."""

from collections.abc import Iterable, Mapping

from gateway.core.call import Key
from gateway.settings.errors import Mistake
from gateway.settings.loader import ConfigSource


def find_unshared_limits(
    source: ConfigSource, keys: Iterable[Key], workers: int, environ: Mapping[str, str]
) -> list[Mistake]:
    """Return the mistakes that keep this many workers from starting without a shared store.

    Limits and budgets need one: a budget that four workers count apart is four budgets.
    """
    if workers < 2 or environ.get("REDIS_URL"):
        return []
    config = source.config
    hint = "Set REDIS_URL, or serve with --workers 1."
    template = f"{workers} workers would each count {{}} by themselves."
    mistakes = [
        source.make_mistake((name,), template.format(name), hint)
        for name, parts in (("limits", config.limits), ("budgets", config.budgets))
        if parts
    ]
    if not mistakes and any(key.limits or key.budgets for key in keys):
        message = template.format("limits and budgets of keys")
        mistakes.append(source.make_mistake(("keys",), message, hint))
    return mistakes


def explain_unshared_keys(workers: int, environ: Mapping[str, str]) -> str:
    """Return why no key may get limits: the next start would fail. Empty if keys may."""
    if workers < 2 or environ.get("REDIS_URL"):
        return ""
    return (
        f"{workers} workers would each count limits and budgets of keys by themselves. "
        "Set REDIS_URL, or serve with --workers 1."
    )
