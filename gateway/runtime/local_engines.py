"""The local engines of a configuration, which outlive it where their commands stay the same."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from gateway.core.target import Provider
from gateway.runtime.revision import Revision
from gateway.upstream.local_engine import LocalEngine


def make_local_engines(
    providers: Iterable[Provider],
    old_engines: Mapping[str, LocalEngine],
    folder: Path,
    log: Callable[[str], None],
) -> dict[str, LocalEngine]:
    """Return local engines by provider; an old engine whose command is unchanged keeps running.

    Each writes its output into a file of the folder.
    """
    provider_list = [*providers]
    secrets = [account.secret for provider in provider_list for account in provider.accounts]
    engines: dict[str, LocalEngine] = {}
    for provider in provider_list:
        if not provider.enabled or not provider.command:
            continue
        engine = old_engines.get(provider.name)
        if engine is None or engine.provider.command != provider.command:
            engine = LocalEngine(provider, folder / f"{provider.name}.log", log, secrets=secrets)
        engines[provider.name] = engine
    return engines


def list_local_engines(revisions: Iterable[Revision]) -> set[LocalEngine]:
    """Return the local engines that some revisions use."""
    return {engine for revision in revisions for engine in revision.local_engines.values()}
