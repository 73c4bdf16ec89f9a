"""Medians, ratios and floors, checked against values computed by hand."""

from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from bench import chart, figures, floor, report, table, target
from bench.install_size import Weight
from bench.load import Load
from bench.machine import Machine
from bench.measure import SCENES, Memory, Results, Scale
from bench.peers import Start

ROWS = figures.BY_KEY
LOAD = Load(
    connections=1,
    total=1000,
    answered=1000,
    errors=0,
    events=2000,
    short=0,
    undone=0,
    status=200,
    seconds=2.0,
    cpu=0.5,
    waited=0.0,
    p50=1.0,
    p90=1.0,
    p99=1.0,
    ttft50=1.0,
    ttft99=1.0,
    gap50=5.0,
    gap99=5.0,
)
HERE = Machine("processor", 2, 0, 1, "6.1", "3.13", 0.1)


def results(*rounds: dict[str, dict[str, object]]) -> Results:
    """Make rounds in which each peer's loads differ from LOAD in these fields, in every scene."""
    return Results(
        at="2026-11-26T18:00+00:00",
        machine=HERE,
        scale=Scale(rounds=len(rounds), starts=3, requests=20_000, quick=False),
        peers=["nginx", "tiergate"],
        versions={"nginx": "1.26.3", "tiergate": "0.1.0"},
        weights={"tiergate": Weight(43_000_000, 32)},
        notes=["airmux is left out: it is not installed"],
        starts={
            "nginx": [Start(0.02, 0.01)] * 3,
            "tiergate": [Start(0.5, 0.4), Start(0.9, 0.6), Start(0.6, 0.5)],
        },
        memory={
            "nginx": Memory(10_000_000, 10_000_000, 20_000),
            "tiergate": Memory(52_400_000, 54_000_000, 20_000),
        },
        rounds=[
            {
                scene.name: {
                    peer: msgspec.structs.replace(LOAD, **fields) for peer, fields in loads.items()
                }
                for scene in SCENES
            }
            for loads in rounds
        ],
    )


def test_a_rate_is_requests_per_cpu_second() -> None:
    measured = results({"nginx": {"cpu": 0.1}, "tiergate": {"cpu": 2.0}})
    assert ROWS["plain"].values(measured, "nginx") == [10_000]
    assert ROWS["plain"].values(measured, "tiergate") == [500]
    assert ROWS["rate"].values(measured, "tiergate") == [500]
    assert ROWS["paced"].values(measured, "tiergate") == [1000]


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """The shares are 10 %, 20 % and 50 %; the ratio of the medians would be 25 %."""
    measured = results(
        {"nginx": {"answered": 10_000}, "tiergate": {"answered": 1000}},
        {"nginx": {"answered": 20_000}, "tiergate": {"answered": 4000}},
        {"nginx": {"answered": 4000}, "tiergate": {"answered": 2000}},
    )
    assert figures.ratios(ROWS["plain"], measured, "tiergate") == [0.1, 0.2, 0.5]
    assert figures.middle(list(figures.ratios(ROWS["plain"], measured, "tiergate"))) == 0.2
    assert figures.middle(ROWS["plain"].values(measured, "nginx")) == 20_000


def test_added_time_is_the_time_beyond_the_upstream_in_the_same_round() -> None:
    measured = results(
        {"direct": {"p50": 1.0}, "nginx": {"p50": 1.1}, "tiergate": {"p50": 1.5}},
        {"direct": {"p50": 2.0}, "nginx": {"p50": 2.2}, "tiergate": {"p50": 2.6}},
    )
    assert ROWS["single"].values(measured, "tiergate") == pytest.approx([0.5, 0.6])
    assert figures.ratios(ROWS["single"], measured, "tiergate") == pytest.approx([5.0, 3.0])


def test_first_tokens_are_compared_by_their_own_times() -> None:
    measured = results({"direct": {"ttft50": 0.2}, "nginx": {}, "tiergate": {"ttft50": 0.7}})
    assert ROWS["first"].values(measured, "tiergate") == pytest.approx([0.5])


