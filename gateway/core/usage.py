"""What a call used, in five classes of tokens that never overlap."""

import msgspec

_MOST = 2**40
"""A million times the largest windows: more is a broken provider."""


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

    @property
    def prompt(self) -> int | None:
        """All tokens that went in: fresh, read from cache and written to it."""
        if self.input is None:
            return None
        return self.input + (self.cache_read or 0) + sum(self.cache_write.values())

    @property
    def completion(self) -> int | None:
        """All tokens that came out: shown and reasoned."""
        if self.output is None:
            return None
        return self.output + (self.reasoning or 0)


def count(value: object) -> int | None:
    """One token count of a provider: a whole number that can be one, else unknown."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and 0 <= value <= _MOST else None
