"""Checks beyond the schema: unknown names, unsupported efforts, missing prices.

Also circles: aliases that lead to themselves, and providers whose address is this gateway.
"""

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from urllib.parse import urlsplit

from gateway.core.target import TIERS
from gateway.settings import balance_check, baseline, judge_check, meaning_check, placeholder_keys
from gateway.settings.catalogue import (
    find_embedding_urls,
    find_lab,
    find_model,
)
from gateway.settings.cloud_auth import KEYLESS_AUTHS, find_cloud_errors, find_cloud_warnings
from gateway.settings.errors import Mistake, Path, suggest_name
from gateway.settings.lifecycle_warnings import find_date_warnings, list_targets
from gateway.settings.loader import EMBEDDING_MODEL_HINT, ConfigSource
from gateway.settings.model_names import (
    ROUTED_NAMES,
    is_known_name,
    list_common_names,
    list_embedding_names,
    list_target_names,
)
from gateway.settings.passthrough import (
    APIS,
    TABLES,
)
from gateway.settings.rule_hints import find_keyword_problem, find_value
from gateway.settings.schema import pricing
from gateway.settings.schema.root import EffortPart
from gateway.settings.schema.rules import MostPart, RangePart, WhenPart

_SCORE_EXPRESSION = re.compile(r"\bcall\s*\.\s*(?:need|confidence)\b")
"""Matches the parts of an expression that read the classifier's score."""
_MESSAGES = "anthropic-messages"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_WILDCARD_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read in a URL, never bound


def find_alias_cycle(aliases: Mapping[str, str], start: str) -> list[str]:
    """Return the names from an alias back to itself; empty if it does not lead back."""
    path = [start]
    while (name := aliases.get(path[-1])) is not None:
        path.append(name)
        if name == start:
            return path
        if name in path[:-1]:
            break
    return []


def find_self_references(
    source: ConfigSource, disabled_providers: Collection[str]
) -> Iterator[Mistake]:
    """Yield warnings about providers whose address is the one the gateway will listen on."""
    server = source.config.server
    for name, provider_part in source.config.providers.items():
        if name in disabled_providers or provider_part.command:
            continue
        urls: dict[Path, str] = {
            ("replicas", index): url for index, url in enumerate(provider_part.replicas)
        }
        if provider_part.path_prefix:
            urls["base_url",] = provider_part.base_url
        for member in ("dialects", "endpoints"):
            for key, url in getattr(provider_part, member).items():
                if "://" in url:
                    urls[member, key] = url
        for key_path, url in urls.items():
            address = _parse_address(url)
            if (
                address is not None
                and address[1] == server.port
                and _is_own_host(address[0], server.host)
            ):
                message = (
                    f"{address[0]}:{address[1]} is this gateway itself: calls would go in circles."
                )
                hint = "Give the provider's own address, or the gateway another `server.port`."
                yield source.make_mistake(("providers", name, *key_path), message, hint, warn=True)