def test_an_unknown_figure_is_left_out_and_never_zero() -> None:
    measured = results(
        {"nginx": {}, "tiergate": {"cpu": None}},
        {"nginx": {}, "tiergate": {"cpu": 1.0}},
    )
    assert ROWS["plain"].values(measured, "tiergate") == [None, 1000]
    assert figures.middle([None, 1000.0]) == 1000
    assert figures.middle([None]) is None
    assert figures.ratios(ROWS["plain"], measured, "tiergate") == [0.5]


def test_no_ratio_is_built_on_a_negative_added_time() -> None:
    """Noise can make nginx the faster one; a multiple of a negative time means nothing."""
    measured = results({"direct": {"p50": 1.0}, "nginx": {"p50": 0.9}, "tiergate": {"p50": 1.2}})
    assert figures.ratios(ROWS["single"], measured, "tiergate") == []
    assert "single" not in table.render(measured)


ENOUGH: dict[str, object] = {"answered": 7000, "events": 25_000, "p50": 1.6}
FULL: dict[str, object] = {"answered": 100_000, "events": 100_000, "p50": 1.2}


@pytest.mark.parametrize(
    ("fields", "missed"),
    [
        ({}, []),
        ({"answered": 4499}, ["plain"]),
        ({"answered": 2999}, ["plain", "lone"]),
        ({"events": 24_999}, ["paced"]),
        ({"events": 14_999}, ["paced", "rush"]),
    ],
)
def test_a_floor_is_met_exactly_at_its_value(fields: dict[str, object], missed: list[str]) -> None:
    """The floors are 4.5 % of the requests, 3 % of lone ones, 25 % of paced chunks, 15 % of bursts."""
    measured = results({"direct": {"p50": 1.0}, "nginx": FULL, "tiergate": ENOUGH | fields})
    seen = floor.verdicts(measured)
    assert [verdict.row.key for verdict in seen if not verdict.met] == missed
    assert [verdict.row.key for verdict in seen] == [
        "plain",
        "paced",
        "rush",
        "lone",
        "idle",
        "startcpu",
    ]
    words = floor.render(seen).splitlines()
    assert [line.startswith("ok") for line in words] == [verdict.met for verdict in seen]


@pytest.mark.parametrize(
    ("idle", "seconds", "missed"),
    [(82_000_000, 2.0, []), (82_000_001, 2.0, ["idle"]), (82_000_000, 2.1, ["startcpu"])],
)
def test_the_floors_of_memory_and_start_do_not_depend_on_nginx(
    idle: int, seconds: float, missed: list[str]
) -> None:
    """At most 82 MB and 2 s of CPU, whatever nginx takes, and however long the start takes by the clock."""
    measured = msgspec.structs.replace(
        results({"direct": {"p50": 1.0}, "nginx": FULL, "tiergate": ENOUGH}),
        memory={"nginx": Memory(1, 1, 1), "tiergate": Memory(idle, idle, 1)},
        starts={"nginx": [Start(0.02, 0.01)], "tiergate": [Start(60.0, seconds)]},
    )
    assert [verdict.row.key for verdict in floor.verdicts(measured) if not verdict.met] == missed


def test_a_floor_is_printed_beside_the_measured_figure() -> None:
    measured = results({"direct": {"p50": 1.0}, "nginx": FULL, "tiergate": ENOUGH})
    assert floor.render(floor.verdicts(measured)).splitlines() == [
        "ok      tiergate, requests per CPU-second, c=64: 7.0% of nginx, at least 4.5%",
        "ok      tiergate, chunks per CPU-second, c=32, paced 5 ms: 25.0% of nginx, at least 25.0%",
        "ok      tiergate, chunks per CPU-second, c=32, in bursts: 25.0% of nginx, at least 15.0%",
        "ok      tiergate, requests per CPU-second, c=1: 7.0% of nginx, at least 3.0%",
        "ok      tiergate, resident memory, idle, MB: 52.4, at most 82",
        "ok      tiergate, CPU of a cold start, s: 0.5, at most 2",
    ]


