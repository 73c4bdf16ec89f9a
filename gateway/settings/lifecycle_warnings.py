"""Warnings that depend on the date: models that retire, prices that change, missing prices."""

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from gateway.core.rates import Rates
from gateway.core.target import TIERS, Catalogue, Target, Tier
from gateway.settings.catalogue import find_model
from gateway.settings.errors import Mistake, Path
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.pricing import find_written_price, list_services
from gateway.settings.schema.root import (
    DatedPart,
    LabPart,
    ModelPart,
    PricePart,
    RatesPart,
    TargetPart,
)

_NOTICE_PERIOD = timedelta(days=30)
_EMBEDDINGS = "embeddings"
_RATE_NAMES = ("input", "cache_read", "cache_write", "output")
_OTHER_TERMS = {
    "cache_write_by": "lifetimes of the cache",
    "hours": "hours",
    "above": "long-context steps",
    "services": "service tiers",
    "tools": "tools",
    "units": "units",
}
"""Parts of a price besides its rates, in the words of a warning."""


def find_date_warnings(
    source: ConfigSource, today: date, disabled_providers: Collection[str]
) -> Iterator[Mistake]:
    """Yield warnings about retirements and price changes that are due within 30 days.

    A retirement that has passed counts too. Providers that are off do not count.
    """
    yield from _find_retiring(source, today, disabled_providers)
    yield from _find_price_steps(source, today, disabled_providers)


def list_targets(source: ConfigSource) -> Iterator[tuple[Path, str, Tier, str, TargetPart]]:
    """Yield every target: its path, lab, tier, provider and part of the configuration."""
    for lab, lab_part in source.config.labs.items():
        for tier in TIERS:
            for index, target in enumerate(_list_tier_targets(lab_part, tier)):
                yield ("labs", lab, tier, index), lab, tier, target.provider or lab, target


def _list_tier_targets(lab_part: LabPart, tier: Tier) -> list[TargetPart]:
    return {"fast": lab_part.fast, "smart": lab_part.smart, "reasoning": lab_part.reasoning}[tier]


class _ModelUse(NamedTuple):
    """A model at a provider as a lab uses it: in a tier, or for embeddings."""

    path: Path
    lab: str
    section: str
    provider: str
    model: str

    @property
    def replacement_group(self) -> tuple[object, ...]:
        """The group of uses that can replace each other. Embeddings need the same model."""
        return (*self.path[:-1], self.model if self.section == _EMBEDDINGS else "")


def _list_uses(source: ConfigSource) -> Iterator[_ModelUse]:
    for path, lab, tier, provider, target in list_targets(source):
        yield _ModelUse(path, lab, tier, provider, target.model)
    for lab, lab_part in source.config.labs.items():
        for index, item in enumerate(lab_part.embeddings):
            embedding_path: Path = ("labs", lab, _EMBEDDINGS, index)
            yield _ModelUse(embedding_path, lab, _EMBEDDINGS, item.provider or lab, item.model)


def find_unpriced(
    source: ConfigSource, catalogue: Catalogue, *, has_price_list: bool
) -> Iterator[Mistake]:
    """Yield warnings about targets that are on and have no price at all.

    `has_price_list`: True if the price list is installed. Without it, one warning names all
    targets.
    """
    pairs = [(use, _find_target(use, catalogue)) for use in _list_uses(source)]
    unpriced_pairs = [
        (use, target) for use, target in pairs if target.provider.enabled and target.price is None
    ]
    if unpriced_pairs and not has_price_list:
        names = ", ".join(dict.fromkeys(target.name for _, target in unpriced_pairs))
        message = f"no prices are known of {names}: their calls have no cost."
        hint = "Install the list: pip install 'tiergate[prices]'; or give each a `price`."
        yield source.make_mistake(("models",), message, hint, warn=True)
        return
    for use, target in unpriced_pairs:
        message = f"the price of {target.name} is unknown: its calls have no cost."
        hint = "Give it one under `models`."
        yield source.make_mistake((*use.path, "model"), message, hint, warn=True)


def _find_target(use: _ModelUse, catalogue: Catalogue) -> Target:
    lab, index = catalogue.labs[use.lab], int(use.path[-1])
    if use.section == _EMBEDDINGS:
        return lab.embeddings[index]
    return next(
        tier_targets[index] for tier, tier_targets in lab.tiers.items() if tier == use.section
    )


