"""SDKs and frameworks as people install them, each at labs of other dialects than its own."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import ClientPlace
from tests.clients.lab import ODD
from tests.clients.model_turns import Turn
from tests.clients.program import program
from tests.e2e.four_labs import CHAT, COUNTS, DIALECTS, GEMINI, MESSAGES, RESPONSES

CLIENTS = [
    ("openai.mjs", "chat", CHAT),
    ("openai.mjs", "responses", RESPONSES),
    ("anthropic.mjs", "messages", MESSAGES),
    ("ai.mjs", "chat", CHAT),
    ("ai.mjs", "responses", RESPONSES),
    ("ai.mjs", "messages", MESSAGES),
    ("ai.mjs", "gemini", GEMINI),
    ("google.mjs", "gemini", GEMINI),
    ("lang.py", "chat", CHAT),
    ("lang.py", "responses", RESPONSES),
    ("lang.py", "messages", MESSAGES),
    ("typed.py", "chat", CHAT),
    ("typed.py", "responses", RESPONSES),
    ("typed.py", "messages", MESSAGES),
    ("typed.py", "gemini", GEMINI),
    ("hay.py", "chat", CHAT),
    ("llama.py", "chat", CHAT),
    ("llama.py", "responses", RESPONSES),
    ("agents_sdk.py", "chat", CHAT),
    ("agents_sdk.py", "responses", RESPONSES),
    ("llm_cli.py", "chat", CHAT),
    ("llm_cli.py", "messages", MESSAGES),
]
PAIRS = [(*client, lab) for client in CLIENTS for lab in DIALECTS if lab != client[2]]
FORGETFUL = {("typed.py", "responses"), ("llama.py", "responses")}
"""Clients that lose reasoning state.

Pydantic AI sends reasoning back only to models that it knows by name, LlamaIndex without its state.
"""
HELLO = "Hello, you there. Grüezi!"
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("weather", {"city": "Zürich", "days": 2}),
    ("weather", {"city": "Rome"}),
    ("weather", {"city": 'L"Aquila\n', "days": 3}),
]
SCRIPTS = {
    "[hello]": (Turn(text=HELLO),),
    "[loop]": (
        Turn(thought="One city first.", calls=(CALLS[0],)),
        Turn(thought="Then two at once.", text="Two more.", calls=(CALLS[1], CALLS[2])),
        Turn(text="All is done."),
    ),
    "[fail]": (),
}


@pytest.mark.parametrize(
    ("name", "way", "own", "lab"), PAIRS, ids=[f"{name} {way} at {lab}" for name, way, _, lab in PAIRS]
)  # fmt: skip
def test_a_client_at_another_lab(
    place: ClientPlace, tmp_path: Path, name: str, way: str, own: str, lab: str
) -> None:
    """Text, a loop of tools with two at once, and errors arrive, whole and streamed."""
    place.lab.begin(SCRIPTS)
    ran = program(name, tmp_path, place.url, f"{lab}/smart", way)
    assert ran.code == 0, ran.err
    last_line = ran.lines[-1]
    assert not place.lab.wrong, place.lab.wrong[0]
    for part in ("whole", "stream"):
        assert last_line[part] == {"text": HELLO, "usage": list(COUNTS)}, part
    calls = [list(call) for call in CALLS]
    for part in ("loop", "streamed_loop"):
        assert last_line[part].get("calls") == calls, last_line[part]
        assert last_line[part]["text"] == "All is done.", last_line[part]
    for part in ("error", "streamed_error"):
        assert last_line[part]["status"] == 400, last_line[part]
        assert ODD in last_line[part]["error"]
    assert {it.dialect for it in place.lab.heard} == {lab}
    lost = any(it.kept < it.rounds for it in place.lab.heard)
    assert lost == ((name, way) in FORGETFUL)


@pytest.mark.parametrize("lab", DIALECTS)
def test_items_that_a_client_only_names_reach_every_lab(
    place: ClientPlace, tmp_path: Path, lab: str
) -> None:
    """By default the AI SDK on Responses only names the items of the turn before."""
    place.lab.begin(SCRIPTS)
    ran = program("ai.mjs", tmp_path, place.url, f"{lab}/smart", "stored")
    assert ran.code == 0, ran.err
    assert not place.lab.wrong, place.lab.wrong[0]
    for part in ("loop", "streamed_loop"):
        part_line = ran.lines[-1][part]
        assert part_line.get("calls") == [list(call) for call in CALLS], part_line
        assert part_line["text"] == "All is done."
    assert {it.dialect for it in place.lab.heard} == {lab}
    assert not any("item_reference" in str(it.body) for it in place.lab.heard)
    assert not any(it.kept < it.rounds for it in place.lab.heard)


WEATHER = {"city": "Zürich", "days": 2}
OBJECTS = {
    "[tools]": (Turn(calls=(("Weather", WEATHER),)),),
    "[messages]": (Turn(calls=(("Weather", WEATHER),)),),
    "[json]": (Turn(text='{"city": "Zürich", "days": 2}'),),
    "[schema]": (Turn(text='{"city": "Zürich", "days": 2}'),),
}


@pytest.mark.parametrize("lab", DIALECTS)
@pytest.mark.parametrize("way", ["tools", "json", "schema", "messages"])
def test_an_object_of_a_class(place: ClientPlace, tmp_path: Path, way: str, lab: str) -> None:
    """Each lab can do what Instructor does: a tool, JSON mode without a schema, and a schema."""
    place.lab.begin(OBJECTS)
    ran = program("extract.py", tmp_path, place.url, f"{lab}/smart", way)
    assert ran.code == 0, ran.err
    assert ran.lines[-1] == WEATHER
    assert {it.dialect for it in place.lab.heard} == {lab}
