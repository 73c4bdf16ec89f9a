"""Build the values that decisions use from a configuration: labs, targets and providers."""

import functools
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import msgspec

from gateway.core import jsonio
from gateway.core.passthrough import PassThroughRoutes, ProviderEndpoint
from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.core.target import (
    DEFAULT_TIMERS,
    TIERS,
    UNKNOWN_FACTS,
    Account,
    Auth,
    Catalogue,
    Lab,
    ModelFacts,
    NameOwner,
    Provider,
    Target,
    TargetGroup,
    Targets,
    Tier,
    build_timers,
    index_models,
    list_fact_names,
    list_price_names,
)
from gateway.settings import environment as env
from gateway.settings import pricing
from gateway.settings.cloud_auth import KEYLESS_AUTHS, build_cloud_auth
from gateway.settings.loader import ConfigSource
from gateway.settings.passthrough import TABLES, select_tables
from gateway.settings.schema.root import (
    Config,
    EmbeddingPart,
    GroupPart,
    LabPart,
    ModelPart,
    ProviderPart,
    TargetPart,
)
from gateway.settings.schema.server import TimersPart

_CHAT, _GEMINI = "openai-chat", "gemini"
_COMPLETIONS_PATH, _EMBEDDINGS_PATH = "/chat/completions", "/embeddings"

type ListPriceFinder = Callable[[str, str], Price | None]
"""Looks up the list price of a provider's model that the configuration does not price."""
type ListNamesFinder = Callable[[str], Collection[str]]
"""Looks up the names of a provider's models in the price list."""


class NamedValue[T](NamedTuple):
    """A value of a model, and the name under which it stands."""

    value: T
    name: str


class BuiltCatalogue(msgspec.Struct, frozen=True):
    """The values that a configuration was built into."""

    catalogue: Catalogue
    providers: dict[str, Provider]
    passthrough: PassThroughRoutes
    """The endpoints that the providers which are on serve beside text and embeddings."""


def _list_no_names(_provider: str) -> Collection[str]:
    return ()


def build_catalogue(
    source: ConfigSource,
    list_price: ListPriceFinder,
    list_names: ListNamesFinder = _list_no_names,
) -> BuiltCatalogue:
    """Build a valid configuration into values. `validate.find_errors` must have found nothing."""
    config = source.config
    providers = _build_providers(source)

    def find_list_price(provider: str, model: str) -> Price | None:
        return list_price(config.providers[provider].prices or provider, model)

    embedding_providers = {
        name: msgspec.structs.replace(
            item, urls=find_embedding_urls(config.providers[name], item.urls)
        )
        for name, item in providers.items()
    }
    unknown_bounds = _UnknownBounds(config)
    labs = {
        name: msgspec.structs.replace(
            _bound_lab(
                _build_lab(name, lab_part, providers, config.models, find_list_price),
                unknown_bounds,
            ),
            embeddings=tuple(
                unknown_bounds.bound_price_of(
                    _build_embedding(
                        item,
                        embedding_providers[item.provider or name],
                        config.models,
                        find_list_price,
                    )
                )
                for item in lab_part.embeddings
            ),
        )
        for name, lab_part in config.labs.items()
    }
    default = config.default.lab
    enabled_labs = [name for name, lab in labs.items() if lab.enabled]
    catalogue = Catalogue(
        labs=labs,
        default_lab=default
        if default in enabled_labs
        else enabled_labs[0]
        if enabled_labs
        else (default or ""),
        default_tier=config.default.tier,
        aliases=config.aliases,
        models=index_models(labs),
        name_owners=tuple(
            _build_name_owners(
                config, providers, embedding_providers, find_list_price, list_names, unknown_bounds
            )
        ),
        families=config.routing.families,
        version=_hash_version(source.version, labs),
    )
    passthrough = _build_passthrough(config, providers, find_list_price, unknown_bounds)
    return BuiltCatalogue(catalogue, providers, passthrough)


