"""Names in rules that do not exist: keys, tags, models and applications."""

import difflib
import re
from collections.abc import Iterator, Sequence

from gateway.core.call import OPEN_KEY, Key
from gateway.routing import client_detection
from gateway.routing.lint.subsumption import may_set
from gateway.routing.rules.patterns import compile_glob
from gateway.settings import model_names
from gateway.settings.errors import Mistake, Path, suggest_name
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.root import Config
from gateway.settings.schema.rules import WhenPart

_SIMILARITY_CUTOFF = 0.8
_WILDCARD = re.compile(r"[*?\[]")


def list_warnings(source: ConfigSource, keys: Sequence[Key] | None) -> Iterator[Mistake]:
    """Yield warnings about names that no call can have.

    `keys` are all keys; None if any key may call.
    """
    for rule_path, condition in list_conditions(source.config):
        for path, inner in walk_condition(rule_path, condition):
            yield from _check_requested_names(source, path, inner)
            yield from _check_clients(source, path, inner)
            if keys is not None:
                yield from _check_keys(source, path, inner, keys)
                yield from _check_tags(source, path, inner, keys)
    yield from _check_unread_tags(source, keys or ())


def _check_requested_names(
    source: ConfigSource, path: Path, condition: WhenPart
) -> Iterator[Mistake]:
    for name in condition.asked or ():
        if _needs_no_listing(source, name):
            continue
        matches = compile_glob([name])
        if not any(map(matches, model_names.list_all_names(source))):
            message = (
                f"no model or alias is called {name!r}: the gateway refuses calls that ask for it."
            )
            hint = suggest_name(
                name, model_names.list_common_names(source) | {*source.config.aliases}
            )
            yield source.make_mistake((*path, "asked"), message, hint, warn=True)


def _needs_no_listing(source: ConfigSource, name: str) -> bool:
    """Return True if a name, or some name of a pattern, is valid without a lab listing it."""
    families = list(source.config.routing.families)
    prefix, star, _ = name.partition("*")
    if not star:
        return model_names.is_provider_owned(source, name) or name.startswith(tuple(families))
    owned_patterns = [
        pattern for provider in source.config.providers.values() for pattern in provider.names
    ]
    known_prefixes = [
        *families,
        *(_WILDCARD.split(item, maxsplit=1)[0] for item in owned_patterns if item[:1] != "!"),
    ]
    return any(item.startswith(prefix) or prefix.startswith(item) for item in known_prefixes)


def _check_clients(source: ConfigSource, path: Path, condition: WhenPart) -> Iterator[Mistake]:
    for name in condition.client or ():
        matches = compile_glob([name])
        if not matches("") and not any(map(matches, client_detection.CLIENT_NAMES)):
            message = f"no application is known as {name!r}."
            yield source.make_mistake(
                (*path, "client"),
                message,
                suggest_name(name, client_detection.CLIENT_NAMES),
                warn=True,
            )


def _check_keys(
    source: ConfigSource, path: Path, condition: WhenPart, keys: Sequence[Key]
) -> Iterator[Mistake]:
    key_names = [key.name for key in keys]
    for name in condition.key or ():
        if any(map(compile_glob([name]), key_names)):
            continue
        if key_names == [OPEN_KEY.name]:
            message = f"no key is called {name!r}: keys are open, as {OPEN_KEY.name!r}."
            yield source.make_mistake((*path, "key"), message, warn=True)
        else:
            message = f"no key is called {name!r}."
            yield source.make_mistake(
                (*path, "key"), message, suggest_name(name, key_names), warn=True
            )


def _check_tags(
    source: ConfigSource, path: Path, condition: WhenPart, keys: Sequence[Key]
) -> Iterator[Mistake]:
    guard_tags = {tag for guard in source.config.guards for tag in guard.tag or ()}
    for tag in condition.tag or ():
        if tag not in guard_tags and not any(may_set(key, tag) for key in keys):
            message = f"no key may send the tag {tag!r}, and no guard sets it."
            sendable_tags = {
                sent_tag for key in keys for sent_tag in (*key.tags, *(key.allowed_tags or ()))
            }
            yield source.make_mistake(
                (*path, "tag"), message, suggest_name(tag, guard_tags | sendable_tags), warn=True
            )


def _check_unread_tags(source: ConfigSource, keys: Sequence[Key]) -> Iterator[Mistake]:
    """Yield tags that a guard sets and nothing reads, while a rule reads a similar unset tag.

    A tag without a similar one is fine: the ledger may be its only reader.
    """
    config = source.config
    read_tags = {
        read_tag
        for _, condition in list_conditions(config)
        for _, inner in walk_condition((), condition)
        for read_tag in inner.tag or ()
    }
    limit_tags = {tag for item in (*config.limits, *config.budgets) for tag in item.tag or ()}
    guard_tags = {tag for guard in config.guards for tag in guard.tag or ()}
    unset_tags = read_tags - guard_tags - {tag for key in keys for tag in key.tags}
    for index, guard in enumerate(config.guards):
        for tag in guard.tag or ():
            close_matches = difflib.get_close_matches(
                tag, sorted(unset_tags), n=1, cutoff=_SIMILARITY_CUTOFF
            )
            if tag not in read_tags | limit_tags and close_matches:
                message = f"sets {tag!r}, which no rule reads."
                hint = f"Did you mean {close_matches[0]!r}?"
                yield source.make_mistake(("guards", index, "tag"), message, hint, warn=True)


def list_conditions(config: Config) -> Iterator[tuple[Path, WhenPart]]:
    """Yield the conditions of all rules, each with its path."""
    for index, guard in enumerate(config.guards):
        yield ("guards", index, "when"), guard.when
    for index, choice in enumerate(config.choices):
        yield ("choices", index, "when"), choice.when


def walk_condition(path: Path, condition: WhenPart) -> Iterator[tuple[Path, WhenPart]]:
    """Yield a condition and all conditions inside it, each with its path."""
    yield path, condition
    for name, children in (("any", condition.any), ("all", condition.all)):
        for index, item in enumerate(children or ()):
            yield from walk_condition((*path, name, index), item)
    if condition.not_ is not None:
        yield from walk_condition((*path, "not"), condition.not_)
