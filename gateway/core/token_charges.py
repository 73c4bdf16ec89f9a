"""The tokens of an answer that has more than text, class by class, each with its rate.

`Usage.media` counts tokens that stand in other classes too. A charge takes them out of the text,
so no token is charged twice.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from gateway.core.rates import EXACT_CONTEXT, NO_RATES, Rates, find_write_rate
from gateway.core.usage import Usage

_CACHE_READ = "cache_read_"


class Charge(NamedTuple):
    """A number of tokens with their rate in USD per million; None if the rate is unknown."""

    tokens: int
    rate: Decimal | None
    gap: str
    """The reason why the rate is unknown, as "no price of cached tokens"."""


class _PromptPart(NamedTuple):
    """A part of a prompt, by the way in which the provider's cache took it."""

    tokens: int
    lifetime: str | None
    """The lifetime of a part that was written to the cache; None for other parts."""
    is_cached: bool = False
    """True for the part that was read from the cache."""

    def find_rate(self, rates: Rates) -> Decimal | None:
        if self.lifetime is not None:
            return find_write_rate(rates, self.lifetime)
        return rates.cache_read if self.is_cached else rates.input

    def name_gap(self, modality: str) -> str:
        word = modality and f"{modality} "
        if self.lifetime is not None:
            return f"no price of {word}cache write tokens"
        if self.is_cached:
            return f"no price of cached {word}tokens"
        return f"no price of input {word}tokens"


def list_charges(usage: Usage, rates: Rates, as_text: frozenset[str]) -> Iterator[Charge]:
    """Yield the charges of an answer; `as_text` are the classes of media that cost as text does."""
    media = {name: tokens for name, tokens in usage.media.items() if name not in as_text}
    yield from _list_prompt_charges(usage, rates, media)
    yield from _list_output_charges(usage, rates, media)


def _list_output_charges(usage: Usage, rates: Rates, media: dict[str, int]) -> Iterator[Charge]:
    output, reasoning = usage.output or 0, usage.reasoning or 0
    if rates.reasoning is None:
        output, reasoning = output + reasoning, 0
    for name, tokens in media.items():
        direction, _, modality = name.partition("_")
        if direction == "output":
            media_rate = rates.media.get(modality, NO_RATES).output
            yield Charge(tokens, media_rate, f"no price of output {modality} tokens")
            output -= tokens
    if output < 0:
        yield Charge(1, None, "no credible count of output tokens that are not text")
    yield Charge(output, rates.output, "no price of output tokens")
    yield Charge(reasoning, rates.reasoning, "no price of reasoning tokens")


def _list_prompt_charges(usage: Usage, rates: Rates, media: dict[str, int]) -> Iterator[Charge]:
    parts = [
        _PromptPart(usage.input or 0, None),
        _PromptPart(usage.cache_read or 0, None, is_cached=True),
        *(_PromptPart(tokens, lifetime) for lifetime, tokens in usage.cache_write.items()),
    ]
    text = [part.tokens for part in parts]
    modalities = [name.removeprefix("input_") for name in media if name.startswith("input_")]
    # First the splits that the provider tells, or that its totals leave no choice about.
    modalities.sort(key=lambda modality: _CACHE_READ + modality not in media)
    unsplit: list[str] = []
    for modality in modalities:
        cached = media.get(_CACHE_READ + modality)
        split = _split_tokens(media[f"input_{modality}"], cached, text)
        if split is None:
            unsplit.append(modality)
            continue
        text = [total - count for total, count in zip(text, split, strict=True)]
        yield from _charge_parts(parts, split, rates.media.get(modality, NO_RATES), modality)
    for modality in unsplit:
        tokens, media_rates = media[f"input_{modality}"], rates.media.get(modality, NO_RATES)
        if gap := _find_split_gap(modality, tokens, parts, text, rates):
            yield Charge(tokens, None, gap)
        split = _fill_parts(tokens, text)
        text = [total - count for total, count in zip(text, split, strict=True)]
        yield from _charge_parts(parts, split, media_rates, modality)
    yield from _charge_parts(parts, text, rates, "")


def _charge_parts(
    parts: list[_PromptPart], counts: list[int], rates: Rates, modality: str
) -> Iterator[Charge]:
    for part, tokens in zip(parts, counts, strict=True):
        yield Charge(tokens, part.find_rate(rates), part.name_gap(modality))


def _split_tokens(tokens: int, cached: int | None, remaining: list[int]) -> list[int] | None:
    """Split the tokens of a modality among the parts of a prompt; None if several splits fit.

    `cached` is the number that the provider read from its cache; None if it does not say.
    `remaining` are the tokens of each part that are of no other modality.
    """
    fresh, in_cache, *written = remaining
    split = [0] * len(remaining)
    if cached is not None:  # a part is never more than the whole
        split[1] = min(cached, tokens, in_cache)
        in_cache = 0
    rest, room = tokens - split[1], [fresh, in_cache, *written]
    places = [index for index, size in enumerate(room) if size]
    if rest == sum(room):
        return [count + size for count, size in zip(split, room, strict=True)]
    if rest > sum(room) or (rest and len(places) != 1):
        return None
    if rest:
        split[places[0]] += rest
    return split


def _find_split_gap(
    modality: str, tokens: int, parts: list[_PromptPart], remaining: list[int], rates: Rates
) -> str | None:
    """Say why an unknown split makes the cost unknown; None if each split costs the same."""
    if tokens > sum(remaining):
        return f"no credible count of input {modality} tokens"
    media_rates = rates.media.get(modality)
    if media_rates is None:
        return parts[0].name_gap(modality)
    differences = set()
    for part, size in zip(parts, remaining, strict=True):
        own_rate, text_rate = part.find_rate(media_rates), part.find_rate(rates)
        if not size:
            continue
        if own_rate is None or text_rate is None:
            return part.name_gap(modality if own_rate is None else "")
        differences.add(EXACT_CONTEXT.subtract(own_rate, text_rate))
    return f"no count of {modality} tokens by cache" if len(differences) > 1 else None


def _fill_parts(tokens: int, remaining: list[int]) -> list[int]:
    """Return any split of the tokens of a modality among the parts of a prompt."""
    split = []
    for size in remaining:
        split.append(min(tokens, size))
        tokens -= split[-1]
    return split
