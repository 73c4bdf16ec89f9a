"""U-30, U-31: the gateway replaces a credential or a model that no longer exists, and avoids it."""

from collections.abc import Callable

from gateway.core.ledger_rows import FinalRow
from tests.chaos.client import PROMPT
from tests.chaos.environment import ChaosEnvironment, add_lab
from tests.chaos.gateway import PROVIDER_KEY
from tests.chaos.provider import Fault, FaultRequest, Wire, honest
from tests.chaos.row import Cell, Expected, FaultRow, Seen
from tests.chaos.upstream.fault import ledger
from tests.chaos.upstream.status import says
from tests.e2e.world import Config

_DEAD = f"{PROVIDER_KEY}-dead"
_CALLS = 6
_FEW = _CALLS + 3
"""Requests: a provider may refuse a credential three times before the gateway knows it is dead."""


async def _answers_first_account(wire: Wire, request: FaultRequest) -> None:
    dead = any(_DEAD in value for _, value in request.headers)
    await (says(401) if dead else honest)(wire, request)


async def _gone(wire: Wire, request: FaultRequest) -> None:
    await says(404)(wire, request)


def _accounts(value: Config, environment: ChaosEnvironment, cell: Cell) -> None:
    add_lab(value, environment, cell, accounts={"dead": _DEAD, "main": PROVIDER_KEY})


def _spared(value: Config, environment: ChaosEnvironment, cell: Cell) -> None:
    add_lab(value, environment, cell, spare=1)


def _play(
    does: Fault, served: Callable[[FinalRow, Cell], bool]
) -> Callable[[ChaosEnvironment, Cell], Seen]:
    """Return a play with some calls;

    `served` is true if the right account or target has answered.
    """

    def play(environment: ChaosEnvironment, cell: Cell) -> Seen:
        environment.provider.play(cell.name, does)
        gateway, entries, wrong = environment.gateway, [], []
        for number in range(_CALLS):
            prompt = f"{PROMPT} It is number {number}."
            reply = gateway.ask(
                cell.dialect, f"{cell.name}/smart", stream=cell.stream, prompt=prompt
            )
            entries.append(gateway.entry(reply.id))
            if reply.status != 200 or not served(entries[-1], cell):
                wrong.append(f"call {number}: {reply.status} by {entries[-1].provider}")
        counts = [entry.attempts for entry in entries]
        if sum(counts) > _FEW:
            wrong.append(f"requests {counts}")
        more = f"{counts[0]} sent at first"
        return Seen(200, "", counts[-1], ledger(entries[-1]), "", more, tuple(wrong))

    return play


_LEFT = Expected(200, attempts=1, ledger="settled", more="2 sent at first")

ROWS: tuple[FaultRow, ...] = (
    FaultRow("U-30", "one of two credentials is dead", "upstream",
        _play(_answers_first_account, lambda entry, cell: entry.account == "main"), _LEFT, _accounts, ci=True),
    FaultRow("U-31", "a model that is no more is left alone", "upstream",
        _play(_gone, lambda entry, cell: entry.provider != cell.name), _LEFT, _spared),
)  # fmt: skip
