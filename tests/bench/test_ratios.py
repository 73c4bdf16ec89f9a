"""Medians, ratios and floors, computed by hand."""

import msgspec
import pytest

from bench import floor, table
from bench.load import Load
from bench.machine import Machine
from bench.measure import SCENES, Memory, Results, Scale
from bench.peers import Start

ROWS = {row.key: row for row in table.ROWS}
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
    """Rounds in which each peer's loads differ from LOAD in these fields, in every scene."""
    return Results(
        machine=HERE,
        scale=Scale(rounds=len(rounds), starts=3, requests=20_000, quick=False),
        peers=["nginx", "tiergate"],
        starts={
            "nginx": [Start(0.02, 0.01)] * 3,
            "tiergate": [Start(0.5, 0.4), Start(0.9, 0.6), Start(0.6, 0.5)],
        },
        memory={
            "nginx": Memory(10_000_000, 10_000_000),
            "tiergate": Memory(52_400_000, 54_000_000),
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


def test_requests_are_divided_by_cpu_seconds_not_by_seconds() -> None:
    found = results({"nginx": {"cpu": 0.1}, "tiergate": {"cpu": 2.0}})
    assert ROWS["plain"].values(found, "nginx") == [10_000]
    assert ROWS["plain"].values(found, "tiergate") == [500]
    assert ROWS["rate"].values(found, "tiergate") == [500]
    assert ROWS["paced"].values(found, "tiergate") == [1000]


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """Shares of 10 %, 20 % and 50 %, where the ratio of the medians were 25 %."""
    found = results(
        {"nginx": {"answered": 10_000}, "tiergate": {"answered": 1000}},
        {"nginx": {"answered": 20_000}, "tiergate": {"answered": 4000}},
        {"nginx": {"answered": 4000}, "tiergate": {"answered": 2000}},
    )
    assert table.ratios(ROWS["plain"], found, "tiergate") == [0.1, 0.2, 0.5]
    assert table.middle(list(table.ratios(ROWS["plain"], found, "tiergate"))) == 0.2
    assert table.middle(ROWS["plain"].values(found, "nginx")) == 20_000


def test_added_time_is_beyond_the_upstream_in_the_same_round() -> None:
    found = results(
        {"direct": {"p50": 1.0}, "nginx": {"p50": 1.1}, "tiergate": {"p50": 1.5}},
        {"direct": {"p50": 2.0}, "nginx": {"p50": 2.2}, "tiergate": {"p50": 2.6}},
    )
    assert ROWS["single"].values(found, "tiergate") == pytest.approx([0.5, 0.6])
    assert table.ratios(ROWS["single"], found, "tiergate") == pytest.approx([5.0, 3.0])


def test_first_tokens_are_compared_by_their_own_times() -> None:
    found = results({"direct": {"ttft50": 0.2}, "nginx": {}, "tiergate": {"ttft50": 0.7}})
    assert ROWS["first"].values(found, "tiergate") == pytest.approx([0.5])


def test_what_is_unknown_is_left_out_and_never_nothing() -> None:
    found = results(
        {"nginx": {}, "tiergate": {"cpu": None}},
        {"nginx": {}, "tiergate": {"cpu": 1.0}},
    )
    assert ROWS["plain"].values(found, "tiergate") == [None, 1000]
    assert table.middle([None, 1000.0]) == 1000
    assert table.middle([None]) is None
    assert table.ratios(ROWS["plain"], found, "tiergate") == [0.5]


def test_nginx_faster_than_the_upstream_is_no_base() -> None:
    """It happens by noise; a multiple of a negative time means nothing."""
    found = results({"direct": {"p50": 1.0}, "nginx": {"p50": 0.9}, "tiergate": {"p50": 1.2}})
    assert table.ratios(ROWS["single"], found, "tiergate") == []
    assert "-" in table.render(found)


ENOUGH: dict[str, object] = {"answered": 6000, "events": 25_000, "p50": 1.6}
FULL: dict[str, object] = {"answered": 100_000, "events": 100_000, "p50": 1.2}


@pytest.mark.parametrize(
    ("fields", "missed"),
    [
        ({}, []),
        ({"answered": 5999}, ["plain"]),
        ({"events": 24_999}, ["paced"]),
        ({"p50": 2.01}, ["single"]),
    ],
)
def test_a_floor_is_met_from_its_very_value(fields: dict[str, object], missed: list[str]) -> None:
    """6 % of the requests, 25 % of the chunks, five times the added time."""
    found = results({"direct": {"p50": 1.0}, "nginx": FULL, "tiergate": ENOUGH | fields})
    seen = floor.verdicts(found)
    assert [one.row.key for one in seen if not one.met] == missed
    assert [one.row.key for one in seen] == ["plain", "paced", "single", "idle", "start"]
    words = floor.render(seen).splitlines()
    assert [line.startswith("ok") for line in words] == [one.met for one in seen]


@pytest.mark.parametrize(
    ("idle", "seconds", "missed"),
    [(90_000_000, 1.5, []), (90_000_001, 1.5, ["idle"]), (90_000_000, 1.6, ["start"])],
)
def test_memory_and_the_start_are_for_themselves(
    idle: int, seconds: float, missed: list[str]
) -> None:
    """Of 90 MB and 1.5 s at most, whatever nginx takes."""
    found = msgspec.structs.replace(
        results({"direct": {"p50": 1.0}, "nginx": FULL, "tiergate": ENOUGH}),
        memory={"nginx": Memory(1, 1), "tiergate": Memory(idle, idle)},
        starts={"nginx": [Start(0.02, 0.01)], "tiergate": [Start(seconds, 0.6)]},
    )
    assert [one.row.key for one in floor.verdicts(found) if not one.met] == missed


def test_a_floor_is_written_as_it_was_measured() -> None:
    found = results({"direct": {"p50": 1.0}, "nginx": FULL, "tiergate": ENOUGH})
    assert floor.render(floor.verdicts(found)).splitlines() == [
        "ok      tiergate, requests per CPU-second, c=64: 6.0% of nginx, at least 6.0%",
        "ok      tiergate, chunks per CPU-second, c=32, paced 5 ms: 25.0% of nginx, at least 25.0%",
        "ok      tiergate, added p50, c=1, ms: 3.0x of nginx, at most 5.0x",
        "ok      tiergate, resident memory, idle, MB: 52.4, at most 90",
        "ok      tiergate, cold start to first answer, s: 0.6, at most 1.5",
    ]


def test_a_figure_that_is_not_known_misses_its_floor() -> None:
    found = results({"nginx": {}, "tiergate": {"cpu": None}})
    missed = [one for one in floor.verdicts(found) if not one.met]
    assert [one.row.key for one in missed] == ["plain", "paced", "single"]
    assert "unknown of nginx, at least 6.0%" in floor.render(missed)


def test_the_table_is_markdown_with_absolute_figures_and_ratios() -> None:
    found = results(
        {"direct": {}, "nginx": {"answered": 24_000}, "tiergate": {"answered": 1200}},
        {"direct": {}, "nginx": {"answered": 24_000}, "tiergate": {"answered": 2400}},
    )
    lines = {
        line.split("|")[1].strip(): line for line in table.render(found).splitlines() if "|" in line
    }
    assert len({len(line) for line in lines.values()}) == 1
    assert cells(lines[""]) == ["nginx", "tiergate", "tiergate / nginx", "range"]
    plain = cells(lines["requests per CPU-second, c=64"])
    assert plain == ["48,000", "3,600", "7.5%", "5.0% - 10.0%"]
    used = cells(lines["resident memory after 20,000 requests, MB"])
    assert used == ["10", "54", "5.4x", ""]
    start = cells(lines["cold start to first answer, s"])
    assert start == ["0.02", "0.60", "30.0x", "25.0x - 45.0x"]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_a_busy_machine_is_told() -> None:
    found = results({"nginx": {"waited": 0.05}, "tiergate": {"waited": 0.5}})
    assert table.waiting(found, "tiergate") == 0.5
    assert "tiergate waited for its CPU 50% of the time" in table.render(found)
    assert "nginx waited" not in table.render(found)