def _find_retiring(
    source: ConfigSource, today: date, disabled_providers: Collection[str]
) -> Iterator[Mistake]:
    models = source.config.models
    described_uses = [
        (use, find_model(models, use.provider, use.model))
        for use in _list_uses(source)
        if use.provider not in disabled_providers
    ]
    staying_groups = {
        use.replacement_group
        for use, model_part in described_uses
        if _find_retirement_date(model_part) > today + _NOTICE_PERIOD
    }
    for use, model_part in described_uses:
        retirement = _find_retirement_date(model_part)
        if model_part is None or retirement > today + _NOTICE_PERIOD:
            continue
        is_retired, is_last = retirement <= today, use.replacement_group not in staying_groups
        message = f"{use.model} {'has retired' if is_retired else 'retires'} on {retirement}"
        if is_last:
            noun = "provider of it" if use.section == _EMBEDDINGS else "target of this tier"
            message += f", and no {noun} stays"
        hint = "Remove it." if is_retired else "Replace it by then."
        if is_last and is_retired:
            hint = "Replace it."
        if model_part.successor is not None:
            hint = f"Its successor is {model_part.successor}."
        yield source.make_mistake((*use.path, "model"), f"{message}.", hint, warn=True)


def _find_retirement_date(model_part: ModelPart | None) -> date:
    text = model_part.retires if model_part is not None else None
    return date.max if text is None else date.fromisoformat(text)


def _find_price_steps(
    source: ConfigSource, today: date, disabled_providers: Collection[str]
) -> Iterator[Mistake]:
    sections: dict[str, dict[str, None]] = {}
    prices: dict[str, PricePart] = {}
    for use in _list_uses(source):
        written_price = find_written_price(source.config.models, use.provider, use.model)
        if written_price is not None and use.provider not in disabled_providers:
            name, prices[name] = written_price
            sections.setdefault(name, {})[f"{use.lab}/{use.section}"] = None
    for name, price in prices.items():
        price_path: Path = ("models", name, "price")
        hint = f"It serves {', '.join(sections[name])}."
        current: DatedPart = price
        for day, upcoming in sorted(price.from_.items()):
            if _is_due(day, today):
                message = f"the price changes on {day}: {_describe_change(current, upcoming)}."
                yield source.make_mistake((*price_path, "from", day), message, hint, warn=True)
            current = upcoming
        for path, service_name, service in list_services(price, price_path):
            factor = service.factor
            for day, new_factor in sorted(service.from_.items()):
                if _is_due(day, today):
                    message = (
                        f"the price of {service_name} changes on {day}: "
                        f"{factor} to {new_factor} times."
                    )
                    yield source.make_mistake((*path, "from", day), message, hint, warn=True)
                factor = new_factor


def _is_due(day: str, today: date) -> bool:
    return today < date.fromisoformat(day) <= today + _NOTICE_PERIOD


def find_list_price_steps(
    source: ConfigSource, catalogue: Catalogue, today: date
) -> Iterator[Mistake]:
    """Yield warnings about changes within 30 days of prices that come from the price list."""
    for use in _list_uses(source):
        target = _find_target(use, catalogue)
        written_price = find_written_price(source.config.models, use.provider, use.model)
        if target.price is None or written_price is not None or not target.provider.enabled:
            continue
        current_rates = target.price.rates
        for item in target.price.later:
            day = datetime.fromtimestamp(item.start, UTC).date()
            if day <= today + _NOTICE_PERIOD:
                change = _describe_change(current_rates, item.price.rates)
                message = f"the list price of {use.model} changes on {day}: {change}."
                yield source.make_mistake((*use.path, "model"), message, warn=True)
            current_rates = item.price.rates


def _describe_change(earlier: RatesPart | Rates, later: RatesPart | Rates) -> str:
    """Describe how rates change, in USD per million tokens."""
    pairs = [(name, getattr(earlier, name), getattr(later, name)) for name in _RATE_NAMES]
    changes = [
        f"{name} {'unknown' if old is None else f'{old:f}'} to "
        f"{'unknown' if new is None else f'{new:f}'}"
        for name, old, new in pairs
        if old != new
    ]
    if changes:
        return ", ".join(changes)
    other_terms = [term for name, term in _OTHER_TERMS.items() if _differs(earlier, later, name)]
    return f"only its {' and its '.join(other_terms or ['hours or its long-context steps'])}"


def _differs(earlier: RatesPart | Rates, later: RatesPart | Rates, name: str) -> bool:
    old, new = getattr(earlier, name, None), getattr(later, name, None)
    if isinstance(earlier, DatedPart) and name in ("services", "tools", "units"):
        return any((old or {}).get(key) != item for key, item in (new or {}).items())
    return old != new