def test_an_unknown_figure_misses_its_floor() -> None:
    measured = results({"nginx": {}, "tiergate": {"cpu": None}})
    missed = [verdict for verdict in floor.verdicts(measured) if not verdict.met]
    assert [verdict.row.key for verdict in missed] == ["plain", "paced", "rush", "lone"]
    assert "unknown of nginx, at least 4.5%" in floor.render(missed)


def test_a_floor_may_be_a_share_of_another_set_up_in_the_run() -> None:
    """With everything on, the floor is 15 % of the plain relay; from a cache, it is more than the relay."""
    ours: dict[str, dict[str, object]] = {
        "nginx": FULL,
        "tiergate": ENOUGH,
        "direct": {"p50": 1.0},
    }
    for full, cache, missed in (
        (1050, 7700, []),
        (1049, 7699, ["tiergate-full", "tiergate-cache"]),
    ):
        loads = ours | {
            "tiergate-full": ENOUGH | {"answered": full},
            "tiergate-cache": ENOUGH | {"answered": cache},
        }
        measured = also(results(loads), "tiergate-full", "tiergate-cache")
        assert [verdict.peer for verdict in floor.verdicts(measured) if not verdict.met] == missed
        assert "of tiergate, at least 15.0%" in floor.render(floor.verdicts(measured))


def test_a_share_of_an_unmeasured_set_up_is_unknown_and_misses_its_floor() -> None:
    """Set-ups that the run did not measure have no floors."""
    measured = msgspec.structs.replace(results({"tiergate": ENOUGH}), peers=["tiergate"])
    assert [verdict.row.key for verdict in floor.verdicts(measured) if verdict.found is None] == [
        "plain",
        "paced",
        "rush",
        "lone",
    ]


@pytest.mark.parametrize(
    ("figure", "reached"),
    [(0.059, "none"), (0.06, "floor"), (0.12, "goal"), (0.179, "goal"), (0.18, "stretch")],
)
def test_a_target_is_reached_exactly_at_its_value(figure: float, reached: str) -> None:
    (plain, *_) = target.TARGETS
    assert plain.reached(figure) == reached
    single = next(mark for mark in target.TARGETS if mark.row == "single")
    assert [single.reached(value) for value in (0.5, 0.45, 0.3, 0.2)] == ["none", *target.MARKS]


def test_a_target_may_have_a_goal_without_a_floor() -> None:
    aim = target.Target("plain", (None, 0.4), "smg", target.SHIPPED)
    assert [aim.reached(value) for value in (0.39, 0.4)] == ["none", "goal"]
    measured = also(results({"direct": {"p50": 1.0}, "nginx": FULL, "tiergate": ENOUGH}), aim.peer)
    seen = lines(table.render(measured))
    assert seen["tiergate-shipped: requests per CPU-second, c=64 of smg"] == [
        ["", "0.4x", "", "-", "not measured"]
    ]


def test_the_table_shows_targets_beside_the_measured_figures() -> None:
    measured = results({"direct": {"p50": 1.0}, "nginx": FULL, "tiergate": ENOUGH})
    seen = lines(table.render(measured))
    assert seen["tiergate: requests per CPU-second, c=64 of nginx"] == [
        ["6.0%", "12%", "18%", "7.0%", "floor"]
    ]
    assert seen["tiergate: added p50, c=1, ms"] == [["0.45", "0.30", "0.20", "0.60", "none"]]
    assert seen["tiergate: growth of resident memory over them, MB"][0][-2:] == ["2", "stretch"]
    assert seen["tiergate: requests per CPU-second, c=64 of ferrogw"][0][-2:] == [
        "-",
        "not measured",
    ]
    assert seen["tiergate: installed, MB"][0] == ["60", "40", "", "43", "floor"]


