"""Faults of providers: rows U-01 to U-31."""

from tests.chaos.upstream import (
    body,
    brownout,
    completed_answers,
    connect,
    cut,
    hang,
    lost_account,
    protocol,
    sse,
    status,
    usage,
)  # fmt: skip

ROWS = (
    *connect.ROWS, *hang.ROWS, *cut.ROWS, *completed_answers.ROWS, *sse.ROWS, *body.ROWS, *status.ROWS, *protocol.ROWS,
    *usage.ROWS, *lost_account.ROWS, *brownout.ROWS,
)  # fmt: skip
