"""U-01 to U-04: nobody is there, nobody is found, nobody can be trusted, nobody answers the door."""

import socket

from tests.chaos.row import Cell, Expected, Row
from tests.chaos.stage import Stage
from tests.chaos.upstream.fault import fault
from tests.e2e.world import Config


def _nobody(stage: Stage, cell: Cell) -> Config:
    """A port that is taken and not listened at."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    stage.at_close.append(held.close)
    return {"base_url": f"http://127.0.0.1:{held.getsockname()[1]}/{cell.name}"}


UNREACHABLE = Expected(502, "error", 1, "failed upstream_unreachable free", "none")

ROWS: tuple[Row, ...] = (
    fault("U-01", "connection refused", None,
          Expected(502, "error", (1, 2, 3, 4), "failed upstream_unreachable free", "none"),
          part=_nobody, healed=False, ci=True),
    fault("U-01", "connection refused, another target", None,
          Expected(200, "answer", 2, "settled", "none"),
          part=_nobody, spare=1, healed=False, places=("home", "abroad")),
)  # fmt: skip
