"""The findings of a judge of answers."""

from typing import NamedTuple


class Difference(NamedTuple):
    """A difference between the client's answer and the provider's."""

    kind: str
    """A field of Meaning, `usage`, `media`, `billed`, `content`; or one of

    problem     the client gets an error in place of an answer
    clean       the client gets an answer in place of an error
    complete    an incomplete answer counts as complete, or the other way round
    bytes       a native answer has other bytes, or its pieces change what comes out
    choices     the choices differ
    unreadable  the client's reader raises
    crash       the gateway raises
    """
    text: str


class Failure(NamedTuple):
    """An answer that differs for a client, and no rule excuses the difference."""

    file: str
    id: str
    client: str
    text: str