class _UnknownBounds:
    """The configured bounds of models without a known size or price."""

    def __init__(self, config: Config) -> None:
        self._max_output = config.unknown_output
        part = config.unknown_price
        self._price = (
            None
            if part is None
            else Price(rates=Rates(input=part.input, output=part.output), version="unknown_price")
        )

    def bound(self, target: Target) -> Target:
        """Return a target with a cap on its answers, and a price to reserve, if it has none."""
        if self._max_output is not None and target.compute_max_output(None, 1) is None:
            target = msgspec.structs.replace(target, max_output=self._max_output)
        return self.bound_price_of(target)

    def bound_price_of(self, target: Target) -> Target:
        """Return a target with a price to reserve, if it has none."""
        if self._price is None or target.price is not None:
            return target
        return msgspec.structs.replace(target, bound_price=self._price)


def _build_name_owners(
    config: Config,
    providers: Mapping[str, Provider],
    embedding_providers: Mapping[str, Provider],
    list_price: ListPriceFinder,
    list_names: ListNamesFinder,
    unknown_bounds: _UnknownBounds,
) -> Iterator[NameOwner]:
    """Yield an owner of model names for each provider that a lab uses.

    `embedding_providers` have the URLs for embeddings.
    """
    build = _make_target_builder(config, list_price, unknown_bounds)

    def build_vectors(provider: Provider, name: str) -> Target:
        target = _build_unlisted(provider, config.models, list_price, name)
        return unknown_bounds.bound_price_of(_drop_window(target))

    for name, provider_part in config.providers.items():
        labs = list_provider_labs(config, name)
        if not labs:
            continue
        embedding_provider = embedding_providers[name]
        yield NameOwner(
            provider=providers[name],
            labs=labs,
            names=tuple(provider_part.names),
            hosted_names=tuple(provider_part.hosted_names),
            targets=Targets(functools.partial(build, providers[name])),
            embeddings=Targets(functools.partial(build_vectors, embedding_provider))
            if embedding_provider.urls
            else None,
            list_known_names=functools.partial(list_names, provider_part.prices or name),
        )


def _make_target_builder(
    config: Config, list_price: ListPriceFinder, unknown_bounds: _UnknownBounds
) -> Callable[[Provider, str], Target]:
    """Return a function that builds the target of a provider's model which no lab lists."""

    def build(provider: Provider, name: str) -> Target:
        return unknown_bounds.bound(_build_unlisted(provider, config.models, list_price, name))

    return build


def _build_passthrough(
    config: Config,
    providers: Mapping[str, Provider],
    list_price: ListPriceFinder,
    unknown_bounds: _UnknownBounds,
) -> PassThroughRoutes:
    """Return the pass-through endpoints of the providers that are on.

    The provider of a lab's name comes before hosts of its models.
    """
    build = _make_target_builder(config, list_price, unknown_bounds)
    targets = {
        name: Targets(functools.partial(build, provider)) for name, provider in providers.items()
    }
    endpoints = [
        ProviderEndpoint(
            endpoint=endpoint,
            table=TABLES[table],
            provider=providers[name],
            lab=find_lab(config, name) or name,
            base_url=url if "://" in url else provider_part.path_prefix + url,
            targets=targets[name],
        )
        for name, provider_part in config.providers.items()
        if providers[name].enabled
        for table, url in select_tables(provider_part.endpoints).items()
        for endpoint in TABLES[table].endpoints
    ]
    return PassThroughRoutes(sorted(endpoints, key=lambda item: item.lab != item.provider.name))


def find_lab(config: Config, provider: str) -> str | None:
    """Return the lab of a provider's own models; None if no lab has a target of the provider."""
    return next(iter(list_provider_labs(config, provider)), None)


def list_provider_labs(config: Config, provider: str) -> tuple[str, ...]:
    """Return the labs that use a provider: the one with its name first, the others in order."""
    labs = dict.fromkeys(
        name
        for name, lab_part in config.labs.items()
        for item in (*lab_part.fast, *lab_part.smart, *lab_part.reasoning)
        if (item.provider or name) == provider
    )
    return tuple(dict.fromkeys((provider, *labs)) if provider in labs else labs)


def _hash_version(config_version: str, labs: Mapping[str, Lab]) -> str:
    """Return a hash of the configuration, of its targets, and of which targets are on.

    The environment decides which targets are on.
    """
    targets = [
        (lab.name, str(tier), target.name, target.provider.enabled)
        for lab in labs.values()
        for tier, tier_targets in lab.tiers.items()
        for target in tier_targets
    ]
    targets += [
        (lab.name, "embeddings", target.name, target.provider.enabled)
        for lab in labs.values()
        for target in lab.embeddings
    ]
    return hashlib.blake2b(jsonio.dumps([config_version, targets]), digest_size=6).hexdigest()


