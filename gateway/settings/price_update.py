"""Bring the prices in the configuration's files up to the price list, for a person to review.

A price changes only if it has an `as_of` before the day of the list, and no comment: a comment says
why somebody wrote it so. What the list cannot say is left to a person: later prices (`from`) and
service tiers with rates of their own.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from gateway.core.name_patterns import matches_name
from gateway.core.price import Price
from gateway.settings import yaml
from gateway.settings.errors import Path as PartPath
from gateway.settings.loader import ConfigSource
from gateway.settings.price_check import PriceDifference, compare_prices
from gateway.settings.pricing import build_price
from gateway.settings.schema.pricing import find_written_price
from gateway.settings.schema.root import Config, EmbeddingPart, PricePart, TargetPart

_ABOVE_PATTERN = re.compile(r"(.+?)(?: above (\d+) tokens)?")
_COMMENT_PATTERN = re.compile(r"(?:^|\s)#")

type ListPriceFinder = Callable[[str, str], Price | None]
"""Looks up the list price of a model; the first name is that of its provider in the list."""


class FileUpdate(NamedTuple):
    """The text of a file, and the text that it should have."""

    file: Path
    old_text: str
    new_text: str


class KeptPrice(NamedTuple):
    """A price that differs from the list and stays as it is."""

    name: str
    place: str
    """The file and the line, as "config/models.yaml:12"."""
    reason: str
    differences: tuple[PriceDifference, ...]


class PriceUpdate(NamedTuple):
    """The files that change, and the prices that stay although the list differs."""

    files: tuple[FileUpdate, ...]
    kept: tuple[KeptPrice, ...]
    updated_names: tuple[str, ...]


def plan_update(
    source: ConfigSource, find_list_price: ListPriceFinder, now: datetime, list_date: date
) -> PriceUpdate:
    """Compare all written prices with the list, which is of `list_date`; change no file."""
    names_by_file: dict[str, list[str]] = {}
    for name, model_part in source.config.models.items():
        location = source.locations.get(("models", name, "price"))
        if model_part.price is not None and location is not None:
            names_by_file.setdefault(location[0], []).append(name)
    files, kept, updated_names = list[FileUpdate](), list[KeptPrice](), list[str]()
    for file, names in names_by_file.items():
        editor = _FileEditor(Path(file), list_date)
        for name in names:
            price_part = source.config.models[name].price
            differences = (
                ()
                if price_part is None
                else _find_differences(source.config, name, price_part, find_list_price, now)
            )
            if price_part is None or not differences:
                continue
            reason = editor.update(name, price_part, differences)
            if reason:
                line = source.locations["models", name, "price"][1]
                kept.append(KeptPrice(name, f"{file}:{line}", reason, differences))
            else:
                updated_names.append(name)
        if editor.new_text != editor.text:
            files.append(FileUpdate(editor.file, editor.text, editor.new_text))
    return PriceUpdate(tuple(files), tuple(kept), tuple(updated_names))


def _find_differences(
    config: Config,
    name: str,
    price_part: PricePart,
    find_list_price: ListPriceFinder,
    now: datetime,
) -> tuple[PriceDifference, ...]:
    """Return how a written price differs from the list's; empty if the list lacks the model."""
    seller = _find_seller(config, name)
    if seller is None:
        return ()
    provider, model = seller
    theirs = find_list_price(config.providers[provider].prices or provider, model)
    if theirs is None:
        return ()
    ours, timestamp = build_price(price_part), now.timestamp()
    return tuple(compare_prices(ours.find_in_force(timestamp), theirs.find_in_force(timestamp)))


def _find_seller(config: Config, name: str) -> tuple[str, str] | None:
    """Return the provider whose price stands under a key of `models`, and its model's name.

    That is the provider in the key, else the maker of the model, else the first with such a target.
    """
    prefix, slash, suffix = name.partition("/")
    if slash and prefix in config.providers:
        return prefix, suffix
    makers = (
        provider
        for provider, part in config.providers.items()
        if matches_name(tuple(part.names), name)
    )
    providers = (*makers, *_iter_target_providers(config, name))
    return (providers[0], name) if providers else None


