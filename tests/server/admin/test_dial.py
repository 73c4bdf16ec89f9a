"""Test the curve of the quality dial that admins read over HTTP."""

import json
from pathlib import Path

import pytest

from gateway.runtime import reloader
from gateway.server.admin import dial
from tests.cli.run import run
from tests.e2e.world import Config, Make, World
from tests.server.admin.test_costs import check_error, get

PATH = "/admin/dial"
GOLDEN = "prompts:\n- {prompt: Hi, tier: fast}\n- {prompt: 'Prove that 2 is prime.', tier: smart}\n"


def set_dial(value: Config) -> None:
    value["routing"] = {"classifier": "prior", "quality": 4}
    value["labs"]["other"]["quality"] = 8.5


@pytest.fixture
def world(make: Make) -> World:
    world: World = make(set_dial)
    return world


def test_the_curve_is_that_of_the_command(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (world.folder / "golden.yaml").write_text(GOLDEN)
    curve = get(world, PATH).json()
    monkeypatch.setenv("TIERGATE_DATA", str(world.folder / "none"))
    printed = run("--config", world.folder / "gateway.yaml", "dial", "--json")
    assert curve["points"] == json.loads(printed.stdout)
    assert [point["position"] for point in curve["points"]] == [None, *range(11)]
    assert (curve["file"], curve["since"]) == (str(world.folder / "golden.yaml"), None)
    assert curve["version"] == world.gateway.revision.version
    assert [(lab["lab"], lab["position"], lab["set_by"]) for lab in curve["current"]] == [
        ("acme", 4, "routing.quality"), ("other", 8.5, "lab other"),
    ]  # fmt: skip


def test_a_curve_is_remembered_until_its_prompts_change(world: World) -> None:
    file = world.gateway.data / "golden.yaml"
    file.touch(0o600)
    file.write_text(GOLDEN)
    first = get(world, PATH).json()
    assert (first["file"], first["points"][0]["prompts"]) == (str(file), 2)
    assert get(world, PATH).json()["at"] == first["at"]
    file.write_text(f"{GOLDEN}- {{prompt: Hello, tier: fast}}\n")
    assert get(world, PATH).json()["points"][0]["prompts"] == 3
    file.write_text("prompts: []\n")
    message = check_error(get(world, PATH), 409)
    assert message.startswith(f"There is no curve: {file}: error: names no prompts")


def test_the_curve_of_own_calls(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make(lambda value: value.update(routing={"quality": 4}))
    for text in ("Hi", "Prove that 2 is prime."):
        body = {"model": "auto", "messages": [{"role": "user", "content": text}]}
        assert world.ask(body).status_code == 200
    monkeypatch.setattr(dial, "_MAX_CURVES", 1)
    curve = get(world, f"{PATH}?since=1h").json()
    assert {point["prompts"] for point in curve["points"]} == {2}
    assert [point["position"] for point in curve["points"]] == [None, None, *range(11)]
    assert curve["points"][1]["is_set"]
    assert get(world, f"{PATH}?since=2h").json()["points"] == curve["points"]
    monkeypatch.setattr("gateway.server.queries.dial.MAX_CALLS", 1)
    message = check_error(get(world, f"{PATH}?since=3h"), 400)
    assert message.startswith("A classifier decided 2 calls in this time, more than 1:")


def test_without_golden_prompts_the_gateway_says_where_it_looks(world: World) -> None:
    message = check_error(get(world, PATH), 404)
    places: list[Path] = [world.folder, world.gateway.data]
    assert all(str(place / "golden.yaml") in message for place in places)
    assert check_error(get(world, f"{PATH}?since=soon"), 400).startswith("'soon' is no time")
    assert check_error(get(world, f"{PATH}?file=x"), 400).startswith("There is no parameter")


def test_files_that_are_not_in_force_have_no_curve(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The curve is of the configuration that decides calls, not of an edit that is not in force."""
    monkeypatch.setattr(reloader, "LOOK_SECONDS", 600.0)
    world = make(set_dial)
    (world.folder / "golden.yaml").write_text(GOLDEN)
    file = world.folder / "gateway.yaml"
    file.write_text(file.read_text().replace("able-1", "able-9"))
    message = check_error(get(world, PATH), 409)
    assert message == "The files of the configuration have changed: reload it first."
