"""Read the Grafana dashboard as values."""

import re
from typing import Any, NamedTuple

from gateway.core import jsonio
from tests.docs.pages import ROOT

FOLDER = ROOT / "deploy" / "grafana"
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
_STANDS = {
    "$__rate_interval": "1m", "$__range": "5m",
    "$lab": ".*", "$tier": ".*", "$key": ".*", "$instance": ".*",
}  # fmt: skip
"""Values that Grafana puts in place of its variables when the user selects nothing."""


class Query(NamedTuple):
    """One expression of a panel."""

    panel: str
    legend: str
    text: str
    """The expression as Grafana sends it."""


def read_dashboard() -> dict[str, Any]:
    dashboard: dict[str, Any] = jsonio.loads((FOLDER / "dashboards" / "tiergate.json").read_bytes())
    return dashboard


def queries() -> list[Query]:
    """Return every expression of the dashboard."""
    return [
        Query(panel["title"], target["legendFormat"], _sent(target["expr"]))
        for panel in read_dashboard()["panels"]
        for target in panel.get("targets", ())
    ]


def metrics(text: str) -> set[str]:
    """Return the names of the gateway's own metrics in an expression."""
    names = re.findall(r"\btiergate_\w+", text)
    return {name.removesuffix("_bucket") for name in names}


def recorded_names(text: str) -> set[str]:
    """Return the names of recorded figures in an expression."""
    return set(re.findall(r"\btiergate:[\w:]+", text))


def _sent(text: str) -> str:
    for name, value in _STANDS.items():
        text = text.replace(name, value)
    return text
