"""Faults of providers: rows U-01 to U-31."""

from tests.chaos.upstream import (
    account,
    body,
    brownout,
    connect,
    cut,
    finished,
    hang,
    protocol,
    sse,
    status,
    usage,
)  # fmt: skip

ROWS = (
    *connect.ROWS, *hang.ROWS, *cut.ROWS, *finished.ROWS, *sse.ROWS, *body.ROWS, *status.ROWS, *protocol.ROWS,
    *usage.ROWS, *account.ROWS, *brownout.ROWS,
)  # fmt: skip