def _parse_address(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


def _is_own_host(requested: str, listen_host: str) -> bool:
    """Return True if a provider's host is one that the gateway listens on."""
    if requested == listen_host.lower():
        return True
    own_ips = _list_known_ips(listen_host)
    requested_ips = _list_known_ips(_WILDCARD_HOSTS.get(requested, requested))
    if listen_host in _WILDCARD_HOSTS:
        return any(
            ip.is_loopback and (ip.version == 4 or listen_host == "::") for ip in requested_ips
        )
    return not own_ips.isdisjoint(requested_ips)


def _list_known_ips(host: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return the IP addresses that a host certainly has; none for a name that needs a resolver."""
    if host == "localhost" or host.endswith(".localhost"):
        return {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return set()
    mapped_ip = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return {mapped_ip or ip}


__all__ = ["find_errors", "find_warnings", "list_targets"]

type EffortStyles = Mapping[str, Collection[str]]
"""The styles of effort of each dialect that providers speak."""


def find_errors(
    source: ConfigSource, dialects: Collection[str], styles: EffortStyles
) -> list[Mistake]:
    """Return the errors that make a configuration unusable, in the order of the files.

    `dialects` are those that clients speak.
    """
    mistakes = [
        *_check_providers(source, styles),
        *find_cloud_errors(source),
        *_check_labs(source),
        *balance_check.find_errors(source),
        *_check_embeddings(source),
        *_check_models(source, styles),
        *pricing.find_mixed_services(source),
        *baseline.find_errors(source),
        *_check_defaults(source),
        *judge_check.find_errors(source),
        *_check_guards(source),
        *_check_choices(source),
        *_check_conditions(source, dialects),
        *_check_names(source),
    ]
    return sorted(mistakes, key=lambda item: (item.file, item.line or 0))


def find_warnings(
    source: ConfigSource,
    today: date,
    styles: EffortStyles,
    disabled_providers: Collection[str] = (),
) -> list[Mistake]:
    """Return warnings about what is valid but probably not meant, or will soon matter."""
    mistakes = [
        *source.warnings,
        *find_self_references(source, disabled_providers),
        *_check_unknown_models(source, disabled_providers),
        *_check_unknown_styles(source, styles, disabled_providers),
        *balance_check.find_warnings(source),
        *find_date_warnings(source, today, disabled_providers),
        *pricing.find_missing_rates(source),
        *_check_shares(source),
        *meaning_check.find_warnings(source),
        *_check_near_cache(source),
        *judge_check.find_warnings(source),
        *_check_keywords(source),
        *placeholder_keys.find_placeholders(source, disabled_providers),
        *find_cloud_warnings(source, disabled_providers),
    ]
    return sorted(mistakes, key=lambda item: (item.file, item.line or 0))


def _check_shares(source: ConfigSource) -> Iterator[Mistake]:
    """Yield warnings about exemplars and bounds on shares that do nothing, or leave only fast."""
    routing = source.config.routing
    max_share, path = routing.max_share, ("routing", "max_share")
    for section in ("exemplars", "routes"):
        if routing.classifier == "off" and getattr(source.config, section):
            message = "have no effect: the classifier is off."
            yield source.make_mistake((section,), message, warn=True)
    if routing.classifier == "off" and max_share != MostPart():
        yield source.make_mistake(path, "has no effect: the classifier is off.", warn=True)
    elif max_share.reasoning == max_share.smart == 0:
        message = "leaves the classifier nothing but fast."
        yield source.make_mistake(path, message, "Turn it off instead.", warn=True)


def _check_near_cache(source: ConfigSource) -> Iterator[Mistake]:
    cache_part = source.config.cache
    if cache_part.near is not None and cache_part.ttl <= 0:
        message = "finds nothing: the cache is off."
        yield source.make_mistake(
            ("cache", "near"), message, "Give `cache.ttl` some time.", warn=True
        )


def _check_providers(source: ConfigSource, styles: EffortStyles) -> Iterator[Mistake]:
    for name, provider_part in source.config.providers.items():
        provider_path: Path = ("providers", name)
        for dialect, path in provider_part.dialects.items():
            if dialect not in styles:
                hint = suggest_name(dialect, styles)
                yield source.make_mistake(
                    (*provider_path, "dialects", dialect), "no such dialect.", hint
                )
            elif "://" not in path and not (
                provider_part.base_url or provider_part.replicas or provider_part.command
            ):
                yield source.make_mistake(
                    (*provider_path, "dialects", dialect), "needs a `base_url`."
                )
        for table, url in provider_part.endpoints.items():
            table_path: Path = (*provider_path, "endpoints", table)
            if table not in TABLES and table not in APIS:
                hint = suggest_name(table, (*TABLES, *APIS))
                yield source.make_mistake(table_path, "no such table of endpoints.", hint)
            elif "://" not in url and not (provider_part.base_url or provider_part.replicas):
                yield source.make_mistake(table_path, "needs a `base_url`.")
        if provider_part.base_url and not provider_part.base_url.startswith(
            ("http://", "https://")
        ):
            yield source.make_mistake(
                (*provider_path, "base_url"), "must start with http:// or https://."
            )
        if provider_part.variant is not None and _MESSAGES not in provider_part.dialects:
            message = f"is a variant of {_MESSAGES}, which is none of its `dialects`."
            yield source.make_mistake((*provider_path, "variant"), message)
        if provider_part.names and find_lab(source.config, name) is None:
            message = "needs a lab that has a target of this provider."
            yield source.make_mistake((*provider_path, "names"), message)
        if (
            provider_part.auth not in KEYLESS_AUTHS
            and not provider_part.accounts
            and not provider_part.optional_key
        ):
            yield source.make_mistake(
                provider_path, "has no `accounts`.", "Without any, write `auth: none`."
            )


def _check_labs(source: ConfigSource) -> Iterator[Mistake]:
    config = source.config
    for lab, lab_part in config.labs.items():
        for index, name in enumerate(lab_part.fallback):
            if name == lab or name not in config.labs:
                message = "is this lab itself." if name == lab else f"no lab {name!r}."
                hint = suggest_name(
                    name, [other_lab for other_lab in config.labs if other_lab != lab]
                )
                yield source.make_mistake(("labs", lab, "fallback", index), message, hint)
    for path, lab, _, provider, target in list_targets(source):
        if provider not in config.providers:
            if target.provider is None:
                message = f"names no `provider`, and none is called {lab!r}."
                yield source.make_mistake(path, message)
            else:
                hint = suggest_name(provider, config.providers)
                yield source.make_mistake((*path, "provider"), f"no provider {provider!r}.", hint)
            continue
        if config.providers[provider].endpoints and not config.providers[provider].dialects:
            message = f"the provider {provider!r} has no `dialects`, only `endpoints`."
            yield source.make_mistake(path, message)
        model = find_model(config.models, provider, target.model)
        effort = model.effort if model is not None else None
        if target.effort is None or model is None:
            continue
        if effort is None:
            yield source.make_mistake((*path, "effort"), f"{target.model} has no effort setting.")
        else:
            accepted = effort.accepts
            dialects = config.providers[provider].dialects
            if model.chat is not None and model.chat.efforts is not None and len(dialects) == 1:
                accepted = model.chat.efforts  # else another dialect has the others
            if accepted and target.effort not in accepted:
                message = f"{target.model} does not accept {target.effort!r}."
                yield source.make_mistake(
                    (*path, "effort"), message, f"It accepts {', '.join(accepted)}."
                )


def _check_embeddings(source: ConfigSource) -> Iterator[Mistake]:
    providers = source.config.providers
    for lab, lab_part in source.config.labs.items():
        for index, target in enumerate(lab_part.embeddings):
            path: Path = ("labs", lab, "embeddings", index)
            name = target.provider or lab
            if name not in providers and target.provider is None:
                yield source.make_mistake(path, f"names no `provider`, and none is called {lab!r}.")
            elif name not in providers:
                hint = suggest_name(name, providers)
                yield source.make_mistake((*path, "provider"), f"no provider {name!r}.", hint)
            elif not find_embedding_urls(providers[name], providers[name].dialects):
                message = f"the gateway does not know the embeddings URL of {name}."
                hint = "Give the provider `embeddings`, a path or a whole URL."
                yield source.make_mistake(path, message, hint)


def _check_models(source: ConfigSource, styles: EffortStyles) -> Iterator[Mistake]:
    models = source.config.models
    for name, model_part in models.items():
        path: Path = ("models", name)
        if model_part.like is not None and model_part.like not in models:
            hint = suggest_name(model_part.like, models)
            yield source.make_mistake(
                (*path, "like"), f"no model {model_part.like!r} is described.", hint
            )
        visited, base = {name}, model_part.like
        while base is not None and base in models:
            if base in visited:
                yield source.make_mistake((*path, "like"), "is like itself, in a circle.")
                break
            visited.add(base)
            base = models[base].like
        if model_part.effort is not None:
            yield from _check_styles(source, (*path, "effort", "style"), model_part.effort, styles)


def _check_styles(
    source: ConfigSource, style_path: Path, effort_part: EffortPart, styles: EffortStyles
) -> Iterator[Mistake]:
    for dialect, style in effort_part.style.items():
        if dialect and dialect not in styles:
            hint = suggest_name(dialect, styles)
            yield source.make_mistake((*style_path, dialect), f"no dialect {dialect!r}.", hint)
            continue
        known_styles = (
            styles[dialect] if dialect else {name for names in styles.values() for name in names}
        )
        if style not in known_styles:
            path = (*style_path, dialect) if dialect else style_path
            suffix = f" on {dialect}" if dialect else ""
            yield source.make_mistake(
                path, f"no style {style!r}{suffix}.", suggest_name(style, known_styles)
            )


def _check_defaults(source: ConfigSource) -> Iterator[Mistake]:
    config = source.config
    if config.default.lab is not None and config.default.lab not in config.labs:
        message = f"no lab {config.default.lab!r}."
        yield source.make_mistake(
            ("default", "lab"), message, suggest_name(config.default.lab, config.labs)
        )
    yield from _check_near(source)
    yield from meaning_check.find_errors(source)
    for alias, name in config.aliases.items():
        path: Path = ("aliases", alias)
        cycle = find_alias_cycle(config.aliases, alias)
        if cycle:
            message = f"leads back to itself: {', '.join(cycle)}."
            yield source.make_mistake(path, message, "Give one of them a model or a tier.")
        elif alias in ROUTED_NAMES or name in config.aliases:
            yield source.make_mistake(
                path, "an alias must lead from a free name to one that is no alias."
            )
        elif not is_known_name(source, name):
            message = f"no model or alias is called {name!r}."
            yield source.make_mistake(path, message, suggest_name(name, list_common_names(source)))


def _check_near(source: ConfigSource) -> Iterator[Mistake]:
    """Yield an error if no lab has the embedding model of near questions."""
    near_part, path = source.config.cache.near, ("cache", "near", "embed")
    if near_part is not None and near_part.embed not in list_embedding_names(source):
        message = f"no embedding model {near_part.embed!r}."
        if near_part.embed == "words":
            message = "near questions are no longer found by words."
        yield source.make_mistake(path, message, EMBEDDING_MODEL_HINT)


def _check_guards(source: ConfigSource) -> Iterator[Mistake]:
    config = source.config
    for index, guard in enumerate(config.guards):
        path: Path = ("guards", index)
        for field in ("allow", "deny"):
            for lab in getattr(guard, field) or ():
                if lab not in config.labs:
                    yield source.make_mistake(
                        (*path, field), f"no lab {lab!r}.", suggest_name(lab, config.labs)
                    )
        low, high = guard.min_tier, guard.max_tier
        if low is not None and high is not None and TIERS.index(low) > TIERS.index(high):
            yield source.make_mistake((*path, "min_tier"), "is above max_tier: no tier is left.")
        if guard.allow and set(guard.allow) <= set(guard.deny or ()):
            yield source.make_mistake((*path, "allow"), "is all denied: no lab is left.")
        effects = (low, high, guard.allow, guard.deny, guard.refuse, guard.tag, guard.complete)
        settings = guard.conversation, guard.cache, guard.escalate, guard.judge
        has_setting = guard.no_cache or guard.quality is not None
        if not any((*effects, *settings)) and not has_setting:
            yield source.make_mistake(path, "has no effect.", "Give it one, as `max_tier: smart`.")


def _check_choices(source: ConfigSource) -> Iterator[Mistake]:
    config = source.config
    for index, choice in enumerate(config.choices):
        path: Path = ("choices", index)
        if choice.tier is None and choice.lab is None and choice.model is None:
            yield source.make_mistake(
                path, "decides nothing.", "Give it a `tier`, `lab` or `model`."
            )
        if choice.lab is not None and choice.lab not in config.labs:
            hint = suggest_name(choice.lab, config.labs)
            yield source.make_mistake((*path, "lab"), f"no lab {choice.lab!r}.", hint)
        if choice.model is not None and choice.model not in list_target_names(source):
            hint = suggest_name(choice.model, {target.model for *_, target in list_targets(source)})
            yield source.make_mistake(
                (*path, "model"), f"no target has the model {choice.model!r}.", hint
            )


def _check_conditions(source: ConfigSource, dialects: Collection[str]) -> Iterator[Mistake]:
    for path, condition in _list_all_conditions(source):
        for name, value in condition:
            if isinstance(value, RangePart) and value.min is not None and value.max is not None:
                if value.min <= value.max:
                    continue
                yield source.make_mistake((*path, name), "min is above max: it never holds.")
        for dialect in condition.dialect or ():
            if dialect not in dialects:
                hint = suggest_name(dialect, dialects)
                yield source.make_mistake((*path, "dialect"), f"no dialect {dialect!r}.", hint)
        if source.config.routing.classifier == "off":
            for name in _list_score_conditions(condition):
                message = "asks for the classifier's score, and the classifier is off."
                hint = "Turn it on: `routing: {classifier: learned}`."
                yield source.make_mistake((*path, name), message, hint)


def _list_all_conditions(source: ConfigSource) -> Iterator[tuple[Path, WhenPart]]:
    """Yield the conditions of all rules, with all conditions inside them."""
    config = source.config
    for index, guard in enumerate(config.guards):
        yield from _list_conditions(("guards", index, "when"), guard.when)
    for index, choice in enumerate(config.choices):
        yield from _list_conditions(("choices", index, "when"), choice.when)


def _check_keywords(source: ConfigSource) -> Iterator[Mistake]:
    """Yield a warning for each keyword that is a pattern, or several words without brackets."""
    for path, condition in _list_all_conditions(source):
        stands_alone = isinstance(find_value(source.raw, (*path, "keywords")), str)
        for keyword in condition.keywords or ():
            problem = find_keyword_problem(keyword, stands_alone=stands_alone)
            if problem is not None:
                message, hint = problem
                yield source.make_mistake((*path, "keywords"), message, hint, warn=True)


def _list_score_conditions(condition: WhenPart) -> Iterator[str]:
    """Yield the names of conditions that read the classifier's score."""
    if condition.need is not None:
        yield "need"
    if condition.confidence is not None:
        yield "confidence"
    if condition.cel is not None and _SCORE_EXPRESSION.search(condition.cel):
        yield "cel"


def _list_conditions(path: Path, condition: WhenPart) -> Iterator[tuple[Path, WhenPart]]:
    """Yield a condition and all conditions inside it, with their paths."""
    yield path, condition
    for name, conditions in (("any", condition.any), ("all", condition.all)):
        for index, item in enumerate(conditions or ()):
            yield from _list_conditions((*path, name, index), item)
    if condition.not_ is not None:
        yield from _list_conditions((*path, "not"), condition.not_)


def _check_names(source: ConfigSource) -> Iterator[Mistake]:
    config = source.config
    groups: dict[str, list[str]] = {
        "guards": [rule.name for rule in config.guards],
        "choices": [rule.name for rule in config.choices],
        "exemplars": [part.name or str(index) for index, part in enumerate(config.exemplars, 1)],
        "routes": [part.name or str(index) for index, part in enumerate(config.routes, 1)],
        "limits": [part.name for part in config.limits],
        "budgets": [part.name for part in config.budgets],
    }
    for kind, names in groups.items():
        for index, name in enumerate(names):
            if name in names[:index]:
                yield source.make_mistake((kind, index, "name"), f"{name!r} is given twice.")


def _check_unknown_models(
    source: ConfigSource, disabled_providers: Collection[str]
) -> Iterator[Mistake]:
    for path, _, _, provider, target in list_targets(source):
        model_part = find_model(source.config.models, provider, target.model)
        if model_part is None and provider not in disabled_providers:
            message = (
                f"no facts of {target.model!r} are known: the gateway drops no member "
                "that the model refuses."
            )
            yield source.make_mistake((*path, "model"), message, warn=True)


def _check_unknown_styles(
    source: ConfigSource, styles: EffortStyles, disabled_providers: Collection[str]
) -> Iterator[Mistake]:
    """Yield warnings about targets whose effort has no style on any dialect of their provider."""
    config = source.config
    for path, _, _, provider, target in list_targets(source):
        model = find_model(config.models, provider, target.model)
        if (
            target.effort is None
            or model is None
            or model.effort is None
            or provider in disabled_providers
        ):
            continue
        style_by_dialect, dialects = model.effort.style, config.providers[provider].dialects
        if not any(
            style_by_dialect.get(dialect, style_by_dialect.get("")) in styles[dialect]
            for dialect in dialects
        ):
            message = (
                f"the gateway does not know how to send an effort to {target.model} on "
                f"{' or '.join(dialects)}."
            )
            hint = f"Give it `effort: {{style: {{{next(iter(dialects))}: ...}}}}`."
            yield source.make_mistake((*path, "effort"), message, hint, warn=True)
