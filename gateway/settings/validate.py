"""What the schema cannot see: names that must exist, efforts a model lacks, prices nobody knows.

What leads back to where it began: aliases, and providers that are this gateway itself.
"""

import ipaddress
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from urllib.parse import urlsplit

from gateway.core.target import TIERS
from gateway.settings import baseline, placeholder_keys
from gateway.settings.catalogue import describe, embedding_doors, lab_of
from gateway.settings.errors import Mistake, Path, nearest
from gateway.settings.lifecycle_warnings import dates, targets
from gateway.settings.loader import NAME_EMBEDDING_MODEL, ConfigSource
from gateway.settings.model_names import ASKABLE, askable, common, served, vectors
from gateway.settings.schema import pricing
from gateway.settings.schema.root import EffortPart
from gateway.settings.schema.rules import MostPart, RangePart, WhenPart

_PORTS = {"http": 80, "https": 443}
_EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read in a URL, bound by nobody


def around(aliases: Mapping[str, str], start: str) -> list[str]:
    """The names from an alias back to itself; empty where it leads to an end."""
    path = [start]
    while (name := aliases.get(path[-1])) is not None:
        path.append(name)
        if name == start:
            return path
        if name in path[:-1]:
            break
    return []


def itself(source: ConfigSource, off: Collection[str]) -> Iterator[Mistake]:
    """Warnings of providers whose address is the one that the gateway is to listen on."""
    server = source.config.server
    for name, part in source.config.providers.items():
        if name in off or part.command:
            continue
        urls = {("base_url",): part.base_url} if part.base_url else {}
        doors = {("dialects", door): url for door, url in part.dialects.items() if "://" in url}
        for at, url in (urls | doors).items():
            where = _address(url)
            if where is not None and where[1] == server.port and _here(where[0], server.host):
                message = (
                    f"{where[0]}:{where[1]} is this gateway itself: calls would go in circles."
                )
                hint = "Give the provider's own address, or the gateway another `server.port`."
                yield source.mistake(("providers", name, *at), message, hint, warn=True)