def _build_providers(source: ConfigSource) -> dict[str, Provider]:
    parts = source.config.providers
    providers = {
        name: _build_provider(name, provider_part, source) for name, provider_part in parts.items()
    }
    has_other = any(
        item.enabled for name, item in providers.items() if parts[name].start == "always"
    )
    for name, provider_part in parts.items():
        if provider_part.start == "alone" and has_other:
            reason = "it starts only where no other provider is on"
            providers[name] = msgspec.structs.replace(
                providers[name], enabled=False, disabled_reason=reason
            )
    return providers


def _build_provider(name: str, provider_part: ProviderPart, source: ConfigSource) -> Provider:
    cloud_auth = build_cloud_auth(provider_part)
    secrets = {key: secret.strip() for key, secret in provider_part.accounts.items()}
    accounts = tuple(
        Account(key, secret) for key, secret in secrets.items() if secret and cloud_auth is None
    )
    reason = _explain_disabled(name, provider_part, accounts, source)
    base_url = provider_part.path_prefix
    seconds_by_kind = {
        str(kind): _dump_timers(timers_part) for kind, timers_part in source.config.timeouts.items()
    }
    return Provider(
        name=name,
        urls={
            dialect: path if "://" in path else base_url + path
            for dialect, path in provider_part.dialects.items()
        },
        realtime={
            form: path if "://" in path else base_url + path
            for form, path in provider_part.realtime.items()
        },
        endpoint_urls=frozenset(
            path if "://" in path else base_url + path for path in provider_part.endpoints.values()
        ),
        auth=cast("Auth", provider_part.auth) if accounts else "none",
        cloud_auth=cloud_auth,
        accounts=_build_replicas(provider_part.replicas, accounts)
        or accounts
        or (Account("main", ""),),
        balance=provider_part.balance or ("hash" if provider_part.replicas else "order"),
        headers=provider_part.headers,
        region=provider_part.region,
        max_tokens=provider_part.max_tokens,
        caps_reasoning=provider_part.caps_reasoning,
        stream_usage=provider_part.stream_usage,
        finish=provider_part.finish,
        refused_members=frozenset(provider_part.refuses),
        variant=provider_part.variant,
        media=provider_part.media,
        counts_tokens=provider_part.counts_tokens,
        keeps_responses=provider_part.keeps_responses,
        batch_price=provider_part.batch_price,
        prompt_cache=provider_part.prompt_cache,
        timers={
            kind: build_timers(
                kind, seconds_by_kind.get(kind, {}), _dump_timers(provider_part.timeouts)
            )
            for kind in DEFAULT_TIMERS
        },
        proxy=provider_part.proxy or None,
        transport=provider_part.transport,
        command=tuple(provider_part.command),
        enabled=not reason,
        disabled_reason=reason,
    )


def _build_replicas(urls: Sequence[str], accounts: tuple[Account, ...]) -> tuple[Account, ...]:
    """Return an account for each replica; all have the one credential, if there is one."""
    names = [urlsplit(url).netloc.rpartition("@")[2] for url in urls]
    if len(set(names)) < len(names):  # replicas behind one host differ in their paths
        names = [f"{name}{urlsplit(url).path}" for name, url in zip(names, urls, strict=True)]
    secret = accounts[0].secret if accounts else ""
    return tuple(
        Account(name, secret, url.rstrip("/")) for name, url in zip(names, urls, strict=True)
    )


def _dump_timers(timers_part: TimersPart) -> dict[str, float]:
    """Return the timers that are set, in seconds by name."""
    return {
        name: seconds for name, seconds in timers_part.model_dump().items() if seconds is not None
    }


def _explain_disabled(
    name: str, provider_part: ProviderPart, accounts: tuple[Account, ...], source: ConfigSource
) -> str:
    if provider_part.enable is not None and not provider_part.enable:
        variable = _find_variable(source, name, "enable")
        return f"set {variable}" if variable else "its `enable` is off"
    if provider_part.auth in KEYLESS_AUTHS or provider_part.optional_key or accounts:
        return ""
    return f"set {_find_variable(source, name, 'accounts') or 'an account'}"


