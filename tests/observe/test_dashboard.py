"""Grafana accepts the dashboard, as far as a test can tell without Grafana."""

import itertools
import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.docs import pages
from tests.observe import board
from tests.observe.board import FOLDER

BOARD = board.board()
PANELS: list[dict[str, Any]] = BOARD["panels"]
DRAWN = [panel for panel in PANELS if panel["type"] != "row"]
UNITS = {"bytes", "currencyUSD", "percentunit", "reqps", "s", "short"}


def read(path: str) -> Any:
    return YAML(typ="safe").load((FOLDER / path).read_text())


def test_each_panel_has_an_id_and_a_place_of_its_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: dict[tuple[int, int], str] = {}
    for panel in PANELS:
        at = panel["gridPos"]
        assert at["x"] >= 0 < at["w"]
        assert at["x"] + at["w"] <= 24
        for cell in itertools.product(
            range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        ):
            assert cell not in taken, (panel["title"], taken.get(cell))
            taken[cell] = panel["title"]
    assert {y for _, y in taken} == set(range(max(y for _, y in taken) + 1)), "no gap between rows"


@pytest.mark.parametrize("panel", DRAWN, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 15
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    refs = [target["refId"] for target in panel["targets"]]
    assert refs == sorted(set(refs)) != []
    for one in (panel, *panel["targets"]):
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        assert target["instant"] is not target["range"]
        assert target["instant"] is (panel["type"] != "timeseries")
        assert ("$__range" in target["expr"]) <= target["instant"]


def test_titles_are_told_apart() -> None:
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)


def test_every_variable_is_used_and_none_is_missing() -> None:
    named = {one["name"] for one in BOARD["templating"]["list"]}
    texts = " ".join(target["expr"] for panel in DRAWN for target in panel["targets"])
    asked = set(re.findall(r"\$([a-z]\w*)", texts)) | {"datasource"}
    assert asked == named
    for one in BOARD["templating"]["list"]:
        if one["type"] == "query":
            metric, label = re.findall(r"^label_values\((\w+), (\w+)\)$", one["definition"])[0]
            assert label == one["name"]
            assert one["query"]["query"] == one["definition"]
            assert one["includeAll"]
            assert one["allValue"] == ".*", "what has no such label is shown too"
            assert metric in listed()


def listed() -> set[str]:
    return {pages.codes(row[0])[0] for row in pages.table("metric", "observing.md").rows}


def test_it_asks_for_what_there_is() -> None:
    """The dashboard uses metrics from the table of the documents, and figures that the rules record."""
    rules = YAML(typ="safe").load(board.RULES.read_text())
    recorded = {rule["record"] for group in rules["groups"] for rule in group["rules"]}
    for query in board.queries():
        assert board.metrics(query.text) <= listed(), query
        assert board.recorded(query.text) <= recorded, query
    assert "up{" in " ".join(query.text for query in board.queries())


def test_the_head_is_of_a_dashboard_that_is_provisioned() -> None:
    assert (BOARD["id"], BOARD["uid"], BOARD["title"]) == (None, "tiergate", "tiergate")
    assert BOARD["schemaVersion"] >= 39
    assert BOARD["time"] == {"from": "now-24h", "to": "now"}
    assert not BOARD["annotations"]["list"]


def test_it_is_provisioned_beside_its_datasource() -> None:
    (source,) = read("provisioning/datasources/prometheus.yml")["datasources"]
    chosen = next(one for one in BOARD["templating"]["list"] if one["name"] == "datasource")
    assert chosen["query"] == source["type"] == "prometheus"
    assert chosen["current"]["value"] == source["uid"]
    assert chosen["current"]["text"] == source["name"]
    (provider,) = read("provisioning/dashboards/tiergate.yml")["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana-dashboards"
