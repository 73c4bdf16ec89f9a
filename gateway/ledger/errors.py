"""Errors of the ledger.

LedgerError
    JournalError                a row is not in the journal
    LedgerQueryError            the query is invalid
    GarbledValueError           no writer can have written this value (sqlite_damage.py)
    SinkError                   a sink did not take rows
    StoreError                  the store cannot be used
        StoreDamagedError       its file is unreadable
        StoreRebuildingError    it does not have all rows of the journals yet
        QueryTooLongError       a query took longer than its limit
        QueryTooLargeError      a query would read more calls than it may
"""


class LedgerError(Exception):
    """The base of all errors of this package."""


class JournalError(LedgerError, OSError):
    """A row is not in the journal, or rows may not be on the disk; `errno` says why."""


class LedgerQueryError(LedgerError, ValueError):
    """The query is invalid. The text says what is allowed, `parameter` names the wrong part."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class StoreError(LedgerError):
    """The store cannot be used: because of its URL, its server, or the version that made it.

    The text never contains the URL's password.
    """


class SinkError(LedgerError):
    """A sink cannot be used, or did not take rows; the text never contains a credential."""


class StoreDamagedError(StoreError):
    """The store's file can be opened, but not read."""


class StoreRebuildingError(StoreError):
    """The store is being rebuilt from the journals and does not have all of their rows yet."""


class QueryTooLongError(StoreError):
    """A query took longer than it may."""

    def __init__(self, max_seconds: float) -> None:
        super().__init__(f"the query takes longer than {max_seconds:g} s")
        self.max_seconds = max_seconds

    def __reduce__(self) -> tuple[type, tuple[float]]:
        """Return what pickles the error: a query process sends it to the gateway."""
        return type(self), (self.max_seconds,)


class QueryTooLargeError(StoreError):
    """A query would read more calls than it may."""

    def __init__(self, max_calls: int) -> None:
        super().__init__(f"the query reads more than {max_calls:,} calls")
        self.max_calls = max_calls

    def __reduce__(self) -> tuple[type, tuple[int]]:
        """Return what pickles the error: a query process sends it to the gateway."""
        return type(self), (self.max_calls,)
