"""Every module of the gateway can be imported, on each Python that the project allows.

The suite runs it on one Python, and `make check` on each that the machine has.
"""

import importlib
import pkgutil
from importlib.util import find_spec

import pytest

import gateway

PARQUET = {"gateway.ledger.sinks.arrow_tables", "gateway.ledger.sinks.parquet"}
"""Modules that need pyarrow, which only `make engines` installs."""
MODULES = [
    module.name
    for module in pkgutil.walk_packages(gateway.__path__, "gateway.")
    if not module.name.endswith("__main__")
    and (module.name not in PARQUET or find_spec("pyarrow") is not None)
]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_can_be_imported(name: str) -> None:
    importlib.import_module(name)
