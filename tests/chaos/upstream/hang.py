"""U-05 to U-07, U-20: a provider that falls silent, or sends so slowly that it never ends."""

import asyncio

from tests.chaos import provider
from tests.chaos.provider import FaultRequest, Wire
from tests.chaos.row import Expected, FaultRow
from tests.chaos.upstream.fault import fault, hang, prefix, timeouts
from tests.chaos.upstream.odd_answers import begun

LATE = Expected(504, "error", 1, "failed upstream_timeout unknown", "none")
OTHER = Expected(200, "answer", 2, "settled", "none")


async def _drip(wire: Wire, request: FaultRequest) -> None:
    """Send headers that never end, a line at a time."""
    await wire.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(1000):
        await wire.write(b"x-%d: 1\r\n" % number)
        await asyncio.sleep(0.05)


async def stall_mid_answer(wire: Wire, request: FaultRequest) -> None:
    if request.stream:
        await wire.sse()
        await wire.chunk(*begun(request.dialect, 2))
    else:
        await wire.head(length=500)
        await wire.write(b'{"id":')
    await wire.forever()


async def drip_comments(wire: Wire, request: FaultRequest) -> None:
    """Send keep-alive comments and no content."""
    await wire.sse()
    await wire.chunk(*begun(request.dialect, 0))
    for _ in range(1000):
        await wire.chunk(b": there\n\n")
        await asyncio.sleep(0.05)


async def _slow(wire: Wire, request: FaultRequest) -> None:
    """Send one byte at a time, for ever."""
    if request.stream:
        await wire.sse()
        await wire.chunk(*begun(request.dialect, 2))
    else:
        await wire.head()
    for _ in range(1000):
        await wire.chunk(b"d")
        await asyncio.sleep(0.05)


async def _deaf(wire: Wire, request: FaultRequest) -> None:
    """Answer after the timeout: the gateway must not take this for the answer to the next call."""
    await asyncio.sleep(1.0)
    await provider.honest(wire, request)


SOON = 1.6
"""Seconds: a timeout of 0.4 or 0.6, and one more second."""

ROWS: tuple[FaultRow, ...] = (
    fault("U-05", "no head", hang, LATE, part=timeouts(headers=0.4), within=SOON, ci=True),
    fault("U-05", "no head, another target", hang, OTHER, part=timeouts(headers=0.4), within=SOON, spare=1,
          places=("native", "translated")),
    fault("U-05", "no content", drip_comments,
          Expected(504, "error", 1, ("failed upstream_timeout unknown", "failed upstream_timeout billed"), "none"),
          part=timeouts(first_content=0.4), within=SOON, modes=("stream",)),
    fault("U-05", "no content, another target", drip_comments, OTHER, part=timeouts(first_content=0.4), within=SOON, spare=1,
          modes=("stream",)),
    fault("U-06", "a head in drips", _drip, LATE, part=timeouts(headers=0.4), within=SOON),
    fault("U-06", "a head in drips, another target", _drip, OTHER, part=timeouts(headers=0.4), within=SOON, spare=1),
    fault("U-07", "hang mid-answer", stall_mid_answer, LATE, part=timeouts(idle=0.4), within=SOON, modes=("whole",)),
    *prefix("U-07", "hang mid-answer", stall_mid_answer, 2, by="timeout", part=timeouts(idle=0.4), within=SOON, ci=True),
    fault("U-07", "hang mid-answer, translated", stall_mid_answer,
          {"whole": LATE, "stream": Expected(200, "some + error", 1, "aborted by timeout", "none")},
          part=timeouts(idle=0.4), within=SOON, places=("translated",)),
    fault("U-20", "an answer in drips", _slow, LATE, part=timeouts(total=0.6), within=SOON, modes=("whole",)),
    *prefix("U-20", "an answer in drips", _slow, 2, by="timeout", part=timeouts(total=0.6), within=SOON),
    fault("U-28", "an answer after its time", _deaf, LATE, part=timeouts(total=0.4), within=SOON),
)  # fmt: skip
