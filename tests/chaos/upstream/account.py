"""U-30: one of two credentials is dead: the other is used, and the dead one is left alone."""

from tests.chaos.client import PROMPT
from tests.chaos.gateway import PROVIDER_KEY
from tests.chaos.provider import Request, Wire, honest
from tests.chaos.row import Cell, Expected, Row, Seen
from tests.chaos.stage import Stage, lab
from tests.chaos.upstream.fault import ledger
from tests.chaos.upstream.status import says
from tests.e2e.world import Config

_DEAD = f"{PROVIDER_KEY}-dead"
_CALLS = 6
_FEW = _CALLS + 3
"""Requests: a credential may be refused three times before it is known to be dead."""


async def _known(wire: Wire, request: Request) -> None:
    dead = any(_DEAD in value for _, value in request.headers)
    await (says(401) if dead else honest)(wire, request)


def _prepare(value: Config, stage: Stage, cell: Cell) -> None:
    lab(value, stage, cell, accounts={"dead": _DEAD, "main": PROVIDER_KEY})


def _play(stage: Stage, cell: Cell) -> Seen:
    stage.provider.play(cell.name, _known)
    gateway, counts, wrong, entry = stage.gateway, [], [], None
    for number in range(_CALLS):
        prompt = f"{PROMPT} It is number {number}."
        reply = gateway.ask(cell.dialect, f"{cell.name}/smart", stream=cell.stream, prompt=prompt)
        entry = gateway.entry(reply.id)
        counts.append(entry.attempts)
        if reply.status != 200:
            wrong.append(f"call {number}: {reply.status}")
        if entry.account != "main":
            wrong.append(f"call {number} by {entry.account}")
    assert entry is not None
    if sum(counts) > _FEW:
        wrong.append(f"requests {counts}")
    return Seen(
        200, attempts=counts[-1], ledger=ledger(entry), more=f"{counts[0]} sent at first",
        wrong=tuple(wrong),
    )  # fmt: skip


ROWS: tuple[Row, ...] = (
    Row("U-30", "one of two credentials is dead", "upstream", _play,
        Expected(200, attempts=1, ledger="settled", more="2 sent at first"), _prepare, ci=True),
)  # fmt: skip
