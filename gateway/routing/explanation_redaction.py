"""Hides labs, models and providers in an explanation for a key that may not use them.

The ledger keeps decisions whole, for the operator.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from gateway.core.call import Key
from gateway.core.jsonio import Json
from gateway.core.target import Catalogue, Lab, Target
from gateway.routing import capabilities

_PLACEHOLDER = "(hidden)"


def redact_explanation(
    explanation: Mapping[str, Json], catalogue: Catalogue, key: Key
) -> dict[str, Json]:
    """Return an explanation without the names that a key may not use."""
    names = find_hidden_names(catalogue, key)
    if not names:
        return dict(explanation)
    alternatives = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    pattern = re.compile(rf"(?<![\w.-])(?:{alternatives})(?![\w-])")
    redacted = {
        name: _mask_names(explanation[name], pattern) for name in ("trace", "switch", "skipped")
    }
    return {**explanation, **redacted}


def find_hidden_names(catalogue: Catalogue, key: Key) -> set[str]:
    """Return the names of labs, models, targets and providers that a key may not use."""
    if key.labs is None and key.models is None and key.regions is None:
        return set()
    visible_names: set[str] = set()
    all_names: set[str] = set()
    for lab in catalogue.labs.values():
        usable_targets = [
            target for target in _list_targets(lab) if capabilities.may_use(key, lab.name, target)
        ]
        all_names |= {lab.name, *_list_names(_list_targets(lab))}
        visible_names |= {lab.name, *_list_names(usable_targets)} if usable_targets else set()
    return all_names - visible_names


def _list_targets(lab: Lab) -> Iterator[Target]:
    for targets in lab.tiers.values():
        yield from targets
    yield from lab.embeddings


def _list_names(targets: Iterable[Target]) -> Iterator[str]:
    for target in targets:
        yield from (target.model, target.name, target.provider.name)


def _mask_names(value: Json, pattern: re.Pattern[str]) -> Json:
    """Return a value with a placeholder for each name that a pattern finds."""
    if isinstance(value, str):
        return pattern.sub(_PLACEHOLDER, value)
    if isinstance(value, list):
        return [_mask_names(item, pattern) for item in value]
    if isinstance(value, dict):
        return {name: _mask_names(item, pattern) for name, item in value.items()}
    return value
