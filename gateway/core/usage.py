"""What a call used, in five classes of tokens that never overlap."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

MOST = 2**40
"""A million times the largest windows: more is a broken provider."""
_DEAREST = 1_000_000
"""USD of one answer; more is a broken provider too."""
_STANDARD = frozenset(
    {
        "", "auto", "default", "none", "not_available", "on_demand", "standard", "standard_only",
        "unspecified", "global",
    }
)  # fmt: skip
"""Words of providers for how everybody is served who asks for nothing else."""
_LONGEST = 40
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
    def both(self) -> bool:
        """Whether both sides are known: what went in and what came out."""
        return self.input is not None and self.output is not None

    @property
    def completion(self) -> int | None:
        """All tokens that came out: shown and reasoned."""
        if self.output is None:
            return None
        return self.output + (self.reasoning or 0)


def count(value: object) -> int | None:
    """One token count of a provider: a whole number that can be one, else unknown."""
    if type(value) is int:
        return value if 0 <= value <= MOST else None
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and 0 <= value <= MOST else None


def money(value: object) -> Decimal | None:
    """USD as a provider writes them, in the digits that it wrote; unknown where they are none."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Decimal(str(value)) if 0 <= value <= _DEAREST else None


def service(*words: object) -> str | None:
    """The service tier that providers' words name; None for the standard one.

    Where several words say something, the price depends on all: they are joined ("fast+us").
    """
    for word in words:
        if word and not (type(word) is str and word in _STANDARD):
            break
    else:  # as nearly always
        return None
    named = [word.strip().lower()[:_LONGEST] for word in words if isinstance(word, str)]
    return "+".join(dict.fromkeys(word for word in named if word not in _STANDARD)) or None


def media_tokens(direction: str, counts: Iterable[tuple[str, object]]) -> dict[str, int]:
    """Return `Usage.media` of one direction, from counts by modality; those of none are left out.

    A modality that is none of `MODALITIES` is "other".
    """
    found: dict[str, int] = {}
    for modality, value in counts:
        if tokens := count(value):
            name = f"{direction}_{modality if modality in MODALITIES else 'other'}"
            found[name] = found.get(name, 0) + tokens
    return found


def split_output(
    completion: int, reasoning: int | None, beyond: int | None
) -> tuple[int, int | None]:
    """Return the shown and the reasoning tokens of a completion, which never overlap.

    `beyond` is how many tokens the provider's total has more than prompt and completion; None where
    it tells no total. The total decides: reasoning is inside the completion where the total has
    nothing more, and beside it where the total has just that more. Else reasoning is beside a
    completion that is far too small for it. Hosts that count a little more reasoning than
    completion count the two with different tokenizers.
    """
    if reasoning is None:
        return completion, None
    if beyond == reasoning:
        return completion, reasoning
    if beyond != 0 and reasoning > completion + completion // 10:
        return completion, reasoning
    inside = min(reasoning, completion)
    return completion - inside, inside


def joined(before: Usage | None, told: Usage) -> Usage:
    """Usage after it was told once more: the later telling stands, as far as it goes.

    Counts are running totals and are never added up. A side that a later telling leaves out stays
    as it was; where it tells the same total in fewer classes, the finer account stays. Nobody is
    asked nothing: a prompt of no tokens takes nothing back, nor does an account of nothing at all.
    """
    if before is None or _says_all(told, before):
        return told
    into = before if _less_in(told, before) else told
    out = before if _less_out(told, before) else told
    return Usage(
        input=into.input,
        cache_read=into.cache_read,
        cache_write=into.cache_write,
        output=out.output,
        reasoning=out.reasoning,
        tools=told.tools or before.tools,
        media=told.media or before.media,
        service=told.service or before.service,
        billed=before.billed if told.billed is None else told.billed,
    )


def _says_all(told: Usage, before: Usage) -> bool:
    """Whether a telling has every part that an earlier one had."""
    return bool(
        told.input
        and told.output is not None
        and (told.reasoning is not None or before.reasoning is None)
        and (told.cache_read is not None or before.cache_read is None)
        and (told.cache_write or not before.cache_write)
        and (told.tools or not before.tools)
        and (told.media or not before.media)
        and (told.service is not None or before.service is None)
        and (told.billed is not None or before.billed is None)
    )


def _less_in(told: Usage, before: Usage) -> bool:
    """Whether a later telling says less of the prompt: nothing, or the same total in one class."""
    if told.input is None or (not told.prompt and before.prompt):
        return True
    return told.cache_read is None and not told.cache_write and told.prompt == before.prompt


def _less_out(told: Usage, before: Usage) -> bool:
    """Whether a later telling says less of what came out."""
    if told.output is None or (not told.prompt and not told.completion):
        return before.output is not None or told.output is None
    return told.reasoning is None and told.completion == before.completion
