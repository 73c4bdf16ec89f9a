"""The usage of a call: five classes of tokens that never overlap, and other billed units."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

MAX_TOKENS = 2**40
"""The largest credible count, a million times the largest window. More is a provider's fault."""
_MAX_USD = 1_000_000
"""The most credible USD of one answer. More is a provider's fault too."""
_STANDARD_WORDS = frozenset(
    {
        "", "auto", "default", "none", "not_available", "on_demand", "standard", "standard_only",
        "unspecified", "global",
    }
)  # fmt: skip
"""Providers' words for the standard service tier, and for the usual choice among variants."""
_MAX_WORD_CHARS = 40
MODALITIES = ("audio", "image", "video")
"""The kinds of tokens that are not text."""
UNKNOWN_MODALITY = "file"
"""The kind of a file in a request, which may be a document or media."""


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The tokens and units of one answer. None means that the provider did not say, never zero.

    `input` counts the tokens that were neither read from nor written to a prompt cache. `output`
    leaves reasoning out if the provider counts it apart. Otherwise `output` has both, and
    `reasoning` is None.
    """

    input: int | None = None
    cache_read: int | None = None
    cache_write: dict[str, int] = {}
    """Tokens written to the provider's prompt cache by lifetime ("5m", "1h"; "" if unknown)."""
    output: int | None = None
    reasoning: int | None = None
    tools: dict[str, int] = {}
    """Units of the provider's own tools that it bills one by one: requests ("web_search"), or
    tokens of another model that works as a tool ("claude-opus-5:input")."""
    media: dict[str, int] = {}
    """The tokens above that are not text, by direction and modality.

    "input_audio" counts those of the whole prompt. "cache_read_audio" counts those of them that the
    provider read from its cache: 0 if it says that they are none, absent if it does not say.
    "output_audio" counts those of the answer. "input_other" counts tokens whose modality is mixed,
    or unknown.
    """
    units: dict[str, Decimal] = {}
    """Amounts that the provider bills beside tokens, by unit as in `gateway.core.units`.

    An answer that is billed by unit alone may leave `input` and `output` unknown: its tokens cost
    nothing where the price has no rate of tokens.
    """
    service: str | None = None
    """The provider's service tier that served ("priority"); None for its standard tier."""
    billed: Decimal | None = None
    """USD that the provider billed, by its own word."""

    @property
    def prompt(self) -> int | None:
        """All input tokens: fresh, read from the cache and written to it."""
        if self.input is None:
            return None
        return self.input + (self.cache_read or 0) + sum(self.cache_write.values())

    @property
    def has_input_and_output(self) -> bool:
        """True if both input and output are known."""
        return self.input is not None and self.output is not None

    @property
    def completion(self) -> int | None:
        """All output tokens, with those of reasoning."""
        if self.output is None:
            return None
        return self.output + (self.reasoning or 0)


def parse_count(value: object) -> int | None:
    """Return a provider's token count; None if it is no whole number from 0 to MAX_TOKENS."""
    if type(value) is int:  # not isinstance: a bool is not a count
        return value if 0 <= value <= MAX_TOKENS else None
    if isinstance(value, float) and value.is_integer():
        return parse_count(int(value))
    return None


def read_counts(members: object) -> dict[str, int]:
    """Return those members of a provider's object that are counts, as `parse_count` says of each.

    Return none of a value that is no object.
    """
    if not isinstance(members, dict):
        return {}
    return {
        name: count for name, value in members.items() if (count := parse_count(value)) is not None
    }


def parse_usd(value: object) -> Decimal | None:
    """Return a provider's USD with the digits that it wrote; None if they are no credible sum."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Decimal(str(value)) if 0 <= value <= _MAX_USD else None


def is_standard_word(text: str) -> bool:
    """Return True if a text is a provider's word for the usual choice, or empty."""
    return text in _STANDARD_WORDS


def parse_service_tier(*words: object) -> str | None:
    """Return the service tier that providers' words name; None for the standard tier.

    If several words name something, the price depends on all of them: the result joins them
    ("fast+us").
    """
    for word in words:
        if word and not (type(word) is str and word in _STANDARD_WORDS):
            break
    else:  # the usual case
        return None
    names = [word.strip().lower()[:_MAX_WORD_CHARS] for word in words if isinstance(word, str)]
    return "+".join(dict.fromkeys(word for word in names if word not in _STANDARD_WORDS)) or None


