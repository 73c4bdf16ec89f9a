"""What calls are compared with: `ledger.baseline` as it is written, and the target it is."""

from collections.abc import Callable, Iterator

from gateway.core.target import TIERS, Catalogue, Target
from gateway.settings import pricing
from gateway.settings.catalogue import BuiltCatalogue, describe
from gateway.settings.errors import Mistake, Path, nearest
from gateway.settings.lifecycle_warnings import targets
from gateway.settings.loader import ConfigSource

type Baseline = Callable[[str], Target | None]
"""By the lab that a call went to: what it is compared with, None where that lab has no such."""

_HERE: Path = ("ledger", "baseline")


def baseline(source: ConfigSource, built: BuiltCatalogue) -> Baseline | None:
    """What a valid configuration declares; None where it declares nothing.

    A tier is its first target that is on, or its first: nobody calls it, its price is what counts.
    """
    written = source.config.ledger.baseline
    if not written:
        return None
    labs = built.catalogue.labs
    if written in TIERS:
        firsts = {lab: _first(built.catalogue, lab, written) for lab in labs}
        return firsts.get
    name, _, rest = written.partition("/")
    if _is_tier(source, name, rest):
        one = _first(built.catalogue, name, rest)
    else:
        one = _model(source, built, name, rest)
    return lambda _lab: one


def errors(source: ConfigSource) -> Iterator[Mistake]:
    """Names in it that nothing has."""
    written = source.config.ledger.baseline
    if not written or written in TIERS:
        return
    name, slash, rest = written.partition("/")
    config, named = source.config, _models(source)
    if _is_tier(source, name, rest) or (name in config.providers and _known(source, name, rest)):
        return
    if rest in TIERS:
        yield source.mistake(_HERE, f"no lab {name!r}.", nearest(name, config.labs))
    elif slash and name not in config.providers:
        serving = {f"{provider}/{model}" for provider, model in named if model == rest}
        hint = nearest(written, serving) if serving else nearest(name, config.providers)
        yield source.mistake(_HERE, f"no provider {name!r}.", hint)
    else:
        known = {*TIERS, *(f"{provider}/{model}" for provider, model in named)}
        hint = (
            nearest(written, known) or "Write it as `smart`, `openai/smart` or `openai/gpt-6-sol`."
        )
        yield source.mistake(_HERE, f"nothing is called {written!r}.", hint)


def warnings(source: ConfigSource, built: BuiltCatalogue) -> Iterator[Mistake]:
    """A baseline that has no price, or that a lab does not have."""
    found = baseline(source, built)
    told: dict[str, str] = {}
    for lab in built.catalogue.labs.values():
        if found is None or not lab.on:
            continue
        target = found(lab.name)
        if target is None:
            told[f"{lab.name} has no such target: its calls are compared with nothing."] = ""
        elif target.price is None:
            message = f"the price of {target.name} is unknown: nothing is compared with it."
            told[message] = "Give it one under `models`."
    for message, hint in told.items():
        yield source.mistake(_HERE, message, hint, warn=True)


def _is_tier(source: ConfigSource, lab: str, rest: str) -> bool:
    return lab in source.config.labs and rest in TIERS


def _models(source: ConfigSource) -> list[tuple[str, str]]:
    """Provider and model of every target, in the order they are written."""
    return [(provider, target.model) for *_, provider, target in targets(source)]


def _known(source: ConfigSource, provider: str, model: str) -> bool:
    """Whether a model is a target of a provider or is described for it."""
    described = describe(source.config.models, provider, model) is not None
    return (provider, model) in _models(source) or described


def _first(catalogue: Catalogue, lab: str, tier: str) -> Target | None:
    rows = [row for name, row in catalogue.labs[lab].tiers.items() if name == tier]
    found = [target for row in rows for target in row]
    return next((target for target in found if target.provider.on), next(iter(found), None))


def _model(source: ConfigSource, built: BuiltCatalogue, provider: str, model: str) -> Target:
    """A target of this model, or what it would be: it need not be in any tier."""
    every = [
        target
        for lab in built.catalogue.labs.values()
        for row in lab.tiers.values()
        for target in row
        if (target.provider.name, target.model) == (provider, model)
    ]
    if every:
        return every[0]
    part = describe(source.config.models, provider, model)
    price = pricing.price(part.price) if part is not None and part.price is not None else None
    return Target(provider=built.providers[provider], model=model, price=price)
