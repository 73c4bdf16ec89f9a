"""Open the sink at a URL: its scheme names the engine."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Final

from gateway.ledger.errors import SinkError
from gateway.ledger.sinks.base import LedgerSink

_PARQUET: Final = ("gateway.ledger.sinks.parquet", "ParquetSink", "parquet")
_FACTORIES: Final[Mapping[str, tuple[str, str, str]]] = MappingProxyType(
    {
        "clickhouse": ("gateway.ledger.sinks.clickhouse", "ClickHouseSink", "clickhouse"),
        "s3": _PARQUET,
        "file": _PARQUET,
        "postgresql": ("gateway.ledger.sinks.postgres", "PostgresSink", "postgres"),
    }
)
"""The module, class and extra for each scheme of a URL; only configured ones are imported."""


def open_sink(name: str, url: str) -> LedgerSink:
    """Open a sink by its name in the configuration and its URL, without asking the engine.

    Raises SinkError if the URL is wrong or the engine's client is not installed.
    """
    scheme = url.partition("://")[0]
    if scheme not in _FACTORIES:
        raise SinkError(f"the sink {name} must have a URL with one of: {', '.join(_FACTORIES)}")
    module_name, class_name, extra = _FACTORIES[scheme]
    try:
        module = import_module(module_name)
    except ImportError:
        raise SinkError(
            f"the sink {name} needs the extra {extra}: pip install 'tiergate[{extra}]'"
        ) from None
    sink: LedgerSink = getattr(module, class_name)(name, url)
    return sink
