"""Compare prices with the price list: a misplaced decimal point can make a cost 100 times too high.

This imports genai-prices, which takes about 0.1 s. So it is for `check`, not for serving, and only
for prices that an operator wrote: tests of the project compare the prices that ship.
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.core.target import Target
from gateway.settings import list_prices
from gateway.settings.catalogue import BuiltCatalogue
from gateway.settings.errors import Mistake
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.pricing import find_written_price

_MAX_RATIO = 3
"""The ratio above which a price is doubtful. Lists lag and hosts differ, but by less."""
_ROUNDING = Decimal("1e-9")
"""The precision of a written price, in USD per million tokens."""
_RATE_NAMES = ("input", "cache_read", "cache_write", "output")

type PriceDifference = tuple[str, Decimal, Decimal]
"""The name of a rate, the configured USD, and the USD in the list."""


def find_doubtful_prices(
    source: ConfigSource, built: BuiltCatalogue, now: datetime, *, shipped_folder: Path
) -> Iterator[Mistake]:
    """Yield a warning for each rate over three times, or under a third of, the listed one.

    Prices in files that equal those in `shipped_folder` are not compared.
    """
    reported: set[tuple[str, str]] = set()
    shipped_names = find_shipped_prices(source, shipped_folder)
    for target, ours, theirs in pair_prices(source, built, now, shipped_names):
        written_price = find_written_price(source.config.models, target.provider.name, target.model)
        for rate_name, own_rate, list_rate in compare_prices(ours, theirs):
            is_doubtful = own_rate > _MAX_RATIO * list_rate or list_rate > _MAX_RATIO * own_rate
            if (
                written_price is None
                or not is_doubtful
                or (written_price[0], rate_name) in reported
            ):
                continue
            reported.add((written_price[0], rate_name))
            message = (
                f"{rate_name} of {target.name} is {own_rate:f},"
                f" and {list_rate:f} in {theirs.version}."
            )
            path = ("models", written_price[0], "price")
            yield source.make_mistake(path, message, "Is it USD per million tokens?", warn=True)


def find_shipped_prices(source: ConfigSource, shipped_folder: Path) -> set[str]:
    """Return the keys under `models` whose price stands in a file that equals the shipped one."""
    names_by_file: dict[str, set[str]] = {}
    for name, model in source.config.models.items():
        location = source.locations.get(("models", name, "price"))
        if model.price is not None and location is not None:
            names_by_file.setdefault(location[0], set()).add(name)
    return {
        name
        for file, names in names_by_file.items()
        if _is_shipped(Path(file), source.file.parent, shipped_folder)
        for name in names
    }


def _is_shipped(file: Path, folder: Path, shipped_folder: Path) -> bool:
    """True if the file has the bytes of the file at the same place in the shipped folder."""
    try:
        relative_path = file.resolve().relative_to(folder.resolve())
        return file.read_bytes() == (shipped_folder / relative_path).read_bytes()
    except (ValueError, OSError):
        return False


def pair_prices(
    source: ConfigSource, built: BuiltCatalogue, now: datetime, except_names: Collection[str] = ()
) -> Iterator[tuple[Target, Price, Price]]:
    """Yield each target that is on with its configured and its listed price, if it has both.

    A price that stands under one of `except_names` in `models` is left out.
    """
    seen_targets: set[str] = set()
    for lab in built.catalogue.labs.values():
        for target in [
            *(tier_target for tier_targets in lab.tiers.values() for tier_target in tier_targets),
            *lab.embeddings,
        ]:
            name = target.provider.name
            written_price = find_written_price(source.config.models, name, target.model)
            if (
                target.name in seen_targets
                or not target.provider.enabled
                or written_price is None
                or written_price[0] in except_names
                or not target.price
            ):
                continue
            seen_targets.add(target.name)
            list_provider = source.config.providers[name].prices or name
            list_price = list_prices.find_price(list_provider, target.model, now)
            if list_price is not None:
                yield (
                    target,
                    target.price.find_in_force(now.timestamp()),
                    list_price.find_in_force(now.timestamp()),
                )


def compare_prices(ours: Price, theirs: Price) -> list[PriceDifference]:
    """Return every rate that both prices have and that differs, at each length of prompt.

    Token rates of zero are not compared: embeddings, for example, have no output to pay for.
    """
    differences: list[PriceDifference] = []
    for prompt_tokens in sorted({0, *(step.above + 1 for step in (*ours.steps, *theirs.steps))}):
        suffix = f" above {prompt_tokens - 1} tokens" if prompt_tokens else ""
        for name, own_rate, list_rate in _pair_rates(
            ours.find_rates(prompt_tokens), theirs.find_rates(prompt_tokens)
        ):
            if own_rate and list_rate and abs(own_rate - list_rate) > _ROUNDING:
                differences.append((f"{name}{suffix}", own_rate, list_rate))
    for own, listed in ((ours.tools, theirs.tools), (ours.units, theirs.units)):
        names = sorted(own.keys() & listed.keys())
        differences += [
            (name, own[name], listed[name]) for name in names if own[name] != listed[name]
        ]
    return differences


def _pair_rates(ours: Rates, theirs: Rates) -> Iterator[tuple[str, Decimal | None, Decimal | None]]:
    for name in _RATE_NAMES:
        yield name, getattr(ours, name), getattr(theirs, name)
    for lifetime in sorted(ours.cache_write_by.keys() & theirs.cache_write_by.keys()):
        yield (
            f"cache_write {lifetime}",
            ours.cache_write_by[lifetime],
            theirs.cache_write_by[lifetime],
        )
    for modality in sorted(ours.media.keys() & theirs.media.keys()):
        for name in _RATE_NAMES:
            own_rate, list_rate = (getattr(rates.media[modality], name) for rates in (ours, theirs))
            yield f"{name} of {modality}", own_rate, list_rate
