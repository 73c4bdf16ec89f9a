"""Agents at labs of other dialects than their own: tools really run, and sessions continue."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core import jsonio
from tests.clients.agents import AGENTS, CODEX, NOTE, Ask, codex
from tests.clients.conftest import ClientPlace
from tests.clients.model_turns import Turn
from tests.e2e.four_labs import CHAT, DIALECTS, GEMINI

PAIRS = [(*agent, lab) for agent in AGENTS for lab in DIALECTS if lab != agent[1]]


def at(turns: tuple[Turn, ...], folder: Path) -> tuple[Turn, ...]:
    """Return the turns for an agent that works in a folder."""
    there = str(folder)

    def call(name: str, given: dict[str, str]) -> tuple[str, dict[str, str]]:
        return name, {key: value.replace("{work}", there) for key, value in given.items()}

    return tuple(replace(turn, calls=tuple(call(*it) for it in turn.calls)) for turn in turns)


@pytest.mark.parametrize(
    ("name", "own", "ask", "turns", "lab"), PAIRS, ids=[f"{it[0]} at {it[4]}" for it in PAIRS]
)
def test_an_agent_at_another_lab(
    place: ClientPlace,
    tmp_path: Path,
    name: str,
    own: str,
    ask: Ask,
    turns: tuple[Turn, ...],
    lab: str,
) -> None:
    """A tool writes a file, two run at once, each result is accepted; a second prompt works too."""
    lab_ = place.lab
    lab_.begin({"Keep a note": at(turns, tmp_path / "work")})
    assert ask(tmp_path, place.url, lab, "Keep a note.", False) == "All is done."
    work = tmp_path / "work"
    assert (work / "note.txt").read_text() == NOTE
    assert (work / "size.txt").read_text().strip() == str(len(NOTE.encode()))
    one_at_a_time = name == "Codex taken over" and lab == GEMINI
    assert one_at_a_time or (work / "quoted.txt").read_text() == 'a"b'
    assert {it.dialect for it in lab_.heard} == {lab}
    loop = [it for it in lab_.heard if not it.aside]
    assert [(it.rounds, it.kept) for it in loop] == [(0, 0), (1, 1), (2, 2)]
    assert ask(tmp_path, place.url, lab, "Thank you.", True) == "All is done."
    last = [it for it in lab_.heard if not it.aside][-1]
    request_text = jsonio.dumps(last.body).decode()
    assert (last.rounds, "Thank you." in request_text, request_text.count("All is done.")) == (
        2,
        True,
        1,
    )


def test_codex_searches_the_web_at_its_own_lab_alone(place: ClientPlace, tmp_path: Path) -> None:
    """By default Codex offers a tool of OpenAI's own.

    At another lab the gateway refuses it and says how to leave it out.
    """
    place.lab.begin({"Keep a note": CODEX})
    config = tmp_path / "home/.codex/config.toml"
    with pytest.raises(
        AssertionError, match=r"tools\.web_search.*leave it out \(Codex: web_search = .*disabled"
    ):
        codex("{lab}/smart", 'web_search = "live"')(
            tmp_path, place.url, CHAT, "Keep a note.", False
        )
    assert 'web_search = "live"' in config.read_text()
    assert not place.lab.heard
