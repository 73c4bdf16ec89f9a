"""A row of the fault matrix: what is done to a gateway, and what must be seen of it then.

Row       a fault, how it is played, and what is expected; for some dialects, modes and places
Cell      one of those: a row in one dialect, whole or streamed, at home or abroad
Seen      what was seen of a cell, in the words of the matrix's columns
Expected  what must be seen; a column that is None may be anything
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tests.e2e.abroad import CHAT, DIALECTS, GEMINI, MESSAGES, RESPONSES
from tests.e2e.world import Config

if TYPE_CHECKING:
    from tests.chaos.stage import Stage

type Mode = Literal["whole", "stream"]
type Where = Literal["home", "abroad"]
type Need = Callable[[], str]
"""Why a row cannot be played here; nothing where it can."""

ABROAD: Mapping[str, str] = {
    CHAT: MESSAGES, MESSAGES: CHAT, RESPONSES: GEMINI, GEMINI: RESPONSES,
}  # fmt: skip
"""The dialect of the provider, by that of the client, where a row is played abroad."""
MODES: tuple[Mode, ...] = ("whole", "stream")


@dataclass(frozen=True)
class Seen:
    """What was seen of one cell."""

    status: int | None = None
    """Of HTTP, at the client."""
    client: str = ""
    """What the client was told: see verdict.py."""
    attempts: int | None = None
    """Requests that were sent to providers for it, also those that never arrived."""
    ledger: str = ""
    """State of its one final row, and what that says of the cost or of who ended it."""
    cache: str = ""
    """What the same request got from the cache afterwards: hit or none."""
    more: str = ""
    """What only this row measures."""
    wrong: tuple[str, ...] = ()
    """What is wrong whatever was expected."""

    def __str__(self) -> str:
        return ", ".join(_told(self))


@dataclass(frozen=True)
class Expected:
    """What must be seen. A tuple means any of these."""

    status: int | tuple[int, ...] | None = None
    client: str | tuple[str, ...] | None = None
    attempts: int | tuple[int, ...] | None = None
    ledger: str | tuple[str, ...] | None = None
    cache: str | tuple[str, ...] | None = None
    more: str | None = None
    """A regular expression, for the whole of it."""
    said: str = ""
    """What is printed where a row judges by itself: its promise in words."""

    def wrong(self, seen: Seen) -> list[str]:
        """Where they differ, by name of the column."""
        found = list(seen.wrong)
        for name in ("status", "client", "attempts", "ledger", "cache"):
            want, got = getattr(self, name), getattr(seen, name)
            if want is not None and got not in (want if isinstance(want, tuple) else (want,)):
                found.append(f"{name} {got}")
        if self.more is not None and not re.fullmatch(self.more, seen.more):
            found.append(f"more {seen.more}")
        return found

    def __str__(self) -> str:
        return ", ".join(_told(self)) or self.said or "what was measured"


def _told(one: Seen | Expected) -> Iterator[str]:
    def word(value: object) -> str:
        return "/".join(map(str, value)) if isinstance(value, tuple) else str(value)

    if one.status is not None:
        yield word(one.status)
    if one.client:
        yield word(one.client)
    if one.attempts is not None:
        yield f"{_range(one.attempts)} sent"
    if one.ledger:
        yield word(one.ledger)
    if one.cache:
        yield f"cache {word(one.cache)}"
    if one.more:
        yield one.more


def _range(count: int | tuple[int, ...]) -> str:
    return f"{min(count)}-{max(count)}" if isinstance(count, tuple) else str(count)


def _unchanged(value: Config, stage: Stage, cell: Cell) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Row:
    """One fault."""

    id: str
    """Of the matrix: U-07."""
    fault: str
    """Which variant of it, in a few words."""
    family: str
    """upstream, redis, process or client."""
    play: Callable[[Stage, Cell], Seen]
    """Do it, and tell what was seen. It may raise: that fails the row."""
    expected: Expected | Mapping[Mode, Expected]
    prepare: Callable[[Config, Stage, Cell], None] = _unchanged
    """Adds to the configuration what a cell needs: a lab of its name, with providers of its own."""
    environ: Callable[[Stage], Mapping[str, str]] = lambda stage: {}
    """Variables of the gateway of its act."""
    before: Callable[[Stage], Sequence[str]] = lambda stage: ()
    """Words before the command of that gateway: a program that starts it elsewhere or bounded."""
    own: bool = False
    """It starts gateways of its own (`Stage.start`); else all cells of an id share one."""
    together: bool = False
    """What is `own` is shared by all its cells, and played once: see crowd.py."""
    dialects: Sequence[str] = DIALECTS
    modes: Sequence[Mode] = MODES
    places: Sequence[Where] = ("home",)
    needs: Sequence[Need] = ()
    growth: int = 20_000_000
    """Bytes of memory that its act may leave behind."""
    ci: bool = False
    """Played by the tests too, not only by `make chaos`."""
    begin: Callable[[Stage, Cell], object] = lambda stage, cell: None
    """Makes its provider do wrong: what `play` does first, for who asks in another way."""
    unmet: str = ""
    """Why the gateway does not do what is expected yet; then it must fail, and says so."""

    def cells(self) -> Iterator[Cell]:
        for dialect in self.dialects:
            for mode in self.modes:
                for place in self.places:
                    yield Cell(self, dialect, mode, place)

    @property
    def key(self) -> str:
        """Its name among all rows."""
        return f"{self.id} {self.fault}"

    def missing(self) -> str:
        """Why it cannot be played here."""
        return "; ".join(filter(None, (need() for need in self.needs)))


@dataclass(frozen=True)
class Cell:
    """A row in one dialect and mode."""

    row: Row = field(repr=False)
    dialect: str
    mode: Mode
    place: Where = "home"
    by: str = ""
    """Who asks, where that is not the harness's own client."""

    @property
    def stream(self) -> bool:
        return self.mode == "stream"

    @property
    def spoken(self) -> str:
        """The dialect of its provider."""
        return self.dialect if self.place == "home" else ABROAD[self.dialect]

    @property
    def name(self) -> str:
        """Its lab, its provider and the path of that: no two cells share what one can break."""
        words = f"{self.row.id} {self.row.fault} {self.dialect} {self.mode} {self.place} {self.by}"
        return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")

    @property
    def act(self) -> str:
        """What is played on one stage with it, where that is its row's own."""
        return self.row.key if self.row.together else self.name

    @property
    def expected(self) -> Expected:
        expected = self.row.expected
        return expected if isinstance(expected, Expected) else expected[self.mode]

    def __str__(self) -> str:
        where = self.mode if self.place == "home" else f"{self.mode} at {self.spoken}"
        return f"{self.row.id} | {self.row.fault} | {self.dialect} | {where}"


def program(name: str) -> Need:
    """A program that must be on the path."""
    return lambda: "" if shutil.which(name) else f"no {name}"


def namespaces() -> str:
    """Root that may mount things for one process alone is needed."""
    if missing := root() or program("unshare")() or program("mount")():
        return missing
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "no mount namespaces here"


def root() -> str:
    """Root is needed."""
    return "" if os.geteuid() == 0 else "needs root"
