"""A configuration turned into the values that decisions are made of."""

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import cast

import msgspec

from gateway.core import jsonio
from gateway.core.price import Price
from gateway.core.target import (
    TIERS,
    TIMERS,
    UNKNOWN,
    Account,
    Catalogue,
    Lab,
    ModelFacts,
    NameOwner,
    Provider,
    Target,
    Targets,
    Tier,
    base_name,
    places,
    timers,
)
from gateway.settings import environment as env
from gateway.settings import pricing
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.root import (
    Config,
    EmbeddingPart,
    LabPart,
    ModelPart,
    ProviderPart,
    TargetPart,
)
from gateway.settings.schema.server import TimersPart

_CHAT, _GEMINI = "openai-chat", "gemini"
_COMPLETIONS, _EMBEDDINGS = "/chat/completions", "/embeddings"

type ListPrice = Callable[[str, str], Price | None]
"""Looks a price up by provider and model where the configuration has none."""


class BuiltCatalogue(msgspec.Struct, frozen=True):
    """What a configuration has become."""

    catalogue: Catalogue
    providers: dict[str, Provider]


def build(source: ConfigSource, list_price: ListPrice) -> BuiltCatalogue:
    """Turn a valid configuration into values. It must have passed check.errors()."""
    config = source.config
    providers = _providers(source)

    def listed(provider: str, model: str) -> Price | None:
        return list_price(config.providers[provider].prices or provider, model)

    vectors = {
        name: msgspec.structs.replace(
            item, doors=embedding_doors(config.providers[name], item.doors)
        )
        for name, item in providers.items()
    }
    labs = {
        name: msgspec.structs.replace(
            _capped(_lab(name, part, providers, config.models, listed), config.unknown_output),
            embeddings=tuple(
                _embedding(item, vectors[item.provider or name], config.models, listed)
                for item in part.embeddings
            ),
        )
        for name, part in config.labs.items()
    }
    default = config.default.lab
    on = [name for name, lab in labs.items() if lab.on]
    catalogue = Catalogue(
        labs=labs,
        default_lab=default if default in on else on[0] if on else (default or ""),
        default_tier=config.default.tier,
        aliases=config.aliases,
        models=places(labs),
        makers=tuple(_makers(config, providers, vectors, listed)),
        families=config.routing.families,
        version=_version(source.version, labs),
    )
    return BuiltCatalogue(catalogue, providers)


def _makers(
    config: Config,
    providers: Mapping[str, Provider],
    vectors: Mapping[str, Provider],
    list_price: ListPrice,
) -> Iterator[NameOwner]:
    """Make a maker of each provider with `names`; `vectors` has the providers for embeddings."""
    for name, part in config.providers.items():
        lab = lab_of(config, name)
        if not part.names or lab is None:
            continue
        known = config.models, list_price
        embeddings = Targets(functools.partial(_unlisted_embedding, vectors[name], *known))
        yield NameOwner(
            provider=providers[name],
            lab=lab,
            names=tuple(part.names),
            targets=Targets(functools.partial(_unlisted, providers[name], *known)),
            embeddings=embeddings if vectors[name].doors else None,
        )


def lab_of(config: Config, provider: str) -> str | None:
    """Return the lab of a provider's models: the one of its name, else the first that asks it.

    None where no lab has a target of the provider.
    """
    found = [
        name
        for name, part in config.labs.items()
        for item in (*part.fast, *part.smart, *part.reasoning)
        if (item.provider or name) == provider
    ]
    return provider if provider in found else next(iter(found), None)


def _version(written: str, labs: Mapping[str, Lab]) -> str:
    """Of what is written and of what the environment makes of it: targets, and which are on."""
    targets = [
        (lab.name, str(tier), target.name, target.provider.on)
        for lab in labs.values()
        for tier, row in lab.tiers.items()
        for target in row
    ]
    targets += [
        (lab.name, "embeddings", target.name, target.provider.on)
        for lab in labs.values()
        for target in lab.embeddings
    ]
    return hashlib.blake2b(jsonio.dumps([written, targets]), digest_size=6).hexdigest()


