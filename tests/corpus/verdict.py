"""What a judge of answers finds."""

from typing import NamedTuple


class Difference(NamedTuple):
    """Something that a client gets otherwise than the provider said it."""

    kind: str
    """A field of Meaning, `usage`, `media`, `billed`, `content`; or one of

    problem     an error in place of an answer
    clean       an answer in place of an error
    complete    an answer counts as complete that is not, or the other way round
    bytes       a native answer has other bytes, or its pieces change what comes out
    choices     other choices
    unreadable  the client's reader raises
    crash       the gateway raises
    """
    text: str


class Failure(NamedTuple):
    """An answer of which a client gets something else, for no reason that a rule gives."""

    file: str
    id: str
    client: str
    text: str
