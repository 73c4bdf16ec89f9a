"""What an admin's request asks of the ledger, and what is wrong with how it asks."""

import time
from collections.abc import Sequence

from fastapi import Request

from gateway.core.errors import invalid
from gateway.ledger.errors import LedgerQueryError
from gateway.ledger.query_params import LedgerQuery, ask
from gateway.settings.errors import nearest


def known(request: Request, *names: str) -> None:
    """A parameter that is written wrong must not be left out in silence.

    Raises ProblemError: invalid_request.
    """
    for name in request.query_params:
        if name not in names:
            hint = nearest(name[:80], names)
            raise invalid(f"There is no parameter {name[:80]!r} here. {hint}".rstrip(), name[:80])


def asked(
    by: Sequence[str],
    *,
    since: str,
    until: str,
    only: Sequence[str],
    zone: str,
    now: float | None = None,
) -> LedgerQuery:
    """The question. Raises ProblemError: invalid_request."""
    at = time.time() if now is None else now
    try:
        return ask(by, since=since, until=until, only=only, zone=zone, now=at)
    except LedgerQueryError as error:
        raise invalid(f"{str(error)[:1].upper()}{str(error)[1:]}.", error.part) from None
