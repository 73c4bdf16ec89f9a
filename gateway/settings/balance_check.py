"""Errors and warnings about equals: groups of targets, and the replicas of a provider."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from urllib.parse import urlsplit

from gateway.core.target import Tier
from gateway.settings.catalogue import find_model
from gateway.settings.errors import Mistake, Path, suggest_name
from gateway.settings.lifecycle_warnings import list_targets
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.root import ProviderPart, TargetPart

_NO_FACTS = frozenset({"like", "price", "retires", "successor", "note"})
"""Keys of a model that may differ among equals."""

type _Group = list[tuple[Path, str, TargetPart]]
"""The targets of a group, each with its path and provider."""


def find_errors(source: ConfigSource) -> Iterator[Mistake]:
    """Yield errors in `replicas`, and in groups whose targets stand apart or do not exist."""
    for name, provider_part in source.config.providers.items():
        if provider_part.replicas:
            yield from _check_replicas(source, ("providers", name), provider_part)
    groups = _list_groups(source)
    for (_, _, group), targets in groups.items():
        for (path, _, _), (next_path, _, _) in pairwise(targets):
            if _get_index(next_path) != _get_index(path) + 1:
                message = f"stands apart from the other targets of the group {group!r}."
                hint = "Put equal targets one after another."
                yield source.make_mistake((*next_path, "group"), message, hint)
    for lab, lab_part in source.config.labs.items():
        used_names = {group for item_lab, _, group in groups if item_lab == lab}
        for group in lab_part.groups:
            if group not in used_names:
                message = f"no target has the group {group!r}."
                hint = suggest_name(group, used_names)
                yield source.make_mistake(("labs", lab, "groups", group), message, hint)


def _check_replicas(
    source: ConfigSource, path: Path, provider_part: ProviderPart
) -> Iterator[Mistake]:
    for index, url in enumerate(provider_part.replicas):
        replica_path = (*path, "replicas", index)
        if not _has_host(url):
            yield source.make_mistake(replica_path, "must be a URL of http:// or https://.")
        elif url.rstrip("/") in [item.rstrip("/") for item in provider_part.replicas[:index]]:
            yield source.make_mistake(replica_path, "is given twice.")
    for key, value in (
        ("command", provider_part.command),
        ("realtime", provider_part.realtime),
    ):
        if value:
            message = f"does not go with `{key}`."
            yield source.make_mistake((*path, "replicas"), message, f"Leave out `{key}`.")
    if len(provider_part.accounts) > 1:
        message = "goes with one account: each replica takes the same credential."
        yield source.make_mistake((*path, "replicas"), message)
    paths: list[tuple[Path, str]] = [
        (("embeddings",), provider_part.embeddings or ""),
        *((("dialects", name), url) for name, url in provider_part.dialects.items()),
        *((("endpoints", name), url) for name, url in provider_part.endpoints.items()),
    ]
    for key_path, url in paths:
        if "://" in url:
            message = "must be a path: each replica has its own address."
            yield source.make_mistake((*path, *key_path), message)


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def find_warnings(source: ConfigSource) -> Iterator[Mistake]:
    """Yield warnings about groups that are none, and equals that differ."""
    for (_, _, group), targets in _list_groups(source).items():
        first_path, *_ = targets[0]
        if len(targets) == 1:
            message = f"is the only target of the group {group!r}."
            yield source.make_mistake((*first_path, "group"), message, warn=True)
        for path, provider, target in targets[1:]:
            difference = _find_difference(source, targets[0], (path, provider, target))
            if difference:
                message = f"{difference} The gateway takes targets of a group for equal."
                yield source.make_mistake((*path, "group"), message, warn=True)
    for path, _, _, _, target in list_targets(source):
        if target.group is None and target.weight is not None:
            message = "has no effect: the target has no `group`."
            yield source.make_mistake((*path, "weight"), message, warn=True)
    for name, provider_part in source.config.providers.items():
        count = max(len(provider_part.replicas), len(provider_part.accounts))
        if provider_part.balance is not None and count < 2:
            message = "has no effect: there is one account."
            yield source.make_mistake(("providers", name, "balance"), message, warn=True)


def _list_groups(source: ConfigSource) -> dict[tuple[str, Tier, str], _Group]:
    """Return the targets of each group, by lab, tier and name."""
    groups: dict[tuple[str, Tier, str], _Group] = {}
    for path, lab, tier, provider, target in list_targets(source):
        if target.group is not None:
            groups.setdefault((lab, tier, target.group), []).append((path, provider, target))
    return groups


def _get_index(path: Path) -> int:
    return int(path[-1])


def _find_difference(
    source: ConfigSource,
    first: tuple[Path, str, TargetPart],
    other: tuple[Path, str, TargetPart],
) -> str:
    """Say in what another target differs from the first of its group; empty if in nothing."""
    (_, first_provider, first_target), (_, provider, target) = first, other
    first_name = f"{first_provider}/{first_target.model}"
    if target.effort != first_target.effort:
        return f"its effort is not that of {first_name}."
    first_facts = _read_facts(source, first_provider, first_target.model)
    facts = _read_facts(source, provider, target.model)
    for key in {**first_facts, **facts}:
        if first_facts.get(key) != facts.get(key):
            return f"its `{key}` is not that of {first_name}."
    if not facts and target.model != first_target.model:
        return f"nothing says that {target.model} is {first_target.model}."
    return ""


def _read_facts(source: ConfigSource, provider: str, model: str) -> Mapping[str, object]:
    model_part = find_model(source.config.models, provider, model)
    if model_part is None:
        return {}
    return model_part.model_dump(exclude=set(_NO_FACTS), exclude_none=True)
