"""Hides labs, models and providers in an explanation for a key that may not use them.

The ledger keeps decisions whole, for the operator.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from gateway.core.call import Key
from gateway.core.jsonio import Json
from gateway.core.target import Catalogue, Lab, Target
from gateway.routing import capabilities

_IN_PLACE = "(hidden)"


def veil(told: Mapping[str, Json], catalogue: Catalogue, key: Key) -> dict[str, Json]:
    """Return an explanation in which every name is hidden that a key may not use."""
    names = hidden(catalogue, key)
    if not names:
        return dict(told)
    longest = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    pattern = re.compile(rf"(?<![\w.-])(?:{longest})(?![\w-])")
    parts = {name: _masked(told[name], pattern) for name in ("trace", "switch", "skipped")}
    return {**told, **parts}


def hidden(catalogue: Catalogue, key: Key) -> set[str]:
    """Return the names of labs, models, targets and providers that a key may not use."""
    if key.labs is None and key.models is None and key.regions is None:
        return set()
    seen: set[str] = set()
    every: set[str] = set()
    for lab in catalogue.labs.values():
        mine = [one for one in _targets(lab) if capabilities.may_use(key, lab.name, one)]
        every |= {lab.name, *_names(_targets(lab))}
        seen |= {lab.name, *_names(mine)} if mine else set()
    return every - seen


def _targets(lab: Lab) -> Iterator[Target]:
    for targets in lab.tiers.values():
        yield from targets
    yield from lab.embeddings


def _names(targets: Iterable[Target]) -> Iterator[str]:
    for target in targets:
        yield from (target.model, target.name, target.provider.name)


def _masked(value: Json, pattern: re.Pattern[str]) -> Json:
    """Return a value without the names that a pattern finds."""
    if isinstance(value, str):
        return pattern.sub(_IN_PLACE, value)
    if isinstance(value, list):
        return [_masked(one, pattern) for one in value]
    if isinstance(value, dict):
        return {name: _masked(one, pattern) for name, one in value.items()}
    return value
