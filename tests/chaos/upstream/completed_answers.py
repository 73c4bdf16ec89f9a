"""An answer breaks off after its beginning, and its call asks for a complete one.

Another target finishes it: the client gets one whole answer, and the cache stores none of it.
"""

from typing import Any

from tests.chaos.environment import ChaosEnvironment, add_lab
from tests.chaos.provider import Fault, FaultRequest, Wire, honest
from tests.chaos.row import Cell, Expected, FaultRow, Seen
from tests.chaos.upstream import cut
from tests.chaos.upstream.fault import play_call
from tests.chaos.upstream.odd_answers import begun, error_frame
from tests.e2e.world import Config

ANSWER = Expected(200, "answer", 2, "settled", "none")


async def _begin(wire: Wire, request: FaultRequest) -> None:
    await wire.sse()
    await wire.chunk(*begun(request.dialect, 1))


async def _stalls(wire: Wire, request: FaultRequest) -> None:
    await _begin(wire, request)
    await wire.forever()


async def _broken(wire: Wire, request: FaultRequest) -> None:
    await _begin(wire, request)
    await wire.chunk(b'data: {"half\n\n')
    await wire.end()


async def fail_after_content(wire: Wire, request: FaultRequest) -> None:
    await _begin(wire, request)
    await wire.chunk(error_frame(request.dialect))
    await wire.end()


def _row(id: str, name: str, does: Fault, **more: Any) -> FaultRow:
    def prepare(value: Config, environment: ChaosEnvironment, cell: Cell) -> None:
        add_lab(value, environment, cell, 1, timeouts={"idle": "0.5s"})
        guard = {"name": cell.name, "when": {"asked": f"{cell.name}/smart"}, "complete": "hold"}
        value.setdefault("guards", []).append(guard)

    def begin(environment: ChaosEnvironment, cell: Cell) -> None:
        environment.provider.play(cell.name, does)

    def play(environment: ChaosEnvironment, cell: Cell) -> Seen:
        begin(environment, cell)
        again = lambda: environment.provider.play(cell.name, honest)  # noqa: E731
        return play_call(environment, cell, again=again)

    return FaultRow(
        id, f"{name}, finished by another", "upstream", play, ANSWER, prepare, begin=begin,
        modes=("stream",), **more,
    )  # fmt: skip


ROWS: tuple[FaultRow, ...] = (
    _row("U-07", "silence after 1 frame", _stalls),
    _row("U-09", "RST after 1 frame", cut.reset_after(1), places=("native", "translated"), ci=True),
    _row(
        "U-11", "clean end after 1 frame", cut.end_with(lambda dialect: b"".join(begun(dialect, 1)))
    ),
    _row("U-14", "a broken frame after 1 frame", _broken),
    _row("U-17", "an error after 1 frame", fail_after_content),
)
