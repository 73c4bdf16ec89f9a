"""Access to the ledger for commands: its store, and the options that select rows."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from gateway.core.ledger_rows import FeedbackRow, FinalRow
from gateway.ledger.errors import LedgerQueryError, StoreError
from gateway.ledger.query_params import LedgerQuery, parse_query
from gateway.ledger.store import LedgerReader, LedgerStore, open_reader, open_store
from gateway.settings.data_folder import SQLITE_SCHEME

_PAGE_ROWS = 500
"""Rows that are read from the store at a time."""

if TYPE_CHECKING:  # slow to import, and not every command needs it
    from gateway.runtime.build import BuiltConfig


class LedgerPlace(Protocol):
    """The places of the ledger, as a command needs them."""

    @property
    def store(self) -> str:
        """The URL of the store."""

    @property
    def journal_folder(self) -> Path:
        """The folder with the segments of the journals."""

    @property
    def content_folder(self) -> Path:
        """The folder with the texts of calls, if they are kept."""

    @property
    def sinks(self) -> Mapping[str, str]:
        """The URL of each sink, by its name."""

    @property
    def time_zone(self) -> str:
        """The time zone of days, unless an option names another."""


@contextmanager
def open_ledger(location: LedgerPlace) -> Iterator[LedgerStore | None]:
    """Open the store, with all rows of the journals; yield None if there is no ledger yet.

    Raises click.ClickException if the ledger cannot be read, also within the block.
    """
    try:
        # Reading a ledger that does not exist must not create one, perhaps as another user.
        if is_missing(location.store) and not location.journal_folder.exists():
            yield None
            return
        store = open_store(location.store)
        try:
            store.catch_up(location.journal_folder)
            yield store
        finally:
            store.close()
    except (OSError, StoreError) as error:
        raise click.ClickException(f"the ledger cannot be read: {error}") from error


@contextmanager
def open_ledger_reader(location: LedgerPlace, url: str | None) -> Iterator[LedgerReader | None]:
    """Open the ledger for questions: the store at a URL as it is, or else as `open_ledger`."""
    if url is None:
        with open_ledger(location) as store:
            yield store
        return
    if is_missing(url):
        raise click.ClickException("the ledger cannot be read: there is no such file")
    try:
        reader = open_reader(url)
        try:
            yield reader
        finally:
            reader.close()
    except (OSError, StoreError) as error:
        raise click.ClickException(f"the ledger cannot be read: {error}") from error


def adopt_ledger_traffic(built_config: "BuiltConfig", store: LedgerStore | None) -> None:
    """Let the quality dial use the calls of the ledger, as a running gateway does."""
    if store is not None:
        from gateway.runtime.build import adopt_own_traffic, has_own_reference  # noqa: PLC0415
        from gateway.runtime.own_traffic import read_own_traffic  # noqa: PLC0415

        own_traffic = read_own_traffic(store, is_reference_own=has_own_reference(built_config))
        adopt_own_traffic(built_config, own_traffic)


def period_options[F: Callable[..., object]](since: str | None = None) -> Callable[[F], F]:
    """Return a decorator that adds --since and --until to a command; `since` is the default."""

    def add(function: F) -> F:
        until_option = click.option("--until", help="Calls to: as above; a date is included.")
        since_option = click.option(
            "--since",
            default=since,
            show_default=since is not None,
            help="Calls from: 90m, 24h, 7d, 4w ago, a date or a date and time.",
        )
        return since_option(until_option(function))

    return add


def parse_query_options(
    by: Sequence[str] = (),
    *,
    since: str | None,
    until: str | None,
    only: Sequence[str] = (),
    zone: str,
) -> LedgerQuery:
    """Read the options that select rows of the ledger. Raises click.BadParameter."""
    try:
        return parse_query(
            by, since=since or "", until=until or "", only=only, zone=zone, now=time.time()
        )
    except LedgerQueryError as error:
        raise click.BadParameter(str(error), param_hint=f"--{error.parameter}") from None


def read_calls(
    store: LedgerStore, query: LedgerQuery
) -> Iterator[tuple[FinalRow, FeedbackRow | None]]:
    """Yield final rows, each with its latest feedback."""
    cursor = None
    while rows := store.read_entries(
        **query.selection, zone=query.time_zone, after_cursor=cursor, limit=_PAGE_ROWS
    ):
        feedback_by_call = store.read_feedback([row.id for row in rows])
        for row in rows:
            yield row, feedback_by_call.get(row.id)
        cursor = rows[-1].cursor


def is_missing(url: str) -> bool:
    """True if a store is a file that does not exist: to open it would create it."""
    path = url.removeprefix(SQLITE_SCHEME)
    return path != url and not Path(path).exists()
