"""Rows of a provider that answers one call wrongly: call, judge, and check the cache afterwards."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.core.ledger_rows import FinalRow
from tests.chaos import provider, verdict
from tests.chaos.client import Reply
from tests.chaos.environment import ChaosEnvironment, add_lab, busy
from tests.chaos.provider import Fault, Wire, honest
from tests.chaos.row import Cell, Expected, FaultRow, Mode, Seen
from tests.chaos.upstream import odd_answers
from tests.e2e.four_labs import DIALECTS
from tests.e2e.world import Config

type Part = Callable[[ChaosEnvironment, Cell], Config]
"""Returns what the configuration of a provider has beside the usual."""


def fault(
    id: str,
    name: str,
    does: Fault | None,
    expected: Expected | Mapping[Mode, Expected],
    *,
    spare: int = 0,
    part: Part | None = None,
    sent: Callable[[str, bool], Any] | None = None,
    healed: bool = True,
    within: float = 0.0,
    **more: Any,
) -> FaultRow:
    """Return a row whose provider fails each request of one call, and no request of the next.

    `does` None: no provider gets the request. `part` adds to the provider's configuration. `spare`
    good targets stand behind it. `sent` gives the provider's bytes that a good client gets, by
    dialect and whether streamed; by default the usual answer. `within`: seconds that the call may
    take if the machine is not busy with others; by default any time.
    """

    def prepare(value: Config, environment: ChaosEnvironment, cell: Cell) -> None:
        add_lab(value, environment, cell, spare, **(part(environment, cell) if part else {}))

    def begin(environment: ChaosEnvironment, cell: Cell) -> None:
        if does is not None:
            environment.provider.play(cell.name, does)

    def play(environment: ChaosEnvironment, cell: Cell) -> Seen:
        begin(environment, cell)
        return play_call(
            environment,
            cell,
            sent,
            again=lambda: environment.provider.play(cell.name, honest) if healed else None,
            within=within,
        )

    return FaultRow(id, name, "upstream", play, expected, prepare, begin=begin, **more)


def play_call(
    environment: ChaosEnvironment,
    cell: Cell,
    sent: Callable[[str, bool], Any] | None = None,
    again: Callable[[], object] | None = None,
    within: float = 0.0,
) -> Seen:
    """Make the call of a cell, and return what was seen.

    After `again` it makes the call once more, to see if the answer was cached.
    """
    gateway, before = environment.gateway, _hits(environment, cell)
    reply = gateway.ask(cell.dialect, f"{cell.name}/smart", stream=cell.stream)
    judged = _judged(cell, reply, sent)
    if not reply.id:
        return Seen(reply.status, judged.outcome, wrong=("no id of the call", *judged.wrong))
    entry = gateway.entry(reply.id)
    _, intents, _ = gateway.rows(reply.id)
    hits = _hits(environment, cell) - before
    wrong = list(judged.wrong)
    if hits > len(intents):
        wrong.append(f"{hits} requests at the provider, {len(intents)} in the ledger")
    if within and reply.seconds > within and environment.strict and not busy():
        wrong.append(f"it took {reply.seconds:.1f} s")
    wrong += _told_to_retry(reply, len(intents))
    cache = ""
    if again is not None:
        again()
        later = gateway.ask(cell.dialect, f"{cell.name}/smart", stream=cell.stream)
        cache = "hit" if later.headers.get("x-tiergate-cache") == "hit" else "none"
        gateway.entry(later.id)
    return Seen(
        reply.status, judged.outcome, len(intents), ledger(entry), cache, wrong=tuple(wrong)
    )


def _hits(environment: ChaosEnvironment, cell: Cell) -> int:
    """Return the requests that the cell's providers have read."""
    count = environment.provider.hits
    return count[cell.name] + sum(count[f"{cell.name}-spare{number}"] for number in (1, 2))


def _told_to_retry(reply: Reply, tries: int) -> list[str]:
    """Return what is wrong with an error's advice to retry."""
    header = reply.headers.get("x-should-retry")
    if reply.status < 400:
        return []
    if reply.status < 500 and reply.status != 429 and header != "false":
        return ["the client may try again what cannot get better"]
    if reply.status == 429 and header is not None:
        return ["the client may not try again, as it would at the provider"]
    if tries == 0 and "retry-after" not in reply.headers:
        return ["nobody was asked, and the client is not told to come back"]
    return []


def _judged(cell: Cell, reply: Reply, sent: Callable[[str, bool], Any] | None) -> verdict.Verdict:
    home, dialect = cell.place == "native", cell.dialect
    if cell.stream:
        frames = sent(dialect, True) if sent else provider.frames(dialect)
        return verdict.stream(dialect, reply, frames if home else None)
    body = sent(dialect, False) if sent else provider.body(dialect)
    return verdict.whole(dialect, reply, body if home else None)


def ledger(entry: FinalRow) -> str:
    """Return the state of the final row; of a failure also its problem and its cost."""
    if entry.state == "aborted":
        return f"aborted by {entry.aborted_by}"
    if entry.state != "failed":
        return entry.state
    cost = "unknown" if entry.cost is None else "free" if entry.cost == 0 else "billed"
    return f"failed {entry.problem} {cost}"


def timeouts(**seconds: float) -> Part:
    """Shorten the timeouts, so that no test waits long for one to expire."""
    return lambda environment, cell: {
        "timeouts": {name: f"{value}s" for name, value in seconds.items()}
    }


async def hang(wire: Wire, request: provider.FaultRequest) -> None:
    """Send nothing at all."""
    await wire.forever()


def prefix(
    id: str, name: str, does: Fault, count: int, *, by: str = "upstream", **more: Any
) -> list[FaultRow]:
    """Return rows of a stream that breaks off after `count` frames of content, one for each dialect.

    The number of frames before the content differs, and so does what the client gets: exactly what
    the provider sent.
    """
    more.setdefault("sent", lambda dialect, stream: odd_answers.long(dialect, max(count, 3)))
    return [
        fault(
            id, name, does,
            Expected(200, odd_answers.shown(dialect, count), 1, f"aborted by {by}", "none"),
            dialects=(dialect,), modes=("stream",), **more,
        )
        for dialect in DIALECTS
    ]  # fmt: skip