def _providers(source: ConfigSource) -> dict[str, Provider]:
    parts = source.config.providers
    found = {name: _provider(name, part, source) for name, part in parts.items()}
    others = any(item.on for name, item in found.items() if parts[name].start == "always")
    for name, part in parts.items():
        if part.start == "alone" and others:
            why = "it starts only where no other provider is on"
            found[name] = msgspec.structs.replace(found[name], on=False, why=why)
    return found


def _provider(name: str, part: ProviderPart, source: ConfigSource) -> Provider:
    secrets = {key: secret.strip() for key, secret in part.accounts.items()}
    accounts = tuple(Account(key, secret) for key, secret in secrets.items() if secret)
    why = _off(name, part, accounts, source)
    base = part.base_url.rstrip("/")
    tiers = {str(kind): _seconds(own) for kind, own in source.config.timeouts.items()}
    return Provider(
        name=name,
        doors={
            dialect: path if "://" in path else base + path
            for dialect, path in part.dialects.items()
        },
        auth=part.auth if accounts else "none",
        accounts=accounts or (Account("main", ""),),
        headers=part.headers,
        region=part.region,
        max_tokens=part.max_tokens,
        stream_usage=part.stream_usage,
        finish=part.finish,
        refuses=frozenset(part.refuses),
        media=part.media,
        counts_tokens=part.counts_tokens,
        keeps_responses=part.keeps_responses,
        prompt_cache=part.prompt_cache,
        timers={
            kind: timers(kind, tiers.get(kind, {}), _seconds(part.timeouts)) for kind in TIMERS
        },
        proxy=part.proxy or None,
        transport=part.transport,
        command=tuple(part.command),
        on=not why,
        why=why,
    )


def _seconds(part: TimersPart) -> dict[str, float]:
    """The timers that are written."""
    return {name: seconds for name, seconds in part.model_dump().items() if seconds is not None}


def _off(name: str, part: ProviderPart, accounts: tuple[Account, ...], source: ConfigSource) -> str:
    if part.enable is not None and not part.enable:
        needed = _needs(source, name, "enable")
        return f"set {needed}" if needed else "its `enable` is off"
    if part.auth == "none" or part.optional_key or accounts:
        return ""
    return f"set {_needs(source, name, 'accounts') or 'an account'}"


def _needs(source: ConfigSource, provider: str, part: str) -> str:
    """The variable that a part of a provider is made from: what to set to turn it on."""
    raw = cast("dict[str, dict[str, object]]", source.raw["providers"])[provider].get(part)
    texts = list(raw.values()) if isinstance(raw, dict) else [raw]
    return next((name for text in texts if isinstance(text, str) for name in env.names(text)), "")


def _lab(
    name: str,
    part: LabPart,
    providers: Mapping[str, Provider],
    models: Mapping[str, ModelPart],
    list_price: ListPrice,
) -> Lab:
    tiers: dict[Tier, tuple[Target, ...]] = {}
    parts = {"fast": part.fast, "smart": part.smart, "reasoning": part.reasoning}
    for tier in TIERS:
        tiers[tier] = tuple(
            _target(item, providers[item.provider or name], models, list_price)
            for item in parts[tier]
        )
    used = {target.provider.name: target.provider for row in tiers.values() for target in row}
    off = [provider for provider in used.values() if not provider.on]
    why = ""
    if len(off) == len(used):
        why = _either([provider.why for provider in off]) or "it has no target"
    return Lab(
        name=name, tiers=tiers, fallback=tuple(part.fallback), about=part.about, on=not why, why=why
    )


def _capped(lab: Lab, cap: int | None) -> Lab:
    """Give the targets of a lab a cap on answers, where nothing else is known to bound them."""
    if cap is None:
        return lab
    tiers = {
        tier: tuple(
            target
            if target.longest(None, 1) is not None
            else msgspec.structs.replace(target, max_output=cap)
            for target in targets
        )
        for tier, targets in lab.tiers.items()
    }
    return msgspec.structs.replace(lab, tiers=tiers)


def _either(whys: list[str]) -> str:
    """Reasons as one: "set A, B or C" where that is all there is to do."""
    names = [why.removeprefix("set ") for why in dict.fromkeys(whys)]
    if len(names) > 1 and all(why.startswith("set ") for why in whys):
        return f"set {', '.join(names[:-1])} or {names[-1]}"
    return " or ".join(dict.fromkeys(whys))