def _find_variable(source: ConfigSource, provider: str, field: str) -> str:
    """Return the environment variable to set to turn a provider on; empty if there is none."""
    raw = cast("dict[str, dict[str, object]]", source.raw["providers"])[provider].get(field)
    texts = list(raw.values()) if isinstance(raw, dict) else [raw]
    return next(
        (name for text in texts if isinstance(text, str) for name in env.list_variables(text)), ""
    )


def _build_lab(
    name: str,
    lab_part: LabPart,
    providers: Mapping[str, Provider],
    models: Mapping[str, ModelPart],
    list_price: ListPriceFinder,
) -> Lab:
    tiers: dict[Tier, tuple[Target, ...]] = {}
    parts = {"fast": lab_part.fast, "smart": lab_part.smart, "reasoning": lab_part.reasoning}
    for tier in TIERS:
        tiers[tier] = tuple(
            msgspec.structs.replace(
                _build_target(item, providers[item.provider or name], models, list_price),
                group=_build_group(name, tier, lab_part, item),
            )
            for item in parts[tier]
        )
    lab_providers = {
        target.provider.name: target.provider
        for tier_targets in tiers.values()
        for target in tier_targets
    }
    disabled = [provider for provider in lab_providers.values() if not provider.enabled]
    reason = ""
    if len(disabled) == len(lab_providers):
        reason = (
            _join_reasons([provider.disabled_reason for provider in disabled]) or "it has no target"
        )
    return Lab(
        name=name,
        tiers=tiers,
        quality=lab_part.quality,
        fallback=tuple(lab_part.fallback),
        about=lab_part.about,
        enabled=not reason,
        disabled_reason=reason,
    )


def _build_group(
    lab: str, tier: Tier, lab_part: LabPart, target_part: TargetPart
) -> TargetGroup | None:
    label = target_part.group
    if label is None:
        return None
    balance = lab_part.groups.get(label, GroupPart()).balance
    return TargetGroup(lab=lab, tier=tier, label=label, balance=balance)


def _bound_lab(lab: Lab, unknown_bounds: _UnknownBounds) -> Lab:
    """Return a lab whose targets have the bounds for what is unknown of them."""
    tiers = {
        tier: tuple([unknown_bounds.bound(target) for target in targets])
        for tier, targets in lab.tiers.items()
    }
    return msgspec.structs.replace(lab, tiers=tiers)


def _join_reasons(reasons: list[str]) -> str:
    """Join reasons into one text: "set A, B or C" if there is nothing else to do."""
    names = [reason.removeprefix("set ") for reason in dict.fromkeys(reasons)]
    if len(names) > 1 and all(reason.startswith("set ") for reason in reasons):
        return f"set {', '.join(names[:-1])} or {names[-1]}"
    return " or ".join(dict.fromkeys(reasons))


def _build_target(
    target_part: TargetPart,
    provider: Provider,
    models: Mapping[str, ModelPart],
    list_price: ListPriceFinder,
) -> Target:
    model = find_model(models, provider.name, target_part.model)
    price = (
        pricing.build_price(model.price) if model is not None and model.price is not None else None
    )
    if price is None and provider.enabled:
        price = list_price(provider.name, target_part.model)
    return Target(
        provider=provider,
        model=target_part.model,
        effort=target_part.effort,
        max_output=target_part.max_output,
        params=target_part.params,
        weight=target_part.weight or 1.0,
        facts=_build_facts(model) if model is not None else UNKNOWN_FACTS,
        price=price,
    )


def _build_unlisted(
    provider: Provider, models: Mapping[str, ModelPart], list_price: ListPriceFinder, name: str
) -> Target:
    """Build the target of a model that no lab lists, with facts and price of its nearest name."""
    facts = find_unlisted_facts(models, provider.name, name)
    price = find_unlisted_price(models, list_price, provider.name, name)
    return Target(
        provider=provider,
        model=name,
        facts=UNKNOWN_FACTS if facts is None else facts.value,
        price=None if price is None else price.value,
        is_listed=False,
    )


