"""The end of a gateway with several workers, whose supervisor feeds the store a last time."""

from typing import Any

import pytest

from gateway.cli.serve.start import feed_last_rows
from gateway.ledger.errors import StoreError


@pytest.mark.parametrize("error", [StoreError("the store is newer"), OSError("no space left")])
def test_a_gateway_ends_in_good_order_though_its_store_takes_no_rows(error: Exception) -> None:
    """They wait in the journal: the exit status says nothing is wrong with the gateway."""
    lines: list[dict[str, Any]] = []

    def feed() -> None:
        raise error

    feed_last_rows(feed, lambda event, **fields: lines.append({"event": event, **fields}))
    (line,) = lines
    assert line["event"] == "ledger"
    assert line["error"] == f"{error}; the last rows wait in the journal for the next start"
