"""Prices of a configuration at any time, also of what is off by now or no longer a target."""

import functools
from collections.abc import Callable
from datetime import UTC, datetime

from gateway.core.ledger_rows import FinalRow
from gateway.core.price import Price
from gateway.runtime.build import BuiltConfig
from gateway.settings import catalogue, list_prices, pricing
from gateway.settings.baseline import baseline

_DAY = 86_400

type ListPrice = Callable[[str, str, datetime], Price | None]


class PriceList:
    """What calls are priced by. `listed` looks up what the configuration does not price itself."""

    def __init__(self, site: BuiltConfig, listed: ListPrice = list_prices.find) -> None:
        self._site = site
        self._listed = listed
        self._find = functools.cache(self._look)
        self._compared = baseline(site.source, site.built)

    def price(self, entry: FinalRow) -> Price | None:
        """The price of the model that a call went to, from the day on which it was received."""
        return self._at(entry.provider, entry.model, entry.at)

    def baseline(self, entry: FinalRow) -> Price | None:
        """The price that a call is compared with; None where no baseline is declared or known.

        A call that named its model or tier is compared with its own target.
        """
        if self._compared is None or entry.lab is None:
            return None
        if entry.source == "pin" or entry.tier is None:
            return self.price(entry)
        target = self._compared(entry.lab)
        return None if target is None else self._at(target.provider.name, target.model, entry.at)

    def _at(self, provider: str | None, model: str | None, at: float) -> Price | None:
        if provider is None or model is None:
            return None
        return self._find(provider, model, at // _DAY)

    def _look(self, provider: str, model: str, day: float) -> Price | None:
        config = self._site.source.config
        part = catalogue.describe(config.models, provider, model)
        if part is not None and part.price is not None:
            return pricing.price(part.price)
        known = config.providers.get(provider)
        name = (known.prices if known is not None else None) or provider
        return self._listed(name, model, datetime.fromtimestamp(day * _DAY, UTC))
