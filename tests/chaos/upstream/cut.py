"""U-08 to U-12: an answer that breaks off, by a reset or a clean end, at every kind of place."""

from collections.abc import Callable

from tests.chaos.provider import Fault, FaultRequest, Wire, body, frames
from tests.chaos.row import Expected, FaultRow
from tests.chaos.upstream.fault import fault, prefix
from tests.chaos.upstream.odd_answers import LEAD, begun, long, speaking

TORN = Expected(502, "error", 1, "failed upstream_truncated unknown", "none")
EMPTY = Expected(502, "error", (1, 2, 3), None, "none")
SOME = Expected(200, "some + error", 1, "aborted by upstream", "none")
OTHER = Expected(200, "answer", 2, "settled", "none")
_ACCENT = "é"


def reset_after(count: int) -> Fault:
    async def fault(wire: Wire, request: FaultRequest) -> None:
        await wire.sse()
        await wire.chunk(*begun(request.dialect, count))
        await wire.reset()

    return fault


def end_with(cut: Callable[[str], bytes]) -> Fault:
    """Send a stream that HTTP ends correctly, with the part that `cut` leaves of it."""

    async def fault(wire: Wire, request: FaultRequest) -> None:
        await wire.sse()
        await wire.chunk(cut(request.dialect))
        await wire.end()

    return fault


def _line(dialect: str) -> bytes:
    """Return two frames of content, and half of the next line."""
    return b"".join(begun(dialect, 2)) + long(dialect, 3)[LEAD[dialect] + 2][:30]


def split_character(dialect: str) -> bytes:
    """Return one frame, and the next up to the first of the two bytes of a character."""
    frame = speaking(dialect, _ACCENT, stream=True)[LEAD[dialect]]
    return b"".join(begun(dialect, 1)) + frame[: frame.index(_ACCENT.encode()) + 1]


def _newline(dialect: str) -> bytes:
    """Return frames with CRLF, and the last with a CR without its LF."""
    whole = b"".join(begun(dialect, 2)).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return whole + long(dialect, 3)[LEAD[dialect] + 2].rstrip() + b"\r"


async def _half(wire: Wire, request: FaultRequest) -> None:
    """Send less than the announced length, and FIN."""
    answer = body(request.dialect)
    await wire.head(length=len(answer))
    await wire.write(answer[:40])
    wire.close()


async def half_json(wire: Wire, request: FaultRequest) -> None:
    """Send all of the announced length, which is half of a JSON text."""
    await wire.whole(200, body(request.dialect)[:40])


async def reset_mid_body(wire: Wire, request: FaultRequest) -> None:
    answer = body(request.dialect)
    await wire.head(length=len(answer))
    await wire.write(answer[:40])
    await wire.reset()


async def _unended(wire: Wire, request: FaultRequest) -> None:
    """Send all of a good stream except the end of HTTP."""
    await wire.sse()
    await wire.chunk(*frames(request.dialect))
    wire.close()


async def drop(wire: Wire, request: FaultRequest) -> None:
    """Send FIN in place of an answer."""
    wire.close()


def _first(frames: Callable[[str], tuple[bytes, ...]]) -> Callable[[str, bool], tuple[bytes, ...]]:
    return lambda dialect, stream: frames(dialect)


ROWS: tuple[FaultRow, ...] = (
    fault("U-08", "RST mid-body", reset_mid_body, TORN, modes=("whole",), ci=True),
    fault("U-08", "RST mid-body, another target", reset_mid_body, OTHER, modes=("whole",), spare=1, places=("native", "translated")),
    fault("U-08", "FIN in place of an answer", drop,
          Expected(502, "error", (1, 2, 3, 4), ("failed upstream_unreachable unknown", "failed upstream_unreachable free"), "none")),
    fault("U-09", "RST before content", reset_after(0), EMPTY, modes=("stream",)),
    fault("U-09", "RST before content, another target", reset_after(0), OTHER, modes=("stream",), spare=1,
          places=("native", "translated"), ci=True),
    *prefix("U-09", "RST after 1 frame", reset_after(1), 1),
    *prefix("U-09", "RST after 1 frame, another target is not asked", reset_after(1), 1, spare=1),
    *prefix("U-09", "RST after 50 frames", reset_after(50), 50, ci=True),
    fault("U-09", "RST after 1 frame, translated", reset_after(1), SOME, modes=("stream",), places=("translated",)),
    fault("U-10", "less than Content-Length", _half, TORN, modes=("whole",)),
    fault("U-10", "half of a JSON text", half_json, Expected(502, "error", 1, None, "none"), modes=("whole",),
          places=("native", "translated")),
    *prefix("U-11", "clean end, no marker", end_with(lambda dialect: b"".join(begun(dialect, 2))), 2, ci=True),
    fault("U-11", "clean end, no marker, translated", end_with(lambda dialect: b"".join(begun(dialect, 2))), SOME,
          modes=("stream",), places=("translated",)),
    *prefix("U-12", "ends in a line", end_with(_line), 2),
    *prefix("U-12", "ends in a character", end_with(split_character), 1),
    *prefix("U-12", "ends in CRLF", end_with(_newline), 2,
           sent=_first(lambda dialect: tuple(it.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for it in long(dialect, 3)))),
    fault("U-12", "the end of HTTP is missing", _unended,
          Expected(200, "answer + error", 1, "aborted by upstream", "none"), modes=("stream",)),
)  # fmt: skip