def _target(
    part: TargetPart,
    provider: Provider,
    models: Mapping[str, ModelPart],
    list_price: ListPrice,
) -> Target:
    model = describe(models, provider.name, part.model)
    price = pricing.price(model.price) if model is not None and model.price is not None else None
    if price is None and provider.on:
        price = list_price(provider.name, part.model)
    return Target(
        provider=provider,
        model=part.model,
        effort=part.effort,
        max_output=part.max_output,
        params=part.params,
        facts=_facts(model) if model is not None else UNKNOWN,
        price=price,
    )


def _unlisted(
    provider: Provider, models: Mapping[str, ModelPart], list_price: ListPrice, name: str
) -> Target:
    """Make the target of a model that no lab lists, with the facts of its name or base name."""
    names = dict.fromkeys((name, base_name(name)))
    parts = [describe(models, provider.name, one) for one in names]
    model = next((part for part in parts if part is not None), None)
    price = pricing.price(model.price) if model is not None and model.price is not None else None
    for one in names if price is None else ():
        price = price or list_price(provider.name, one)
    facts = _facts(model) if model is not None else UNKNOWN
    return Target(provider=provider, model=name, facts=facts, price=price, listed=False)


def _unlisted_embedding(
    provider: Provider, models: Mapping[str, ModelPart], list_price: ListPrice, name: str
) -> Target:
    return _windowless(_unlisted(provider, models, list_price, name))


def _embedding(
    part: EmbeddingPart,
    provider: Provider,
    models: Mapping[str, ModelPart],
    list_price: ListPrice,
) -> Target:
    return _windowless(_target(TargetPart(model=part.model), provider, models, list_price))


def _windowless(target: Target) -> Target:
    """Drop the window: each input must fit it, not all together, and the provider judges that."""
    facts = msgspec.structs.replace(target.facts, context=None, max_input=None)
    return msgspec.structs.replace(target, facts=facts)


def embedding_doors(part: ProviderPart, doors: Mapping[str, str]) -> dict[str, str]:
    """Where a provider is asked for embeddings, by dialect; `doors` are those for answers."""
    found = {name: door for name, door in doors.items() if name == _GEMINI}
    door, question, query = doors.get(_CHAT, "").partition("?")
    if part.embeddings is not None:
        own = part.embeddings
        found[_CHAT] = own if "://" in own else part.base_url.rstrip("/") + own
    elif door.endswith(_COMPLETIONS):
        found[_CHAT] = door.removesuffix(_COMPLETIONS) + _EMBEDDINGS + question + query
    return found


def describe(models: Mapping[str, ModelPart], provider: str, model: str) -> ModelPart | None:
    """What the configuration says of a model at a provider, with what it is `like` filled in."""
    part = models.get(f"{provider}/{model}", models.get(model))
    seen = set()
    while part is not None and part.like is not None and part.like not in seen:
        seen.add(part.like)
        base = models.get(part.like)
        own = part.model_dump(exclude_unset=True, by_alias=True)
        del own["like"]
        inherited = base.model_dump(exclude_unset=True, by_alias=True) if base is not None else {}
        part = ModelPart.model_validate({**inherited, **own})
    return part


def _facts(part: ModelPart) -> ModelFacts:
    effort, chat = part.effort, part.chat
    styles = dict(effort.style) if effort is not None else {}
    return ModelFacts(
        context=part.context,
        max_input=part.max_input,
        max_output=part.max_output,
        tools=part.tools,
        forced_tools=part.forced_tools,
        vision=part.vision,
        files=part.files,
        audio=part.audio,
        json_schema=part.json_schema,
        sampling=part.sampling or "always",
        efforts=tuple(effort.accepts) if effort is not None else (),
        effort_style=styles.pop("", None),
        effort_styles=styles,
        default_effort=effort.default if effort is not None else None,
        chat_efforts=_tuple(chat.efforts) if chat is not None else None,
        chat_tools_at=_tuple(chat.tools_at) if chat is not None else None,
        replays_reasoning=bool(part.replays_reasoning),
        refuses=frozenset(part.refuses or ()),
        retires=date.fromisoformat(part.retires) if part.retires else None,
        note=part.note,
    )


def _tuple(items: list[str] | None) -> tuple[str, ...] | None:
    return None if items is None else tuple(items)