def test_a_set_up_that_the_run_lacks_is_named_and_has_no_targets() -> None:
    """Results may be older than a set-up; a set-up that was left out has a note that says why."""
    measured = results({"direct": {"p50": 1.0}, "nginx": FULL, "tiergate": ENOUGH})
    left_out = "tiergate-full is left out: redis-server is missing"
    text = table.render(msgspec.structs.replace(measured, notes=[left_out]))
    assert "- tiergate-shipped is not in this run." in text
    assert "tiergate-full is not in this run." not in text
    assert f"- {left_out}" in text
    assert not [line for line in lines(text) if line.startswith("tiergate-")]
    seen = lines(table.render(also(measured, "tiergate-shipped")))
    assert (
        seen["tiergate-shipped: requests per CPU-second, c=64 of airmux"][0][-1] == "not measured"
    )
    assert seen["tiergate-shipped: added p50, c=1, ms"][0][-1] == "not measured"


def also(measured: Results, *more: str) -> Results:
    """Return results with further peers, as heavy as the gateway."""
    return msgspec.structs.replace(
        measured,
        peers=[*measured.peers, *more],
        starts=measured.starts | dict.fromkeys(more, measured.starts["tiergate"]),
        memory=measured.memory | dict.fromkeys(more, measured.memory["tiergate"]),
    )


def lines(text: str) -> dict[str, list[list[str]]]:
    """Return the cells of each line by the line's first cell, table by table."""
    cells: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("|"):
            first, *rest = [cell.strip() for cell in line.split("|")[1:-1]]
            cells.setdefault(first, []).append(rest)
    return cells


def test_tables_are_markdown_with_medians_ranges_and_ratios() -> None:
    measured = results(
        {"direct": {}, "nginx": {"answered": 24_000}, "tiergate": {"answered": 1200}},
        {"direct": {}, "nginx": {"answered": 24_000}, "tiergate": {"answered": 2400}},
    )
    text = table.render(measured)
    seen = lines(text)
    assert len(seen[""]) == 5
    assert seen["nginx"][0][0] == "48,000"
    assert seen["tiergate"][0][0] == "3,600 (2,400-4,800)"
    assert seen["tiergate"][2] == ["52", "54", "20,000", "0.60 (0.50-0.90)", "0.50 (0.40-0.60)", "43", "32"]  # fmt: skip
    assert seen["nginx"][2][-2:] == ["-", "-"]
    assert seen["requests per CPU-second, c=64"] == [["7.5% (5.0-10.0)"]]
    assert seen["cold start to first answer, s"] == [["30.0x (25.0-45.0)"]]
    assert "nginx 1.26.3, tiergate 0.1.0." in text
    assert "Linux 6.1, Python 3.13; peers on CPU 0 " in text
    assert "- airmux is left out: it is not installed" in text
    for part in text.split("\n\n"):
        assert len({len(line) for line in part.splitlines() if line.startswith("|")}) <= 1


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([], "-"),
        ([0.5], "50%"),
        ([0.04, 0.05, 0.061], "5.0% (4.0-6.1)"),
        ([0.2, 0.3, 0.44], "30% (20-44)"),
        ([0.9, 1.5, 2.0], "1.5x (0.9-2.0)"),
        ([150.2, 231.0, 260.0], "231x (150-260)"),
    ],
)
def test_ratios_are_printed_with_few_digits(ratios: list[float], expected: str) -> None:
    assert table.ratio(ratios) == expected


def test_the_gateways_own_set_ups_are_not_compared_as_peers() -> None:
    loads: dict[str, dict[str, object]] = {
        "direct": {},
        "nginx": {},
        "tiergate": {},
        "tiergate-full": {},
    }
    text = table.render(also(results(loads), "tiergate-full"))
    assert "tiergate, by the same figure of:" in text
    assert "tiergate-full, by the same figure of:" in text
    assert lines(text)[""][-2] == ["nginx"]


