"""The baseline: the target that calls are compared with, from `ledger.baseline`."""

from collections.abc import Callable, Iterator

from gateway.core.target import TIERS, Catalogue, Target
from gateway.settings import pricing
from gateway.settings.catalogue import BuiltCatalogue, find_model
from gateway.settings.errors import Mistake, Path, suggest_name
from gateway.settings.lifecycle_warnings import list_targets
from gateway.settings.loader import ConfigSource

type Baseline = Callable[[str], Target | None]
"""Returns the target that calls of a lab are compared with; None if the lab has no such target."""

_BASELINE_PATH: Path = ("ledger", "baseline")


def build_baseline(source: ConfigSource, built: BuiltCatalogue) -> Baseline | None:
    """Return the baseline of a valid configuration; None if it declares none.

    A tier stands for its first target that is on, or else for its first target. Nobody calls the
    target; only its price matters.
    """
    baseline_name = source.config.ledger.baseline
    if not baseline_name:
        return None
    labs = built.catalogue.labs
    if baseline_name in TIERS:
        first_targets = {
            lab: _find_first_target(built.catalogue, lab, baseline_name) for lab in labs
        }
        return first_targets.get
    name, _, suffix = baseline_name.partition("/")
    if _is_tier(source, name, suffix):
        target = _find_first_target(built.catalogue, name, suffix)
    else:
        target = _find_or_build_target(source, built, name, suffix)
    return lambda _lab: target


def find_errors(source: ConfigSource) -> Iterator[Mistake]:
    """Yield an error if nothing has the name in `ledger.baseline`."""
    baseline_name = source.config.ledger.baseline
    if not baseline_name or baseline_name in TIERS:
        return
    name, slash, suffix = baseline_name.partition("/")
    config, target_models = source.config, _list_target_models(source)
    if _is_tier(source, name, suffix) or (
        name in config.providers and _is_known_model(source, name, suffix)
    ):
        return
    if suffix in TIERS:
        yield source.make_mistake(
            _BASELINE_PATH, f"no lab {name!r}.", suggest_name(name, config.labs)
        )
    elif slash and name not in config.providers:
        matches = {f"{provider}/{model}" for provider, model in target_models if model == suffix}
        hint = (
            suggest_name(baseline_name, matches)
            if matches
            else suggest_name(name, config.providers)
        )
        yield source.make_mistake(_BASELINE_PATH, f"no provider {name!r}.", hint)
    else:
        known_names = {*TIERS, *(f"{provider}/{model}" for provider, model in target_models)}
        hint = (
            suggest_name(baseline_name, known_names)
            or "Write it as `smart`, `openai/smart` or `openai/gpt-6-sol`."
        )
        yield source.make_mistake(
            _BASELINE_PATH, f"no model or alias is called {baseline_name!r}.", hint
        )


def find_warnings(source: ConfigSource, built: BuiltCatalogue) -> Iterator[Mistake]:
    """Yield a warning if the baseline has no price, or if a lab has no such target."""
    find_target = build_baseline(source, built)
    hints: dict[str, str] = {}
    for lab in built.catalogue.labs.values():
        if find_target is None or not lab.enabled:
            continue
        target = find_target(lab.name)
        if target is None:
            hints[f"{lab.name} has no such target: its calls are compared with nothing."] = ""
        elif target.price is None:
            message = f"the price of {target.name} is unknown: nothing is compared with it."
            hints[message] = "Give it one under `models`."
    for message, hint in hints.items():
        yield source.make_mistake(_BASELINE_PATH, message, hint, warn=True)


def _is_tier(source: ConfigSource, lab: str, tier_name: str) -> bool:
    return lab in source.config.labs and tier_name in TIERS


def _list_target_models(source: ConfigSource) -> list[tuple[str, str]]:
    """Return the provider and model of every target, in the order of the configuration."""
    return [(provider, target.model) for *_, provider, target in list_targets(source)]


def _is_known_model(source: ConfigSource, provider: str, model: str) -> bool:
    """Return True if a provider has a target of a model, or if `models` describes it."""
    is_described = find_model(source.config.models, provider, model) is not None
    return (provider, model) in _list_target_models(source) or is_described


def _find_first_target(catalogue: Catalogue, lab: str, tier: str) -> Target | None:
    tier_rows = [row for name, row in catalogue.labs[lab].tiers.items() if name == tier]
    candidates = [target for row in tier_rows for target in row]
    return next(
        (target for target in candidates if target.provider.enabled), next(iter(candidates), None)
    )


def _find_or_build_target(
    source: ConfigSource, built: BuiltCatalogue, provider: str, model: str
) -> Target:
    """Return a target of a model, or build one: the model need not be in any tier."""
    matches = [
        target
        for lab in built.catalogue.labs.values()
        for tier_targets in lab.tiers.values()
        for target in tier_targets
        if (target.provider.name, target.model) == (provider, model)
    ]
    if matches:
        return matches[0]
    model_part = find_model(source.config.models, provider, model)
    price = (
        pricing.build_price(model_part.price)
        if model_part is not None and model_part.price is not None
        else None
    )
    return Target(provider=built.providers[provider], model=model, price=price)