def sum_media_tokens(direction: str, counts: Iterable[tuple[str, object]]) -> dict[str, int]:
    """Return `Usage.media` of one direction, from counts by modality, without zeros.

    A modality that is not in `MODALITIES` is "other".
    """
    tokens_by_class: dict[str, int] = {}
    for modality, value in counts:
        if tokens := parse_count(value):
            name = f"{direction}_{modality if modality in MODALITIES else 'other'}"
            tokens_by_class[name] = tokens_by_class.get(name, 0) + tokens
    return tokens_by_class


def count_cached_media(
    media: dict[str, int], cached_counts: Iterable[tuple[str, object]], cache_read: int | None
) -> dict[str, int]:
    """Return how many tokens of each modality in the prompt the provider read from its cache.

    `media` is `Usage.media` of the prompt. `cached_counts` are the provider's counts by modality,
    of text too. A modality that they leave out has no cached tokens, if they add up to
    `cache_read`. Otherwise nothing is known of it.
    """
    tokens_by_modality: dict[str, int] = {}
    for modality, value in cached_counts:
        if (tokens := parse_count(value)) is not None:
            tokens_by_modality[modality] = tokens_by_modality.get(modality, 0) + tokens
    default = 0 if sum(tokens_by_modality.values()) == cache_read else None
    cached = {
        f"cache_read_{modality}": tokens_by_modality.get(modality, default)
        for modality in MODALITIES
        if f"input_{modality}" in media
    }
    return {name: tokens for name, tokens in cached.items() if tokens is not None}


def split_output(
    completion: int, reasoning: int | None, excess: int | None
) -> tuple[int, int | None]:
    """Return the shown and the reasoning tokens of a completion, which never overlap.

    `excess` is the provider's total minus prompt and completion; None if it gives no total. With an
    excess of 0, the completion includes the reasoning. With an excess equal to the reasoning, the
    reasoning comes on top. Otherwise it comes on top only if the completion is far too small for
    it. Some hosts count slightly more reasoning than completion, as they count the two with
    different tokenizers.
    """
    if reasoning is None:
        return completion, None
    if excess == reasoning:
        return completion, reasoning
    if excess != 0 and reasoning > completion + completion // 10:
        return completion, reasoning
    capped_reasoning = min(reasoning, completion)
    return completion - capped_reasoning, capped_reasoning


def merge_usage(earlier: Usage | None, later: Usage) -> Usage:
    """Return the usage after a later report, which wins as far as it goes.

    Counts are running totals, so the function never adds them up. If the later report leaves out
    input or output, the earlier counts stay. They also stay if the later report has the same total
    in fewer classes. No call has an empty prompt: a report with 0 prompt tokens, or with only
    zeros, takes nothing back.
    """
    if earlier is None or _covers_all(later, earlier):
        return later
    input_usage = earlier if _says_less_of_prompt(later, earlier) else later
    output_usage = earlier if _says_less_of_output(later, earlier) else later
    return Usage(
        input=input_usage.input,
        cache_read=input_usage.cache_read,
        cache_write=input_usage.cache_write,
        output=output_usage.output,
        reasoning=output_usage.reasoning,
        tools=later.tools or earlier.tools,
        media={**earlier.media, **later.media} if earlier.media else later.media,
        units=later.units or earlier.units,
        service=later.service or earlier.service,
        billed=earlier.billed if later.billed is None else later.billed,
    )


def _covers_all(later: Usage, earlier: Usage) -> bool:
    """True if a later report has every part that an earlier one had."""
    return bool(
        later.input
        and later.output is not None
        and (later.reasoning is not None or earlier.reasoning is None)
        and (later.cache_read is not None or earlier.cache_read is None)
        and (later.cache_write or not earlier.cache_write)
        and (later.tools or not earlier.tools)
        and (not earlier.media or later.media.keys() >= earlier.media.keys())
        and (later.units or not earlier.units)
        and (later.service is not None or earlier.service is None)
        and (later.billed is not None or earlier.billed is None)
    )


def _says_less_of_prompt(later: Usage, earlier: Usage) -> bool:
    """True if a later report says less of the input: nothing, or the same total in one class."""
    if later.input is None or (not later.prompt and earlier.prompt):
        return True
    return later.cache_read is None and not later.cache_write and later.prompt == earlier.prompt


def _says_less_of_output(later: Usage, earlier: Usage) -> bool:
    """True if a later report says less of the output."""
    if later.output is None or (not later.prompt and not later.completion):
        return earlier.output is not None or later.output is None
    return later.reasoning is None and later.completion == earlier.completion
