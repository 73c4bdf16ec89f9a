"""Grafana accepts the dashboard, as far as a test can tell without Grafana."""

import itertools
import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.docs import pages
from tests.observe import board
from tests.observe.board import FOLDER

BOARD = board.read_dashboard()
PANELS: list[dict[str, Any]] = BOARD["panels"]
DRAWN = [panel for panel in PANELS if panel["type"] != "row"]
UNITS = {"bytes", "currencyUSD", "percentunit", "reqps", "s", "short"}


def read(path: str) -> Any:
    return YAML(typ="safe").load((FOLDER / path).read_text())


def test_each_panel_has_its_own_id_and_position() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: dict[tuple[int, int], str] = {}
    for panel in PANELS:
        position = panel["gridPos"]
        assert position["x"] >= 0 < position["w"]
        assert position["x"] + position["w"] <= 24
        for cell in itertools.product(
            range(position["x"], position["x"] + position["w"]),
            range(position["y"], position["y"] + position["h"]),
        ):
            assert cell not in taken, (panel["title"], taken.get(cell))
            taken[cell] = panel["title"]
    assert {y for _, y in taken} == set(range(max(y for _, y in taken) + 1)), "no gap between rows"


@pytest.mark.parametrize("panel", DRAWN, ids=lambda panel: panel["title"])
def test_each_panel_has_a_description_and_a_unit(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 15
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    refs = [target["refId"] for target in panel["targets"]]
    assert refs == sorted(set(refs)) != []
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        assert target["instant"] is not target["range"]
        assert target["instant"] is (panel["type"] != "timeseries")
        assert ("$__range" in target["expr"]) <= target["instant"]


def test_panel_titles_are_unique() -> None:
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)


def test_every_variable_is_used_and_none_is_missing() -> None:
    names = {variable["name"] for variable in BOARD["templating"]["list"]}
    texts = " ".join(target["expr"] for panel in DRAWN for target in panel["targets"])
    used = set(re.findall(r"\$([a-z]\w*)", texts)) | {"datasource"}
    assert used == names
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.findall(r"^label_values\((\w+), (\w+)\)$", variable["definition"])[0]
            assert label == variable["name"]
            assert variable["query"]["query"] == variable["definition"]
            assert variable["includeAll"]
            assert variable["allValue"] == ".*", "what has no such label is shown too"
            assert metric in documented_metrics()


def documented_metrics() -> set[str]:
    return {pages.codes(row[0])[0] for row in pages.table("metric", "observing.md").rows}


def test_the_dashboard_uses_only_metrics_and_figures_that_exist() -> None:
    """The dashboard uses metrics from the table of the documents, and figures that the rules record."""
    rules = YAML(typ="safe").load(board.RULES.read_text())
    recorded = {rule["record"] for group in rules["groups"] for rule in group["rules"]}
    for query in board.queries():
        assert board.metrics(query.text) <= documented_metrics(), query
        assert board.recorded_names(query.text) <= recorded, query
    assert "up{" in " ".join(query.text for query in board.queries())


def test_the_dashboard_has_a_fixed_uid_and_no_database_id() -> None:
    assert (BOARD["id"], BOARD["uid"], BOARD["title"]) == (None, "tiergate", "tiergate")
    assert BOARD["schemaVersion"] >= 39
    assert BOARD["time"] == {"from": "now-24h", "to": "now"}
    assert not BOARD["annotations"]["list"]


def test_the_dashboard_uses_the_provisioned_datasource() -> None:
    (source,) = read("provisioning/datasources/prometheus.yml")["datasources"]
    variable = next(item for item in BOARD["templating"]["list"] if item["name"] == "datasource")
    assert variable["query"] == source["type"] == "prometheus"
    assert variable["current"]["value"] == source["uid"]
    assert variable["current"]["text"] == source["name"]
    (provider,) = read("provisioning/dashboards/tiergate.yml")["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana-dashboards"
