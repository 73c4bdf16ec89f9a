"""Beta headers: a client asks a provider for betas by words in a header, as `anthropic-beta`.

A native provider gets the header as it came. A translated one gets none: each dialect's `schema.py`
has a decision on every word that is known. All other words are unknown, and named as one loss.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gateway.core.canonical_request import LostMember
from gateway.dialects.member_list import Members, name_loss

UNKNOWN_WORD = name_loss("gets no beta that the gateway does not know")


class BetaHeader(NamedTuple):
    """The beta header of a dialect."""

    name: str
    """In lower case; empty if the dialect has no such header."""
    words: Members
    """The decision on each word: `named`, or `ignored` with the reason."""


NO_BETA_HEADER = BetaHeader("", {})


def find_lost_betas(headers: Mapping[str, str], header: BetaHeader) -> Iterator[LostMember]:
    """Yield the loss of a beta header, once, if a word asks for what no other dialect gets."""
    for word in headers.get(header.name, "").split(","):
        if word.strip():
            decision = header.words.get(word.strip(), UNKNOWN_WORD)
            if decision.decision == "named":
                yield LostMember(header.name, decision.reason)
                return
