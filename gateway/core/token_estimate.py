"""Tokens that nobody counted, from bytes: what a row says where a provider has not said all.

An estimate is a floor of what was billed: reasoning that stays hidden is in no byte, and none is
made up for it.
"""

import msgspec

from gateway.core.ledger_rows import Source
from gateway.core.usage import Usage

_BYTES = 38
"""Of ten tokens: what recorded answers of 40 hosts have whose reasoning is all to be seen. It is
more for prose (41) and less for calls of tools (24), whose form has tokens of its own."""


def tokens(heard: int) -> int:
    """Tokens of content, from its UTF-8 bytes; never 0 where there is any."""
    return -(-heard * 10 // _BYTES)


def fill(
    told: Usage | None, *, prompt: int, heard: int | None, complete: bool
) -> tuple[Usage, Source]:
    """Usage with both sides known as well as they can be, and who counted them.

    `told`: as far as the provider told it; `prompt`: estimated tokens of the request; `heard`:
    bytes of content that came, None where nobody could hear any (a whole answer that was given up
    while it was made): its output stays unknown. A stream that was given up before it said anything
    has said nothing: its output is 0. `complete`: the answer ended as its dialect ends one, so that
    what was told of it is the whole account; of one that was cut, the output is what was told by
    then, or what was heard where that is more.
    """
    known = told or Usage()
    if known.input is not None and known.output is not None and complete:
        return known, "provider"
    some = known.input is not None or known.output is not None
    into = prompt if known.input is None else known.input
    out = known.output if complete or heard is None else _output(known, heard)
    if out is None and heard is not None:
        out = tokens(heard)
    filled = msgspec.structs.replace(known, input=into, output=out)
    return filled, "partial" if some else "estimate"


def _output(known: Usage, heard: int) -> int:
    """Shown tokens of an answer that was cut: told reasoning may be heard as well, or hidden."""
    if known.output is None:
        return tokens(heard)
    return max(known.output, tokens(heard) - (known.reasoning or 0))
