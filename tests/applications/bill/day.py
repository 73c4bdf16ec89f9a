"""A scripted day: its users' prompts, their times, and the lengths of answers (see `days/*.yaml`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML

type Json = Any

FOLDER = Path(__file__).parent
NAMES = ("chat", "rag", "agent", "batch")
_TURN = 60.0
"""Seconds from one turn to the next, unless the script says otherwise."""
_FIRST_MIDNIGHT = 1_795_737_600.0
"""Friday, 27 November 2026, 00:00 UTC, in seconds since the epoch."""
_SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class ScriptedTurn:
    """One prompt of a user."""

    at: float
    """Seconds since the epoch."""
    text: str
    out: int
    """Tokens of the answer, without reasoning."""
    calls: int = 0
    """Rounds of tools before the answer."""
    read: int = 0
    """Tokens of each tool result."""


@dataclass(frozen=True)
class Day:
    """One application's day. A conversation is a list of turns."""

    name: str
    client: Literal["chat", "rag", "agent", "batch"]
    conversations: tuple[tuple[ScriptedTurn, ...], ...]
    script: Json
    """The whole file, for keys of one kind of client."""


def load(name: str) -> Day:
    """Read a day's script. The days follow one another, so that one gateway can serve them all."""
    script = YAML(typ="safe").load(FOLDER / "days" / f"{name}.yaml")
    make = _rows if script["client"] == "batch" else _conversations
    midnight = _FIRST_MIDNIGHT + NAMES.index(name) * _SECONDS_PER_DAY
    return Day(name, script["client"], tuple(make(script, midnight)), script)


def _conversations(script: Json, midnight: float) -> Iterator[tuple[ScriptedTurn, ...]]:
    for conversation in script["conversations"]:
        at, turns = midnight + _seconds(conversation["at"]), []
        for number, turn in enumerate(conversation["turns"]):
            at += turn.get("after", _TURN) if number else 0.0
            turns.append(ScriptedTurn(at, turn["user"], turn["out"], turn.get("calls", 0), turn.get("read", 0)))  # fmt: skip
        yield tuple(turns)


def _rows(script: Json, midnight: float) -> Iterator[tuple[ScriptedTurn, ...]]:
    at = midnight + _seconds(script["at"])
    for task in script["tasks"]:
        for row in task["rows"]:
            yield (ScriptedTurn(at, task["template"].format(row=row), task["out"]),)
            at += script["apart"]


def _seconds(time: str) -> float:
    hours, minutes = time.split(":")
    return int(hours) * 3600 + int(minutes) * 60
