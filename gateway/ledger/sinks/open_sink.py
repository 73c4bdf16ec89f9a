"""Open the sink at a URL: its scheme names the engine."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Final

from gateway.ledger.errors import SinkError
from gateway.ledger.sinks.base import LedgerSink

_FACTORIES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({})
"""The module and the class for each scheme of a URL; only a configured one is imported."""


def open_sink(name: str, url: str) -> LedgerSink:
    """Open a sink by its name in the configuration and its URL, without asking the engine.

    Raises SinkError if the URL is wrong or the engine's client is not installed.
    """
    scheme = url.partition("://")[0]
    if scheme not in _FACTORIES:
        raise SinkError(f"the sink {name} must have a URL with one of: {', '.join(_FACTORIES)}")
    module_name, class_name = _FACTORIES[scheme]
    sink: LedgerSink = getattr(import_module(module_name), class_name)(name, url)
    return sink
