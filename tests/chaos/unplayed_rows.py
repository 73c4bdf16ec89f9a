"""Rows that are played elsewhere, or cannot be played; each is listed with its reason."""

from tests.chaos.environment import ChaosEnvironment
from tests.chaos.row import Cell, Expected, Row, Seen
from tests.e2e.four_labs import CHAT


def _play(_: ChaosEnvironment, cell: Cell) -> Seen:
    raise AssertionError(cell.row.missing())


def _row(id: str, fault: str, family: str, why: str) -> Row:
    return Row(
        id, fault, family, _play, Expected(), own=True, dialects=(CHAT,), modes=("whole",), needs=(lambda: why,)
    )  # fmt: skip


ROWS: tuple[Row, ...] = (
    _row("P-16", "half an hour of mixed faults", "process", "make soak plays it"),
    _row("C-04", "a client whose packets vanish", "client", "no packets can be dropped here (nft or netem)"),
    _row("C-17", "requests that the OpenAPI document allows and forbids", "client", "make openapi plays it"),
)  # fmt: skip
