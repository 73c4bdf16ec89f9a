"""Names in rules that nobody has: keys, tags and models of which there are none."""

import difflib
import re
from collections.abc import Iterator, Sequence

from gateway.core.call import OPEN, Key
from gateway.routing import client_detection
from gateway.routing.lint.subsumption import may_set
from gateway.routing.rules.patterns import glob
from gateway.settings import model_names
from gateway.settings.errors import Mistake, Path, nearest
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.root import Config
from gateway.settings.schema.rules import WhenPart

_ALIKE = 0.8
_WILD = re.compile(r"[*?\[]")


def warnings(source: ConfigSource, keys: Sequence[Key] | None) -> Iterator[Mistake]:
    """Names that no call can have; `keys` are all that may call, None where any may."""
    for rule, when in rules(source.config):
        for path, part in inside(rule, when):
            yield from _asked(source, path, part)
            yield from _clients(source, path, part)
            if keys is not None:
                yield from _keys(source, path, part, keys)
                yield from _tags(source, path, part, keys)
    yield from _unread(source, keys or ())


def _asked(source: ConfigSource, path: Path, when: WhenPart) -> Iterator[Mistake]:
    for name in when.asked or ():
        if _unlisted(source, name):
            continue
        like = glob([name])
        if not any(map(like, model_names.every(source))):
            message = f"nothing is called {name!r}: a call that asks for it is refused."
            hint = nearest(name, model_names.common(source) | {*source.config.aliases})
            yield source.mistake((*path, "asked"), message, hint, warn=True)


def _unlisted(source: ConfigSource, name: str) -> bool:
    """Return True if a name, or some name that a pattern takes in, needs no lab to list it."""
    families = list(source.config.routing.families)
    begins, star, _ = name.partition("*")
    if not star:
        return model_names.owned(source, name) or name.startswith(tuple(families))
    own = [pattern for part in source.config.providers.values() for pattern in part.names]
    known = [*families, *(_WILD.split(one, maxsplit=1)[0] for one in own if one[:1] != "!")]
    return any(one.startswith(begins) or begins.startswith(one) for one in known)


def _clients(source: ConfigSource, path: Path, when: WhenPart) -> Iterator[Mistake]:
    for name in when.client or ():
        like = glob([name])
        if not like("") and not any(map(like, client_detection.NAMES)):
            message = f"no application is known as {name!r}."
            yield source.mistake(
                (*path, "client"), message, nearest(name, client_detection.NAMES), warn=True
            )


def _keys(
    source: ConfigSource, path: Path, when: WhenPart, keys: Sequence[Key]
) -> Iterator[Mistake]:
    known = [key.name for key in keys]
    for name in when.key or ():
        if any(map(glob([name]), known)):
            continue
        if known == [OPEN.name]:
            message = f"no key is called {name!r}: keys are open, as {OPEN.name!r}."
            yield source.mistake((*path, "key"), message, warn=True)
        else:
            message = f"no key is called {name!r}."
            yield source.mistake((*path, "key"), message, nearest(name, known), warn=True)


def _tags(
    source: ConfigSource, path: Path, when: WhenPart, keys: Sequence[Key]
) -> Iterator[Mistake]:
    by_guards = {tag for guard in source.config.guards for tag in guard.tag or ()}
    for tag in when.tag or ():
        if tag not in by_guards and not any(may_set(key, tag) for key in keys):
            message = f"no key may send the tag {tag!r}, and no guard sets it."
            sent = {one for key in keys for one in (*key.tags, *(key.allowed_tags or ()))}
            yield source.mistake((*path, "tag"), message, nearest(tag, by_guards | sent), warn=True)


def _unread(source: ConfigSource, keys: Sequence[Key]) -> Iterator[Mistake]:
    """Tags that a guard sets and nobody reads, where a rule reads one that is written alike.

    A tag that only the ledger reads is none of these.
    """
    config = source.config
    read = {t for _, when in rules(config) for _, part in inside((), when) for t in part.tag or ()}
    counted = {tag for item in (*config.limits, *config.budgets) for tag in item.tag or ()}
    by_guards = {tag for guard in config.guards for tag in guard.tag or ()}
    lonely = read - by_guards - {tag for key in keys for tag in key.tags}
    for at, guard in enumerate(config.guards):
        for tag in guard.tag or ():
            close = difflib.get_close_matches(tag, sorted(lonely), n=1, cutoff=_ALIKE)
            if tag not in read | counted and close:
                message = f"sets {tag!r}, which no rule reads."
                hint = f"Did you mean {close[0]!r}?"
                yield source.mistake(("guards", at, "tag"), message, hint, warn=True)


def rules(config: Config) -> Iterator[tuple[Path, WhenPart]]:
    """Yield the conditions of all rules, each with its place."""
    for at, guard in enumerate(config.guards):
        yield ("guards", at, "when"), guard.when
    for at, choice in enumerate(config.choices):
        yield ("choices", at, "when"), choice.when


def inside(path: Path, when: WhenPart) -> Iterator[tuple[Path, WhenPart]]:
    """Yield a condition and all that stand inside it."""
    yield path, when
    for name, inner in (("any", when.any), ("all", when.all)):
        for at, item in enumerate(inner or ()):
            yield from inside((*path, name, at), item)
    if when.not_ is not None:
        yield from inside((*path, "not"), when.not_)
