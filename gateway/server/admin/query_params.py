"""Query parameters of admin requests to the ledger: read them and report mistakes."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
from fastapi import Request

from gateway.core.errors import invalid_request
from gateway.ledger.errors import LedgerQueryError
from gateway.ledger.query_params import LedgerQuery, parse_query
from gateway.settings.errors import suggest_name


def check_parameters(request: Request, *names: str) -> None:
    """Refuse unknown parameters, so that a misspelt one is not ignored in silence.

    Raises ProblemError: invalid_request.
    """
    for name in request.query_params:
        if name not in names:
            hint = suggest_name(name[:80], names)
            raise invalid_request(
                f"There is no parameter {name[:80]!r} here. {hint}".rstrip(), name[:80]
            )


def parse_limit(text: str, maximum: int) -> int:
    """Return the number of items of a page. Raises ProblemError: invalid_request."""
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= maximum:
        raise invalid_request(f"The limit is a number from 1 to {maximum}.", "limit")
    return int(text)


def read_ledger_query(
    by: Sequence[str],
    *,
    since: str,
    until: str,
    only: Sequence[str],
    zone: str,
    now: float | None = None,
    team: str = "",
) -> LedgerQuery:
    """Build the query from its parameters; with a team, of the calls of that team alone.

    Raises ProblemError: invalid_request.
    """
    timestamp = time.time() if now is None else now
    with translate_query_errors():
        query = parse_query(by, since=since, until=until, only=only, zone=zone, now=timestamp)
    if not team:
        return query
    return msgspec.structs.replace(query, only={**query.only, "team": [team]})


@contextmanager
def translate_query_errors() -> Iterator[None]:
    """Translate a LedgerQueryError into a ProblemError, invalid_request."""
    try:
        yield
    except LedgerQueryError as error:
        raise invalid_request(
            f"{str(error)[:1].upper()}{str(error)[1:]}.", error.parameter
        ) from None