def _address(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


def _here(asked: str, listens: str) -> bool:
    """Whether a host that is asked for is one that the gateway listens on."""
    if asked == listens.lower():
        return True
    here, there = _ips(listens), _ips(_EVERY.get(asked, asked))
    if listens in _EVERY:
        return any(ip.is_loopback and (ip.version == 4 or listens == "::") for ip in there)
    return not here.isdisjoint(there)


def _ips(host: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """What a host is for sure; nothing of a name that only a resolver knows."""
    if host == "localhost" or host.endswith(".localhost"):
        return {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return set()
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return {mapped or ip}


__all__ = ["errors", "targets", "warnings"]

type Styles = Mapping[str, Collection[str]]
"""Styles of effort that each dialect has."""


def errors(source: ConfigSource, dialects: Collection[str], styles: Styles) -> list[Mistake]:
    """What makes a configuration unusable, in the order it is written."""
    found = [
        *_providers(source, dialects),
        *_labs(source),
        *_embeddings(source),
        *_models(source, styles),
        *pricing.twice(source),
        *baseline.errors(source),
        *_defaults(source),
        *_guards(source),
        *_choices(source),
        *_conditions(source, dialects),
        *_names(source),
    ]
    return sorted(found, key=lambda item: (item.file, item.line or 0))


def warnings(
    source: ConfigSource, today: date, styles: Styles, off: Collection[str] = ()
) -> list[Mistake]:
    """What is allowed and probably not meant, or will soon matter; `off` are providers."""
    found = [
        *source.notes,
        *itself(source, off),
        *_unknown(source, off),
        *_unsaid(source, styles, off),
        *dates(source, today, off),
        *pricing.lacking(source),
        *_shares(source),
        *_unkept(source),
        *placeholder_keys.warnings(source, off),
    ]
    return sorted(found, key=lambda item: (item.file, item.line or 0))


def _shares(source: ConfigSource) -> Iterator[Mistake]:
    """Bounds on the classifier's tiers that bound nothing, or leave nothing."""
    routing = source.config.routing
    most, at = routing.max_share, ("routing", "max_share")
    if routing.classifier == "off" and source.config.exemplars:
        message = "are not looked at: the classifier is off."
        yield source.mistake(("exemplars",), message, warn=True)
    if routing.classifier == "off" and most != MostPart():
        yield source.mistake(at, "bounds nothing: the classifier is off.", warn=True)
    elif most.reasoning == most.smart == 0:
        message = "leaves the classifier nothing but fast."
        yield source.mistake(at, message, "Turn it off instead.", warn=True)


def _unkept(source: ConfigSource) -> Iterator[Mistake]:
    part = source.config.cache
    if part.near is not None and part.ttl <= 0:
        message = "finds nothing: the cache is off."
        yield source.mistake(("cache", "near"), message, "Give `cache.ttl` some time.", warn=True)


def _providers(source: ConfigSource, dialects: Collection[str]) -> Iterator[Mistake]:
    for name, part in source.config.providers.items():
        at: Path = ("providers", name)
        for dialect, path in part.dialects.items():
            if dialect not in dialects:
                hint = nearest(dialect, dialects)
                yield source.mistake((*at, "dialects", dialect), "no such dialect.", hint)
            elif "://" not in path and not part.base_url and not part.command:
                yield source.mistake((*at, "dialects", dialect), "needs a `base_url`.")
        if part.base_url and not part.base_url.startswith(("http://", "https://")):
            yield source.mistake((*at, "base_url"), "must start with http:// or https://.")
        if part.names and lab_of(source.config, name) is None:
            message = "needs a lab that has a target of this provider."
            yield source.mistake((*at, "names"), message)
        if part.auth != "none" and not part.accounts and not part.optional_key:
            yield source.mistake(at, "has no `accounts`.", "Without any, write `auth: none`.")


def _labs(source: ConfigSource) -> Iterator[Mistake]:
    config = source.config
    for lab, part in config.labs.items():
        for at, name in enumerate(part.fallback):
            if name == lab or name not in config.labs:
                message = "is this lab itself." if name == lab else f"no lab {name!r}."
                hint = nearest(name, [one for one in config.labs if one != lab])
                yield source.mistake(("labs", lab, "fallback", at), message, hint)
    for path, lab, _, provider, target in targets(source):
        if provider not in config.providers:
            if target.provider is None:
                message = f"names no `provider`, and none is called {lab!r}."
                yield source.mistake(path, message)
            else:
                hint = nearest(provider, config.providers)
                yield source.mistake((*path, "provider"), f"no provider {provider!r}.", hint)
            continue
        model = describe(config.models, provider, target.model)
        effort = model.effort if model is not None else None
        if target.effort is None or model is None:
            continue
        if effort is None:
            yield source.mistake((*path, "effort"), f"{target.model} has no control of effort.")
        else:
            accepts = effort.accepts
            doors = config.providers[provider].dialects
            if model.chat is not None and model.chat.efforts is not None and len(doors) == 1:
                accepts = model.chat.efforts  # elsewhere another door takes the others
            if accepts and target.effort not in accepts:
                message = f"{target.model} does not accept {target.effort!r}."
                yield source.mistake(
                    (*path, "effort"), message, f"It accepts {', '.join(accepts)}."
                )


def _embeddings(source: ConfigSource) -> Iterator[Mistake]:
    providers = source.config.providers
    for lab, part in source.config.labs.items():
        for at, target in enumerate(part.embeddings):
            here: Path = ("labs", lab, "embeddings", at)
            name = target.provider or lab
            if name not in providers and target.provider is None:
                yield source.mistake(here, f"names no `provider`, and none is called {lab!r}.")
            elif name not in providers:
                hint = nearest(name, providers)
                yield source.mistake((*here, "provider"), f"no provider {name!r}.", hint)
            elif not embedding_doors(providers[name], providers[name].dialects):
                message = f"where {name} is asked for embeddings is not known."
                hint = "Give the provider `embeddings`, a path or a whole URL."
                yield source.mistake(here, message, hint)


def _models(source: ConfigSource, styles: Styles) -> Iterator[Mistake]:
    models = source.config.models
    for name, part in models.items():
        at: Path = ("models", name)
        if part.like is not None and part.like not in models:
            hint = nearest(part.like, models)
            yield source.mistake((*at, "like"), f"no model {part.like!r} is described.", hint)
        seen, like = {name}, part.like
        while like is not None and like in models:
            if like in seen:
                yield source.mistake((*at, "like"), "is like itself, in a circle.")
                break
            seen.add(like)
            like = models[like].like
        if part.effort is not None:
            yield from _styles(source, (*at, "effort", "style"), part.effort, styles)


def _styles(source: ConfigSource, at: Path, part: EffortPart, styles: Styles) -> Iterator[Mistake]:
    for dialect, style in part.style.items():
        if dialect and dialect not in styles:
            hint = nearest(dialect, styles)
            yield source.mistake((*at, dialect), f"no dialect {dialect!r}.", hint)
            continue
        known = styles[dialect] if dialect else {name for row in styles.values() for name in row}
        if style not in known:
            path = (*at, dialect) if dialect else at
            where = f" on {dialect}" if dialect else ""
            yield source.mistake(path, f"no style {style!r}{where}.", nearest(style, known))


def _defaults(source: ConfigSource) -> Iterator[Mistake]:
    config = source.config
    if config.default.lab is not None and config.default.lab not in config.labs:
        message = f"no lab {config.default.lab!r}."
        yield source.mistake(("default", "lab"), message, nearest(config.default.lab, config.labs))
    yield from _judge(source)
    yield from _near(source)
    for alias, name in config.aliases.items():
        at: Path = ("aliases", alias)
        circle = around(config.aliases, alias)
        if circle:
            message = f"leads back to itself: {', '.join(circle)}."
            yield source.mistake(at, message, "Give one of them a model or a tier.")
        elif alias in ASKABLE or name in config.aliases:
            yield source.mistake(at, "an alias must lead from a free name to one that is no alias.")
        elif not askable(source, name):
            message = f"nothing is called {name!r}."
            yield source.mistake(at, message, nearest(name, common(source)))


def _judge(source: ConfigSource) -> Iterator[Mistake]:
    """A judge's model is named, or its own calls would be judged."""
    part, at = source.config.routing.judge, ("routing", "judge", "model")
    if part is None:
        return
    name = source.config.aliases.get(part.model, part.model)
    if not askable(source, name):
        message = f"nothing is called {name!r}."
        yield source.mistake(at, message, nearest(name, common(source)))
    elif name.rpartition("/")[2] == "auto":
        yield source.mistake(at, f"{name!r} would be judged itself.", "Take a tier or a model.")


def _near(source: ConfigSource) -> Iterator[Mistake]:
    """Yield a mistake where no lab has the embedding model of near questions."""
    part, at = source.config.cache.near, ("cache", "near", "embed")
    if part is not None and part.embed not in vectors(source):
        message = f"no embedding model {part.embed!r}."
        if part.embed == "words":
            message = "near questions are no longer found by words."
        yield source.mistake(at, message, NAME_EMBEDDING_MODEL)


def _guards(source: ConfigSource) -> Iterator[Mistake]:
    config = source.config
    for at, guard in enumerate(config.guards):
        here: Path = ("guards", at)
        for field in ("allow", "deny"):
            for lab in getattr(guard, field) or ():
                if lab not in config.labs:
                    yield source.mistake(
                        (*here, field), f"no lab {lab!r}.", nearest(lab, config.labs)
                    )
        low, high = guard.min_tier, guard.max_tier
        if low is not None and high is not None and TIERS.index(low) > TIERS.index(high):
            yield source.mistake((*here, "min_tier"), "is above max_tier: no tier is left.")
        if guard.allow and set(guard.allow) <= set(guard.deny or ()):
            yield source.mistake((*here, "allow"), "is all denied: no lab is left.")
        effects = (low, high, guard.allow, guard.deny, guard.refuse, guard.tag, guard.complete)
        if not any((*effects, guard.conversation, guard.cache)) and not guard.no_cache:
            yield source.mistake(here, "has no effect.", "Give it one, as `max_tier: smart`.")


def _choices(source: ConfigSource) -> Iterator[Mistake]:
    config = source.config
    for at, choice in enumerate(config.choices):
        here: Path = ("choices", at)
        if choice.tier is None and choice.lab is None and choice.model is None:
            yield source.mistake(here, "decides nothing.", "Give it a `tier`, `lab` or `model`.")
        if choice.lab is not None and choice.lab not in config.labs:
            hint = nearest(choice.lab, config.labs)
            yield source.mistake((*here, "lab"), f"no lab {choice.lab!r}.", hint)
        if choice.model is not None and choice.model not in served(source):
            hint = nearest(choice.model, {target.model for *_, target in targets(source)})
            yield source.mistake(
                (*here, "model"), f"no target has the model {choice.model!r}.", hint
            )


def _conditions(source: ConfigSource, dialects: Collection[str]) -> Iterator[Mistake]:
    config = source.config
    rules = [("guards", at, rule.when) for at, rule in enumerate(config.guards)]
    rules += [("choices", at, rule.when) for at, rule in enumerate(config.choices)]
    for kind, at, when in rules:
        for path, part in _parts((kind, at, "when"), when):
            for name, value in part:
                if isinstance(value, RangePart) and value.min is not None and value.max is not None:
                    if value.min <= value.max:
                        continue
                    yield source.mistake((*path, name), "min is above max: it never holds.")
            for dialect in part.dialect or ():
                if dialect not in dialects:
                    hint = nearest(dialect, dialects)
                    yield source.mistake((*path, "dialect"), f"no dialect {dialect!r}.", hint)


def _parts(path: Path, when: WhenPart) -> Iterator[tuple[Path, WhenPart]]:
    """A condition and all that stand inside it."""
    yield path, when
    for name, inner in (("any", when.any), ("all", when.all)):
        for at, item in enumerate(inner or ()):
            yield from _parts((*path, name, at), item)
    if when.not_ is not None:
        yield from _parts((*path, "not"), when.not_)


def _names(source: ConfigSource) -> Iterator[Mistake]:
    config = source.config
    groups: dict[str, list[str]] = {
        "guards": [rule.name for rule in config.guards],
        "choices": [rule.name for rule in config.choices],
        "exemplars": [part.name or str(at) for at, part in enumerate(config.exemplars, 1)],
        "limits": [part.name for part in config.limits],
        "budgets": [part.name for part in config.budgets],
    }
    for kind, names in groups.items():
        for at, name in enumerate(names):
            if name in names[:at]:
                yield source.mistake((kind, at, "name"), f"{name!r} is given twice.")


def _unknown(source: ConfigSource, off: Collection[str]) -> Iterator[Mistake]:
    for path, _, _, provider, target in targets(source):
        known = describe(source.config.models, provider, target.model)
        if known is None and provider not in off:
            message = f"no facts of {target.model!r} are known: nothing it refuses is kept from it."
            yield source.mistake((*path, "model"), message, warn=True)


def _unsaid(source: ConfigSource, styles: Styles, off: Collection[str]) -> Iterator[Mistake]:
    """Targets whose effort has no style on any dialect that their provider speaks."""
    config = source.config
    for path, _, _, provider, target in targets(source):
        model = describe(config.models, provider, target.model)
        if target.effort is None or model is None or model.effort is None or provider in off:
            continue
        named, doors = model.effort.style, config.providers[provider].dialects
        if not any(named.get(door, named.get("")) in styles[door] for door in doors):
            message = f"how {target.model} is told its effort on {' or '.join(doors)} is not known."
            hint = f"Give it `effort: {{style: {{{next(iter(doors))}: ...}}}}`."
            yield source.mistake((*path, "effort"), message, hint, warn=True)
