"""Facts and price of a model at a provider, and the source of each."""

from decimal import Decimal
from typing import NamedTuple

from gateway.core.price import Price
from gateway.core.target import ModelFacts, Target, list_fact_names, list_price_names
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.pricing import find_written_price


class ModelKnowledge(NamedTuple):
    """A target, with the places of its facts and of its price."""

    target: Target
    facts_source: str
    """The place of the facts, as "gpt-4o in config/models.yaml:12"; empty if there are none."""
    price_source: str
    """The place of the price, or the price list and the name in it; empty if there is none."""


def find_knowledge(source: ConfigSource, target: Target) -> ModelKnowledge:
    """Return a target with the places where its facts and its price stand."""
    models, provider = source.config.models, target.provider.name
    is_listed = target.is_listed
    fact_names = (target.model,) if is_listed else list_fact_names(target.model)
    price_names = (target.model,) if is_listed else list_price_names(target.model)
    facts_key = next(
        (key for name in fact_names for key in (f"{provider}/{name}", name) if key in models),
        None,
    )
    written_prices = (find_written_price(models, provider, name) for name in price_names)
    written_price = next((written for written in written_prices if written is not None), None)
    price_source = "" if target.price is None else target.price.version
    if target.price is not None and written_price is not None:
        price_source = _describe_place(source, written_price[0], "price")
    return ModelKnowledge(
        target,
        "" if facts_key is None else _describe_place(source, facts_key),
        price_source,
    )


def _describe_place(source: ConfigSource, key: str, *path: str) -> str:
    """Return where a key of `models` stands: "gpt-4o in config/models.yaml:12"."""
    mistake = source.make_mistake(("models", key, *path), "")
    return f"{key} in {mistake.file}:{mistake.line}"


def list_known_facts(facts: ModelFacts) -> dict[str, object]:
    """Return the facts that are known, by their names in the configuration."""
    named_facts: dict[str, object] = {
        "context": facts.context,
        "max_input": facts.max_input,
        "max_output": facts.max_output,
        "tools": facts.tools,
        "forced_tools": facts.forced_tools,
        "vision": facts.vision,
        "files": facts.files,
        "audio": facts.audio,
        "json_schema": facts.json_schema,
        "efforts": list(facts.efforts) or None,
        "retires": None if facts.retirement_date is None else facts.retirement_date.isoformat(),
        "note": facts.note or None,
    }
    return {name: value for name, value in named_facts.items() if value is not None}


def list_known_rates(price: Price, timestamp: float) -> dict[str, Decimal]:
    """Return the rates in force for short prompts of text, in USD per million tokens."""
    rates = price.find_in_force(timestamp).rates
    named_rates = {
        "input": rates.input,
        "cache_read": rates.cache_read,
        "cache_write": rates.cache_write,
        "output": rates.output,
        "reasoning": rates.reasoning,
    }
    return {name: rate for name, rate in named_rates.items() if rate is not None}


def list_known_unit_prices(price: Price, timestamp: float) -> dict[str, Decimal]:
    """Return the USD in force of one unit beside tokens, by unit."""
    return price.find_in_force(timestamp).units
