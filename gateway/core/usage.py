"""What a call used, in five classes of tokens that never overlap."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

MAX_TOKENS = 2**40
"""A million times the largest windows: more is a broken provider."""
_MAX_USD = 1_000_000
"""USD of one answer; more is a broken provider too."""
_STANDARD_WORDS = frozenset(
    {
        "", "auto", "default", "none", "not_available", "on_demand", "standard", "standard_only",
        "unspecified", "global",
    }
)  # fmt: skip
"""Words of providers for how everybody is served who asks for nothing else."""
_MAX_WORD_CHARS = 40
MODALITIES = ("audio", "image", "video")
"""Kinds of tokens that are not text."""


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens of one answer. None is "the provider did not say", never zero.

    `input` is what was neither read from nor written to a prompt cache; `output` leaves reasoning
    out where the provider tells it apart, else it holds both and `reasoning` is None.
    """

    input: int | None = None
    cache_read: int | None = None
    cache_write: dict[str, int] = {}
    """Tokens written to the provider's prompt cache by lifetime ("5m", "1h"; "" where unsaid)."""
    output: int | None = None
    reasoning: int | None = None
    tools: dict[str, int] = {}
    """Requests of the provider's own tools that it bills one by one ("web_search")."""
    media: dict[str, int] = {}
    """Tokens of these classes that are not text, by direction and modality ("input_audio").

    "input_other" counts tokens whose modality is not known, or not told apart.
    """
    service: str | None = None
    """The provider's service tier that served, where it is not its standard one ("priority")."""
    billed: Decimal | None = None
    """USD that the provider says it billed."""

    @property
    def prompt(self) -> int | None:
        """All tokens that went in: fresh, read from cache and written to it."""
        if self.input is None:
            return None
        return self.input + (self.cache_read or 0) + sum(self.cache_write.values())

    @property
    def has_input_and_output(self) -> bool:
        """Whether both sides are known: what went in and what came out."""
        return self.input is not None and self.output is not None

    @property
    def completion(self) -> int | None:
        """All tokens that came out: shown and reasoned."""
        if self.output is None:
            return None
        return self.output + (self.reasoning or 0)


def parse_count(value: object) -> int | None:
    """One token count of a provider: a whole number that can be one, else unknown."""
    if type(value) is int:  # not isinstance: a bool is no count
        return value if 0 <= value <= MAX_TOKENS else None
    if isinstance(value, float) and value.is_integer():
        return parse_count(int(value))
    return None


def parse_usd(value: object) -> Decimal | None:
    """USD as a provider writes them, in the digits that it wrote; unknown where they are none."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Decimal(str(value)) if 0 <= value <= _MAX_USD else None


def parse_service_tier(*words: object) -> str | None:
    """The service tier that providers' words name; None for the standard one.

    Where several words say something, the price depends on all: they are joined ("fast+us").
    """
    for word in words:
        if word and not (type(word) is str and word in _STANDARD_WORDS):
            break
    else:  # as nearly always
        return None
    names = [word.strip().lower()[:_MAX_WORD_CHARS] for word in words if isinstance(word, str)]
    return "+".join(dict.fromkeys(word for word in names if word not in _STANDARD_WORDS)) or None


def sum_media_tokens(direction: str, counts: Iterable[tuple[str, object]]) -> dict[str, int]:
    """Return `Usage.media` of one direction, from counts by modality; those of none are left out.

    A modality that is none of `MODALITIES` is "other".
    """
    tokens_by_class: dict[str, int] = {}
    for modality, value in counts:
        if tokens := parse_count(value):
            name = f"{direction}_{modality if modality in MODALITIES else 'other'}"
            tokens_by_class[name] = tokens_by_class.get(name, 0) + tokens
    return tokens_by_class


def split_output(
    completion: int, reasoning: int | None, excess: int | None
) -> tuple[int, int | None]:
    """Return the shown and the reasoning tokens of a completion, which never overlap.

    `excess` is how many tokens the provider's total has more than prompt and completion; None where
    it tells no total. The total decides: reasoning is inside the completion where the total has
    nothing more, and beside it where the total has just that more. Else reasoning is beside a
    completion that is far too small for it. Hosts that count a little more reasoning than
    completion count the two with different tokenizers.
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
    """Usage after it was told once more: the later telling stands, as far as it goes.

    Counts are running totals and are never added up. A side that a later telling leaves out stays
    as it was; where it tells the same total in fewer classes, the finer account stays. Nobody is
    asked nothing: a prompt of no tokens takes nothing back, nor does an account of nothing at all.
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
        media=later.media or earlier.media,
        service=later.service or earlier.service,
        billed=earlier.billed if later.billed is None else later.billed,
    )


def _covers_all(later: Usage, earlier: Usage) -> bool:
    """Whether a telling has every part that an earlier one had."""
    return bool(
        later.input
        and later.output is not None
        and (later.reasoning is not None or earlier.reasoning is None)
        and (later.cache_read is not None or earlier.cache_read is None)
        and (later.cache_write or not earlier.cache_write)
        and (later.tools or not earlier.tools)
        and (later.media or not earlier.media)
        and (later.service is not None or earlier.service is None)
        and (later.billed is not None or earlier.billed is None)
    )


def _says_less_of_prompt(later: Usage, earlier: Usage) -> bool:
    """Whether a later telling says less of the prompt: nothing, or the same total in one class."""
    if later.input is None or (not later.prompt and earlier.prompt):
        return True
    return later.cache_read is None and not later.cache_write and later.prompt == earlier.prompt


def _says_less_of_output(later: Usage, earlier: Usage) -> bool:
    """Whether a later telling says less of what came out."""
    if later.output is None or (not later.prompt and not later.completion):
        return earlier.output is not None or later.output is None
    return later.reasoning is None and later.completion == earlier.completion
