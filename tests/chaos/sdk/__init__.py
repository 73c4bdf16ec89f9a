"""C-20: the official SDKs against faults of providers.

A row counts which exception a program sees, how often its SDK calls the gateway, and how often
the gateway calls the provider. `pinned.txt` lists the expectations. `python -m tests.chaos.sdk`
plays all rows and writes that file anew; read its diff.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gateway.core.ledger_rows import FinalRow, IntentRow
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.row import Cell, Expected, FaultRow, Mode, Seen
from tests.chaos.sdk.clients import CLIENTS, awake, outcome
from tests.chaos.upstream import ROWS as UPSTREAM
from tests.e2e.child import until

PINNED = Path(__file__).parent / "pinned.txt"
_FAULTS = (
    "U-01 connection refused", "U-03 of an unknown authority", "U-04 connect timeout", "U-05 no head",
    "U-05 no content", "U-06 a head in drips", "U-07 hang mid-answer", "U-08 RST mid-body",
    "U-09 RST before content", "U-09 RST after 1 frame", "U-09 RST after 50 frames",
    "U-10 less than Content-Length", "U-10 half of a JSON text", "U-11 clean end, no marker",
    "U-12 ends in a line", "U-12 ends in a character", "U-12 the end of HTTP is missing",
    "U-13 data in two lines", "U-14 half of JSON in an event", "U-15 separators of Unicode, 7 bytes at a time",
    "U-16 an event of 50 MB", "U-17 200 with an error", "U-17 200 with a page", "U-17 200 with nothing",
    "U-17 an error as the first event", "U-18 429 no retry-after", "U-18 429 retry-after 60",
    *(f"U-19 {status}" for status in (400, 401, 403, 404, 408, 409, 413, 422, 500, 502, 503, 504, 529, 600)),
    "U-19 502 as a page", "U-20 an answer in drips", "U-20 a bomb: gzip", "U-21 content-type None",
    "U-22 HTTP/1.0 until it closes", "U-23 307 to another host", "U-24 101", "U-24 103 with links",
    "U-25 chunked and a length", "U-26 usage: negative", "U-27 another model than was asked",
    "U-28 an answer after its time", "U-31 404 model_not_found",
)  # fmt: skip
_CI = frozenset({
    "U-05 no head", "U-09 RST after 1 frame", "U-11 clean end, no marker", "U-14 half of JSON in an event",
    "U-17 200 with an error", "U-18 429 retry-after 60", "U-19 400", "U-19 401", "U-19 503", "U-23 307 to another host",
})  # fmt: skip


def _key(fault: str, mode: str, client: str) -> str:
    return f"{fault} | {mode} | {client}"


def key(cell: Cell) -> str:
    """Return the beginning of a cell's line."""
    fault, _, client = cell.row.fault.rpartition(", ")
    return _key(fault, cell.mode, client)


def read() -> Mapping[str, Expected]:
    """Read the pinned expectations, by fault, mode and client."""
    expected = {}
    for line in PINNED.read_text().splitlines():
        fault, mode, client, result, calls, sent = line.split(" | ")
        attempts = int(sent.removesuffix(" sent"))
        expected[_key(fault, mode, client)] = Expected(client=result, attempts=attempts, more=calls)
    return expected


def _row(source: FaultRow, client: str, pinned: Mapping[str, Expected]) -> FaultRow:
    fault, dialect = f"{source.id} {source.fault}", CLIENTS[client].dialect

    def play(environment: ChaosEnvironment, cell: Cell) -> Seen:
        awake()
        gateway, tag = environment.gateway, f"c20-{zlib.crc32(cell.name.encode()):08x}"
        source.begin(environment, cell)
        result = outcome(client, gateway, f"{cell.name}/smart", tag, stream=cell.stream)

        def over() -> list[str]:
            """Return the ids of the cell's calls, once each of them has its final row."""
            rows = {
                id: call_rows for id, call_rows in gateway.all().items() if _tagged(call_rows, tag)
            }
            ended = all(
                any(isinstance(row, FinalRow) for row in call_rows) for call_rows in rows.values()
            )
            return list(rows) if ended else []

        calls = until(over, f"the rows of {tag}")
        gateway.unreported_calls.update(calls)
        sent = sum(len(gateway.rows(id)[1]) for id in calls)
        return Seen(client=result, attempts=sent, more=f"{len(calls)} asked")

    missing = Expected(client="a line in pinned.txt")
    expected: dict[Mode, Expected] = {
        mode: pinned.get(_key(fault, mode, client), missing) for mode in source.modes
    }
    return FaultRow(
        "C-20", f"{fault}, {client}", "client", play, expected, source.prepare, modes=source.modes,
        dialects=(dialect,), environ=_environ(source), growth=source.growth, ci=fault in _CI, needs=source.needs,
    )  # fmt: skip


def _environ(source: FaultRow) -> Callable[[ChaosEnvironment], Mapping[str, str]]:
    return lambda environment: {**source.environ(environment), "CHAOS_JITTER": "0"}


def _tagged(rows: Iterable[Any], tag: str) -> bool:
    return any(tag in row.tags for row in rows if isinstance(row, FinalRow | IntentRow))


def rows() -> tuple[FaultRow, ...]:
    """Return a row for each fault and client."""
    pinned = read() if PINNED.exists() else {}
    return tuple(
        _row(source, client, pinned)
        for fault in _FAULTS
        for source in UPSTREAM
        if f"{source.id} {source.fault}" == fault
        for client, kind in CLIENTS.items()
        if kind.dialect in source.dialects
    )


ROWS = rows()
