"""Errors of state.

StoreUnavailable
RedisAway          a Redis that does not answer, or refuses
RedisUnanswered    a question of the command line that Redis did not answer
BrokenConnection   a connection that cannot be used any more
"""


class StoreUnavailable(Exception):
    """The base of all errors of this package."""


class RedisAway(StoreUnavailable):
    """It does not answer, or refuses."""


class RedisUnanswered(StoreUnavailable):
    """It was not asked, or did not answer; the message says why and quotes nothing."""


class BrokenConnection(StoreUnavailable):
    """A connection that cannot be used; its text says why, and quotes nothing."""
