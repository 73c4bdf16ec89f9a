"""The provider's price list: shipped prices and genai-prices, read and multiplied anew.

Neither the arithmetic nor the reader of the files is the gateway's: the provider's bill is
independent.
"""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
from ruamel.yaml import YAML

from tests.clients.model_turns import Tokens

type Json = Any

_SELLERS = {"gemini": "google", "gemini-chat": "google"}
"""Names of hosts in genai-prices, where they differ."""
_DATED = re.compile(r"-(20\d{6}|20\d\d-\d\d-\d\d|latest)$")
_MILLION = Decimal(1_000_000)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class PriceList:
    """USD by host and model; None is unknown."""

    def __init__(self, folder: Path) -> None:
        self._models: dict[str, Json] = {}
        reader = YAML(typ="safe")
        for path in (*sorted((folder / "labs").glob("*.yaml")), folder / "models.yaml"):
            for name, facts in (reader.load(path).get("models") or {}).items():
                self._models.setdefault(name, {}).update(facts)

    def bills_writes(self, host: str, model: str) -> bool:
        """True if the host bills what it writes to its prompt cache."""
        price = self._price(host, model)
        return price is not None and "cache_write" in price

    def usd(self, host: str, model: str, tokens: Tokens, at: float) -> Decimal | None:
        """Price one answer at a moment, exactly."""
        price = self._price(host, model)
        if price is None:
            return _by_genai_prices(host, model, tokens, at)
        rates = _in_force(price, at)
        if rates is None:
            return None
        for step in sorted(rates.get("above") or (), key=lambda step: int(step["tokens"])):
            rates = {**rates, **step} if tokens.prompt > step["tokens"] else rates
        read = rates.get("cache_read", rates["input"])
        write = (rates.get("cache_write_by") or {}).get("5m", rates.get("cache_write", rates["input"]))  # fmt: skip
        counted = (
            (tokens.fresh, rates["input"]), (tokens.read, read),
            (tokens.write, write), (tokens.output, rates["output"]),
        )  # fmt: skip
        return sum((count * Decimal(str(rate)) for count, rate in counted), Decimal(0)) / _MILLION

    def _price(self, host: str, model: str) -> Json | None:
        """Find the price of a model: by its whole name first, then without its date."""
        names = (model, _DATED.sub("", model))
        for name in (f"{host}/{model}", *names):
            facts = self._models.get(name)
            while facts is not None and "price" not in facts and "like" in facts:
                facts = self._models.get(facts["like"])
            if facts is not None and "price" in facts:
                return facts["price"]
        return None


def _in_force(price: Json, at: float) -> Json | None:
    """Return the rates at a moment: later prices replace the first, and rates of an hour replace both."""
    moment = datetime.fromtimestamp(at, UTC)
    rates = {name: value for name, value in price.items() if name != "from"}
    for day, later in sorted((str(day), later) for day, later in (price.get("from") or {}).items()):
        if date.fromisoformat(day) <= moment.date():
            rates = later
    for hours in rates.get("hours") or ():
        spans = [hours["utc"]] if isinstance(hours["utc"], str) else hours["utc"]
        today = _DAYS[moment.weekday()] in (hours.get("days") or _DAYS)
        clock = f"{moment:%H:%M}"
        if today and any(first <= clock < last for first, _, last in (it.partition("-") for it in spans)):  # fmt: skip
            return hours
    return rates or None


def _by_genai_prices(host: str, model: str, tokens: Tokens, at: float) -> Decimal | None:
    """Price an answer of a model that does not ship."""
    usage = genai_prices.Usage(
        input_tokens=tokens.prompt, cache_read_tokens=tokens.read,
        cache_write_tokens=tokens.write, output_tokens=tokens.output,
    )  # fmt: skip
    for name in (model, _DATED.sub("", model)):
        try:
            price = genai_prices.calc_price(
                usage, name, provider_id=_SELLERS.get(host, host),
                genai_request_timestamp=datetime.fromtimestamp(at, UTC),
            )  # fmt: skip
        except LookupError:
            continue
        return price.total_price
    return None