def _iter_target_providers(config: Config, name: str) -> Iterator[str]:
    """Yield the providers with a target of a model whose price stands under its bare name."""
    for lab, lab_part in config.labs.items():
        items: list[TargetPart | EmbeddingPart] = [
            *lab_part.fast, *lab_part.smart, *lab_part.reasoning, *lab_part.embeddings,
        ]  # fmt: skip
        for item in items:
            provider = item.provider or lab
            written = find_written_price(config.models, provider, item.model)
            if item.model == name and written is not None and written[0] == name:
                yield provider


class _FileEditor:
    """Changes numbers in the text of one file, and nothing else."""

    def __init__(self, file: Path, list_date: date) -> None:
        self.file = file
        self.text = file.read_bytes().decode()  # with its own ends of lines
        self._list_date = list_date.isoformat()
        self._spans: Mapping[PartPath, yaml.Span] = yaml.locate_scalars(self.text)
        self._changes: dict[yaml.Span, str] = {}

    @property
    def new_text(self) -> str:
        """The text with all changes."""
        text = self.text
        for (start, end), value in sorted(self._changes.items(), reverse=True):
            text = f"{text[:start]}{value}{text[end:]}"
        return text

    def update(
        self, name: str, price_part: PricePart, differences: Sequence[PriceDifference]
    ) -> str:
        """Change a price to the list's; return the reason if it has to stay as it is."""
        price_path: PartPath = ("models", name, "price")
        if not price_part.as_of:
            return "it has no as_of"
        if price_part.as_of >= self._list_date:
            return f"its as_of, {price_part.as_of}, is not before the list's day"
        if price_part.from_ or any(part.factor is None for part in price_part.services.values()):
            return "it has later prices, or service tiers with rates of their own"
        paths = [_find_path(price_path, price_part, item[0]) for item in differences]
        spans = [self._spans.get(path) for path in (*paths, (*price_path, "as_of"))]
        if None in spans:
            return "the list differs in a part that is not written there, or that others share"
        if self._has_comment(("models", name)):
            return "it has a comment"
        values = [*(_format(item[2]) for item in differences), f'"{self._list_date}"']
        self._changes |= {
            span: value for span, value in zip(spans, values, strict=True) if span is not None
        }
        return ""

    def _has_comment(self, path: PartPath) -> bool:
        """True if a model's lines have a comment, or the lines right above them are comments."""
        spans = [span for key, span in self._spans.items() if key[: len(path)] == path]
        lines = self.text.splitlines()
        first = self.text.count("\n", 0, min(span[0] for span in spans))
        last = self.text.count("\n", 0, max(span[1] for span in spans))
        name = str(path[-1])
        while first > 0 and name not in lines[first]:  # the key stands above its first value
            first -= 1
        while first > 0 and lines[first - 1].lstrip().startswith("#"):
            first -= 1
        return any(_COMMENT_PATTERN.search(line) for line in lines[first : last + 1])


def _find_path(price_path: PartPath, price_part: PricePart, difference: str) -> PartPath:
    """Return the path of what a difference names, as `input above 200000 tokens` or `page`."""
    if difference in price_part.units:
        return (*price_path, "units", difference)
    match = _ABOVE_PATTERN.fullmatch(difference)
    if match is None:
        return price_path
    words, above = match[1], match[2]
    steps = [step.tokens for step in price_part.above]
    if above is not None and int(above) not in steps:
        return price_path
    part: PartPath = () if above is None else ("above", steps.index(int(above)))
    rate, _, rest = words.partition(" ")
    if rest.startswith("of "):
        return (*price_path, *part, rest.removeprefix("of "), rate)
    if rest:
        return (*price_path, *part, f"{rate}_by", rest)
    return (*price_path, "tools", rate) if rate in price_part.tools else (*price_path, *part, rate)


def _format(rate: Decimal) -> str:
    return f"{rate.normalize():f}"