def find_unlisted_facts(
    models: Mapping[str, ModelPart], provider: str, name: str
) -> NamedValue[ModelFacts] | None:
    """Return the facts of a model that no lab lists: those of its name, else of a base name."""
    for candidate in list_fact_names(name):
        model_part = find_model(models, provider, candidate)
        if model_part is not None:
            return NamedValue(_build_facts(model_part), candidate)
    return None


def find_unlisted_price(
    models: Mapping[str, ModelPart], list_price: ListPriceFinder, provider: str, name: str
) -> NamedValue[Price] | None:
    """Return the price of a model that no lab lists: of its name, else of a base name.

    The configuration's prices come first, then those of the price list.
    """
    names = list_price_names(name)
    for candidate in names:
        model_part = find_model(models, provider, candidate)
        if model_part is not None and model_part.price is not None:
            return NamedValue(pricing.build_price(model_part.price), candidate)
    for candidate in names:
        price = list_price(provider, candidate)
        if price is not None:
            return NamedValue(price, candidate)
    return None


def _build_embedding(
    embedding_part: EmbeddingPart,
    provider: Provider,
    models: Mapping[str, ModelPart],
    list_price: ListPriceFinder,
) -> Target:
    return _drop_window(
        _build_target(TargetPart(model=embedding_part.model), provider, models, list_price)
    )


def _drop_window(target: Target) -> Target:
    """Drop the window of a target: each input must fit it alone, and the provider checks that."""
    facts = msgspec.structs.replace(target.facts, context=None, max_input=None)
    return msgspec.structs.replace(target, facts=facts)


def find_embedding_urls(provider_part: ProviderPart, urls: Mapping[str, str]) -> dict[str, str]:
    """Return a provider's URLs for embeddings by dialect; `urls` are those for answers."""
    embedding_urls = {name: url for name, url in urls.items() if name == _GEMINI}
    url, separator, query = urls.get(_CHAT, "").partition("?")
    if provider_part.embeddings is not None:
        configured = provider_part.embeddings
        embedding_urls[_CHAT] = (
            configured if "://" in configured else provider_part.path_prefix + configured
        )
    elif url.endswith(_COMPLETIONS_PATH):
        embedding_urls[_CHAT] = (
            url.removesuffix(_COMPLETIONS_PATH) + _EMBEDDINGS_PATH + separator + query
        )
    return embedding_urls


def find_model(models: Mapping[str, ModelPart], provider: str, model: str) -> ModelPart | None:
    """Return what `models` says of a model at a provider, with facts of the model it is `like`.

    None if `models` does not describe it.
    """
    model_part = models.get(f"{provider}/{model}", models.get(model))
    visited = set()
    while model_part is not None and model_part.like is not None and model_part.like not in visited:
        visited.add(model_part.like)
        base_part = models.get(model_part.like)
        own_values = model_part.model_dump(exclude_unset=True, by_alias=True)
        del own_values["like"]
        base_values = (
            base_part.model_dump(exclude_unset=True, by_alias=True) if base_part is not None else {}
        )
        model_part = ModelPart.model_validate({**base_values, **own_values})
    return model_part


def _build_facts(model_part: ModelPart) -> ModelFacts:
    effort, chat = model_part.effort, model_part.chat
    styles = dict(effort.style) if effort is not None else {}
    return ModelFacts(
        context=model_part.context,
        max_input=model_part.max_input,
        max_output=model_part.max_output,
        tools=model_part.tools,
        forced_tools=model_part.forced_tools,
        vision=model_part.vision,
        files=model_part.files,
        audio=model_part.audio,
        json_schema=model_part.json_schema,
        answer_media=tuple(model_part.answers or ()),
        sampling=model_part.sampling or "always",
        efforts=tuple(effort.accepts) if effort is not None else (),
        effort_style=styles.pop("", None),
        effort_styles=styles,
        default_effort=effort.default if effort is not None else None,
        chat_efforts=_to_tuple(chat.efforts) if chat is not None else None,
        chat_tool_efforts=_to_tuple(chat.tools_at) if chat is not None else None,
        replays_reasoning=bool(model_part.replays_reasoning),
        refused_members=frozenset(model_part.refuses or ()),
        retirement_date=date.fromisoformat(model_part.retires) if model_part.retires else None,
        note=model_part.note,
    )


def _to_tuple(items: list[str] | None) -> tuple[str, ...] | None:
    return None if items is None else tuple(items)