def test_the_table_says_if_the_machine_was_busy() -> None:
    measured = results({"nginx": {"waited": 0.05}, "tiergate": {"waited": 0.5}})
    assert figures.waiting(measured, "tiergate") == 0.5
    text = table.render(measured)
    assert "a peer waited for its CPU: tiergate 50%." in text
    assert "The machine was busy before" not in text
    busy = msgspec.structs.replace(HERE, load_average=7.5, load_cpu=0)
    text = table.render(msgspec.structs.replace(measured, machine=busy))
    assert "The machine was busy before: a load of 7.5." in text
    assert "One CPU only" in text


def parts(measured: Results) -> list[ET.Element]:
    """Return the panels of a picture."""
    return ET.fromstring(chart.draw(measured)).findall("{*}g")  # noqa: S314 - it is our own


def test_a_picture_has_one_panel_per_figure_with_the_best_peer_first() -> None:
    measured = results(
        {
            "direct": {"p50": 1.0},
            "nginx": {"answered": 24_000, "p50": 1.1},
            "tiergate": {"p50": 1.3},
        },
        {
            "direct": {"p50": 1.0},
            "nginx": {"answered": 24_000, "p50": 1.2},
            "tiergate": {"p50": 1.4},
        },
    )
    panels = parts(measured)
    texts = [[text.text or "" for text in panel.findall("{*}text")] for panel in panels]
    assert [words_of_panel[0] for words_of_panel in texts] == [
        ROWS[key].label for key in chart.PANELS
    ]
    for words in texts:
        assert words.index("nginx") < words.index("tiergate") or "paced" in words[0]
    assert "48,000" in texts[0]
    assert "0.35" in texts[2]
    for panel in panels:
        dots = [float(dot.get("cx", "")) for dot in panel.findall("{*}circle")]
        assert len(dots) == 2
        assert all(chart._NAME <= x <= chart._WIDE - chart._VALUE for x in dots)


def test_a_picture_has_no_dot_for_an_unknown_figure() -> None:
    """Panels stay empty where the added time is zero or negative by noise, or CPU is unknown."""
    measured = results({"direct": {}, "nginx": {"cpu": None}, "tiergate": {"cpu": None}})
    assert [len(panel.findall("{*}circle")) for panel in parts(measured)] == [0, 0, 0, 2]


def test_a_report_saves_the_results_by_day_and_fills_the_pages(tmp_path: Path) -> None:
    measured = results({"direct": {}, "nginx": {}, "tiergate": {}})
    page, design_page = tmp_path / "page.md", tmp_path / "design.md"
    for file in (page, design_page):
        file.write_text("before\n<!-- measured -->\nold\n<!-- end -->\nafter\n", "utf-8")
    report.publish(measured, tmp_path, page, design_page, tmp_path / "page.svg")
    assert report.newest(tmp_path) == tmp_path / "2026-11-26.json"
    assert report.read(tmp_path / "2026-11-26.json") == measured
    text, design_text = page.read_text("utf-8"), design_page.read_text("utf-8")
    assert text == report.fill(text, table.render_figures(measured))
    assert text.startswith("before\n<!-- measured -->\n\n2026-11-26T18:00+00:00 UTC, processor")
    assert "by the same figure" not in text
    assert design_text == report.fill(design_text, table.render_comparisons(measured))
    assert "tiergate, by the same figure of" in design_text
    assert "Targets:" in design_text
    for page_text in (text, design_text):
        assert page_text.endswith("\n\n<!-- end -->\nafter\n")
    assert (tmp_path / "page.svg").read_text("utf-8") == chart.draw(measured)


def test_the_documents_show_the_newest_results() -> None:
    """The tables and the picture equal the output of `make bench-report` on the data."""
    measured = report.read(report.newest())
    text, design_text = (file.read_text("utf-8") for file in (report.PAGE, report.DESIGN_PAGE))
    assert text == report.fill(text, table.render_figures(measured))
    assert design_text == report.fill(design_text, table.render_comparisons(measured))
    assert report.PICTURE.read_text("utf-8") == chart.draw(measured)
    assert measured.machine.processor
    assert {"tiergate", "tiergate-full", "tiergate-cache"} <= set(measured.peers)
