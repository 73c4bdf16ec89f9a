"""A row of the fault matrix: a fault of the gateway's world, and what must be seen then.

Row       a fault, how it is played, and what is expected; for some dialects, modes and places
Cell      one case of a row: a dialect, whole or streamed, `native` or `translated`
Seen      the observations of a cell, in the words of the matrix's columns
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

from tests.e2e.four_labs import CHAT, DIALECTS, GEMINI, MESSAGES, RESPONSES
from tests.e2e.world import Config

if TYPE_CHECKING:
    from tests.chaos.environment import ChaosEnvironment

type Mode = Literal["whole", "stream"]
type Where = Literal["native", "translated"]
type Need = Callable[[], str]
"""Returns why a row cannot be played here; empty if it can."""

TRANSLATED_DIALECTS: Mapping[str, str] = {
    CHAT: MESSAGES, MESSAGES: CHAT, RESPONSES: GEMINI, GEMINI: RESPONSES,
}  # fmt: skip
"""The provider's dialect, by that of the client, if a row is played translated."""
MODES: tuple[Mode, ...] = ("whole", "stream")


@dataclass(frozen=True)
class Seen:
    """The observations of one cell."""

    status: int | None = None
    """HTTP status that the client got."""
    client: str = ""
    """The verdict of the client; see verdict.py."""
    attempts: int | None = None
    """Requests that the gateway sent to providers for this call, even if they never arrived."""
    ledger: str = ""
    """State of the call's one final row, with its cost or who ended it."""
    cache: str = ""
    """Cache status of the same request afterwards: hit or none."""
    more: str = ""
    """A figure that only this row measures."""
    wrong: tuple[str, ...] = ()
    """Faults whatever was expected."""

    def __str__(self) -> str:
        return ", ".join(_list_words(self))


@dataclass(frozen=True)
class Expected:
    """The observations that must be made. A tuple allows any of its values."""

    status: int | tuple[int, ...] | None = None
    client: str | tuple[str, ...] | None = None
    attempts: int | tuple[int, ...] | None = None
    ledger: str | tuple[str, ...] | None = None
    cache: str | tuple[str, ...] | None = None
    more: str | None = None
    """A regular expression that must match all of `more`."""
    promise: str = ""
    """The promise in words, printed if a row judges by itself."""

    def wrong(self, seen: Seen) -> list[str]:
        """List the differences by name of the column."""
        differences = list(seen.wrong)
        for name in ("status", "client", "attempts", "ledger", "cache"):
            want, got = getattr(self, name), getattr(seen, name)
            if want is not None and got not in (want if isinstance(want, tuple) else (want,)):
                differences.append(f"{name} {got}")
        if self.more is not None and not re.fullmatch(self.more, seen.more):
            differences.append(f"more {seen.more}")
        return differences

    def __str__(self) -> str:
        return ", ".join(_list_words(self)) or self.promise or "what was measured"


def _list_words(observations: Seen | Expected) -> Iterator[str]:
    def word(value: object) -> str:
        return "/".join(map(str, value)) if isinstance(value, tuple) else str(value)

    if observations.status is not None:
        yield word(observations.status)
    if observations.client:
        yield word(observations.client)
    if observations.attempts is not None:
        yield f"{_range(observations.attempts)} sent"
    if observations.ledger:
        yield word(observations.ledger)
    if observations.cache:
        yield f"cache {word(observations.cache)}"
    if observations.more:
        yield observations.more


def _range(count: int | tuple[int, ...]) -> str:
    return f"{min(count)}-{max(count)}" if isinstance(count, tuple) else str(count)


def _unchanged(value: Config, environment: ChaosEnvironment, cell: Cell) -> None:
    pass


@dataclass(frozen=True, eq=False)
class FaultRow:
    """One fault."""

    id: str
    """Id in the matrix: U-07."""
    fault: str
    """The variant of the fault, in a few words."""
    family: str
    """upstream, redis, process or client."""
    play: Callable[[ChaosEnvironment, Cell], Seen]
    """Plays the row, and returns what it saw. The row fails if this raises."""
    expected: Expected | Mapping[Mode, Expected]
    prepare: Callable[[Config, ChaosEnvironment, Cell], None] = _unchanged
    """Adds to the configuration what a cell needs: a lab of its name, with providers of its own."""
    environ: Callable[[ChaosEnvironment], Mapping[str, str]] = lambda environment: {}
    """Environment variables of the gateway of its act."""
    before: Callable[[ChaosEnvironment], Sequence[str]] = lambda environment: ()
    """Words before that gateway's command: a program that starts it elsewhere, or limits it."""
    own: bool = False
    """True if it starts its own gateways (`ChaosEnvironment.start`); else all cells of an id share one."""
    together: bool = False
    """True if all cells of an `own` row share its gateways, and it is played once; see all_clients.py."""
    dialects: Sequence[str] = DIALECTS
    modes: Sequence[Mode] = MODES
    places: Sequence[Where] = ("native",)
    needs: Sequence[Need] = ()
    growth: int = 20_000_000
    """Bytes of memory that the gateway may have more after its act."""
    ci: bool = False
    """True if the tests play it too, not only `make chaos`."""
    begin: Callable[[ChaosEnvironment, Cell], object] = lambda environment, cell: None
    """Makes the provider fail, as `play` does first; for cells with a client of their own."""
    unmet: str = ""
    """Why the gateway does not meet the expectation yet; then the row must fail, and says so."""

    def cells(self) -> Iterator[Cell]:
        for dialect in self.dialects:
            for mode in self.modes:
                for place in self.places:
                    yield Cell(self, dialect, mode, place)

    @property
    def key(self) -> str:
        """Return the unique name of the row."""
        return f"{self.id} {self.fault}"

    def missing(self) -> str:
        """Return why the row cannot be played here."""
        return "; ".join(filter(None, (need() for need in self.needs)))


@dataclass(frozen=True)
class Cell:
    """A row in one dialect and mode."""

    row: FaultRow = field(repr=False)
    dialect: str
    mode: Mode
    place: Where = "native"
    by: str = ""
    """The client that calls, if it is not the harness's own."""

    @property
    def stream(self) -> bool:
        return self.mode == "stream"

    @property
    def spoken(self) -> str:
        """Return the dialect of the cell's provider."""
        return self.dialect if self.place == "native" else TRANSLATED_DIALECTS[self.dialect]

    @property
    def name(self) -> str:
        """Return the name of the cell's lab, provider and path, which no other cell shares."""
        words = f"{self.row.id} {self.row.fault} {self.dialect} {self.mode} {self.place} {self.by}"
        return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")

    @property
    def act(self) -> str:
        """Return the name of the act: cells of one act are played on one environment."""
        return self.row.key if self.row.together else self.name

    @property
    def expected(self) -> Expected:
        expected = self.row.expected
        return expected if isinstance(expected, Expected) else expected[self.mode]

    def __str__(self) -> str:
        where = self.mode if self.place == "native" else f"{self.mode} at {self.spoken}"
        return f"{self.row.id} | {self.row.fault} | {self.dialect} | {where}"


def program(name: str) -> Need:
    """Require a program on the path."""
    return lambda: "" if shutil.which(name) else f"no {name}"


def namespaces() -> str:
    """Require root, and mounts for one process alone."""
    if missing := root() or program("unshare")() or program("mount")():
        return missing
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "no mount namespaces here"


def root() -> str:
    """Require root."""
    return "" if os.geteuid() == 0 else "needs root"
