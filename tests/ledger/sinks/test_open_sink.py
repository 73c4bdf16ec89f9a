"""Test what is told if the client of a sink is not installed."""

import sys

import pytest

from gateway.ledger.errors import SinkError
from gateway.ledger.sinks.open_sink import open_sink


def test_a_missing_client_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in ("parquet", "arrow_tables"):
        monkeypatch.delitem(sys.modules, f"gateway.ledger.sinks.{name}", raising=False)
    with pytest.raises(
        SinkError, match=r"needs the extra parquet: pip install 'tiergate\[parquet\]'"
    ):
        open_sink("lake", "s3://lake")
