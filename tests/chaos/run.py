"""Play rows act by act, and compare the observations of each cell with what is expected."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.chaos.environment import ChaosEnvironment
from tests.chaos.row import Cell, FaultRow, Seen
from tests.e2e.world import Loop

_AT_ONCE = 8
"""Cells of an act that are played concurrently."""


@dataclass(frozen=True)
class Result:
    """One line of the output of a run."""

    what: str
    expected: str
    seen: str
    wrong: tuple[str, ...] = ()
    why: str = ""
    """Why the cell was not run."""
    unmet: str = ""
    """Why the gateway is known not to do this yet."""
    raw: Seen | None = None
    """The observations of the cell."""

    @property
    def ran(self) -> bool:
        return not self.why

    @property
    def passed(self) -> bool:
        """True if the cell passes; a row that is marked unmet passes only if it fails."""
        return bool(self.wrong) is bool(self.unmet)

    def __str__(self) -> str:
        if self.why:
            return f"{self.what} | not run: {self.why}"
        if not self.wrong and not self.unmet:
            end = "ok"
        elif self.wrong and self.unmet:
            end = f"known: {self.unmet}"
        else:
            end = "FAILED: " + ("; ".join(self.wrong) or f"no longer: {self.unmet}")
        return f"{self.what} | expected {self.expected} | seen {self.seen} | {end}"


def chosen(
    rows: Iterable[FaultRow],
    only: Sequence[str] = (),
    dialects: Sequence[str] = (),
    *,
    ci: bool = False,
) -> list[Cell]:
    """Return cells by ids or families of rows and by dialects; `ci`: only those of the tests."""
    return [
        cell
        for row in rows
        if (not only or row.id in only or row.family in only) and (row.ci or not ci)
        for cell in row.cells()
        if not dialects or cell.dialect in dialects
    ]


def play(
    cells: Sequence[Cell], folder: Path | None = None, *, strict: bool = True
) -> Iterator[Result]:
    """Play cells on stages.

    Cells of one id that are not `own` share a gateway, which is audited after them.
    """
    with tempfile.TemporaryDirectory(prefix="tiergate-chaos-") as made:
        place = folder or Path(made)
        loop = Loop()
        try:
            for (id, own), act_cells in groupby(sorted(cells, key=_act), _act):
                together = list(act_cells)
                missing = [cell for cell in together if cell.row.missing()]
                for cell in missing:
                    yield Result(str(cell), "", "", why=cell.row.missing())
                ready = [cell for cell in together if cell not in missing]
                if own:
                    for _, ready_cells in groupby(ready, lambda cell: cell.act):
                        some = list(ready_cells)
                        yield from act(place / some[0].name, loop, id, some, strict=strict)
                elif ready:
                    yield from act(place / id, loop, id, ready, strict=strict)
        finally:
            loop.close()


def _act(cell: Cell) -> tuple[str, bool]:
    return cell.row.id, cell.row.own


def act(
    folder: Path, loop: Loop, id: str, cells: Sequence[Cell], *, strict: bool
) -> Iterator[Result]:
    """Play cells on one environment, and audit its gateways afterwards."""
    environment = ChaosEnvironment(folder, loop, strict=strict)
    try:
        if not cells[0].row.own:
            environ: Any = {
                k: v for cell in cells for k, v in cell.row.environ(environment).items()
            }
            before = next(filter(None, (cell.row.before(environment) for cell in cells)), ())
            environment.start(environment.config(cells), before=before, **environ)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            yield from pool.map(lambda cell: _cell(environment, cell), cells)
        for gateway in environment.list_unaudited():
            figures, wrong = environment.audit(
                gateway, growth=max(cell.row.growth for cell in cells)
            )
            what = f"{id} | afterwards | {cells[0].dialect if len(cells) == 1 else 'all'} | -"
            yield Result(what, "all as before, each call one final row", figures, tuple(wrong))
    finally:
        environment.close()


def _cell(environment: ChaosEnvironment, cell: Cell) -> Result:
    try:
        seen = cell.row.play(environment, cell)
    except Exception as error:  # noqa: BLE001 - a row that raises has failed
        seen = Seen(wrong=(f"{type(error).__name__}: {error}",))
    wrong = cell.expected.wrong(seen)
    return Result(
        str(cell), str(cell.expected), str(seen), tuple(wrong), unmet=cell.row.unmet, raw=seen
    )
