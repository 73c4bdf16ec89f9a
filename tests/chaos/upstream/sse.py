"""U-13 to U-16: streams that are odd but valid, and streams that are broken."""

import asyncio
from collections.abc import Callable, Sequence

from gateway.dialects.stream_frames import MAX_FRAME_BYTES
from tests.chaos.provider import Fault, FaultRequest, Wire, frames
from tests.chaos.row import Expected, FaultRow
from tests.chaos.upstream.fault import fault, prefix
from tests.chaos.upstream.odd_answers import LEAD, begun, long, speaking

type Change = Callable[[str], Sequence[bytes]]
"""Returns the frames of a stream, by dialect."""

GOOD = Expected(200, "answer", 1, "settled", "hit")
ODD_TEXT = "a\u2028b\u2029c\u0085dé😀"
_MB = 1 << 20


def _says(change: Change, *, step: int = 0) -> Fault:
    """Send a stream of these frames; with `step` in chunks of so many bytes."""

    async def fault(wire: Wire, request: FaultRequest) -> None:
        await wire.sse()
        pieces = list(change(request.dialect))
        if step:
            data = b"".join(pieces)
            pieces = [data[at : at + step] for at in range(0, len(data), step)]
        for piece in pieces:
            await wire.chunk(piece)
        await wire.end()

    return fault


def _each(change: Callable[[bytes], bytes]) -> Change:
    return lambda dialect: [change(frame) for frame in frames(dialect)]


def _with(extra: bytes) -> Change:
    """Insert bytes after the first frame of content."""

    def change(dialect: str) -> Sequence[bytes]:
        pieces = list(frames(dialect))
        pieces.insert(LEAD[dialect] + 1, extra)
        return pieces

    return change


def _unix(frame: bytes) -> bytes:
    return frame.replace(b"\r\n", b"\n")


def _lines(frame: bytes) -> bytes:
    """Put the data on two lines, as SSE allows: a line break in JSON is white space."""
    return frame.replace(b'data: {"', b'data: {\ndata: "', 1)


_ODD: dict[str, Change] = {
    "no space": _each(lambda it: it.replace(b"data: ", b"data:")),
    "CRLF": _each(lambda it: _unix(it).replace(b"\n", b"\r\n")),
    "a BOM": lambda dialect: [b"\xef\xbb\xbf", *frames(dialect)],
    "data in two lines": _each(_lines),
    "id and retry": _each(lambda it: b"id: 7\nretry: 100\n" + it),
    "fields that nobody knows": _each(lambda it: b"x: y\nno-colon\n" + it),
    "10,000 comments": _with(b": there\n\n" * 10_000),
    "empty events": _with(b"\n\n\n\n"),
}
_SPLIT: dict[str, Change] = {
    "separators of Unicode": lambda dialect: speaking(dialect, ODD_TEXT, stream=True),
    "a usual stream": frames,
}


async def _huge(wire: Wire, request: FaultRequest) -> None:
    """Send one event of 50 MB after two frames of content."""
    await wire.sse()
    await wire.chunk(*begun(request.dialect, 2))
    await wire.chunk(b'data: {"x":"')
    for _ in range(50):
        await wire.chunk(b"a" * _MB)
    await wire.chunk(b'"}\n\n')
    await wire.end()


def break_event(data: bytes) -> Fault:
    """Send a broken event after two frames of content, and then the rest of a good stream."""

    async def fault(wire: Wire, request: FaultRequest) -> None:
        pieces = list(long(request.dialect, 3))
        at = LEAD[request.dialect] + 2
        kind = pieces[at].partition(b"data:")[0]
        await wire.sse()
        await wire.chunk(*pieces[:at])
        await asyncio.sleep(0.05)  # the gateway must read the good frames apart
        await wire.chunk(kind + b"data: " + data + b"\n\n", *pieces[at:])
        await wire.end()

    return fault


def _many(dialect: str) -> tuple[bytes, ...]:
    return long(dialect, 20_000)


async def _flood(wire: Wire, request: FaultRequest) -> None:
    """Send 20,000 events as fast as the gateway reads them."""
    pieces = _many(request.dialect)
    await wire.sse()
    for at in range(0, len(pieces), 500):
        await wire.chunk(b"".join(pieces[at : at + 500]))
    await wire.end()


def _sent(change: Change) -> Callable[[str, bool], Sequence[bytes]]:
    return lambda dialect, stream: change(dialect)


_NONE = Expected(502, "error", (1, 2, 3), None, "none")
_NO_LINES = _each(lambda it: _unix(it).replace(b"\n", b"\r"))
"""SSE lets a lone CR end a line; no provider writes that, and the gateway does not accept it."""

ROWS: tuple[FaultRow, ...] = (
    fault("U-13", "CR alone", _says(_NO_LINES), _NONE, modes=("stream",)),
    *prefix("U-14", "NUL in an event", break_event(b'{"id":"\0"}'), 2),
    *(fault("U-13", name, _says(change), GOOD, modes=("stream",), sent=_sent(change), ci=name == "data in two lines")
      for name, change in _ODD.items()),
    *prefix("U-14", "half of JSON in an event", break_event(b'{"id": '), 2, ci=True),
    *prefix("U-14", "a page in an event", break_event(b"<html>"), 2),
    *(fault("U-15", f"{name}, a byte at a time", _says(change, step=1), GOOD, modes=("stream",), sent=_sent(change))
      for name, change in _SPLIT.items()),
    *(fault("U-15", f"{name}, {step} bytes at a time", _says(change, step=step), GOOD, modes=("stream",),
            sent=_sent(change), ci=step == 7 and name != "a usual stream")
      for name, change in _SPLIT.items() for step in (2, 3, 7, 64)),
    fault("U-16", "20,000 events", _flood, Expected(200, "answer", 1, "settled"), modes=("stream",), sent=_sent(_many)),
    *prefix("U-16", "an event of 50 MB", _huge, 2, growth=8 * MAX_FRAME_BYTES),
)  # fmt: skip
