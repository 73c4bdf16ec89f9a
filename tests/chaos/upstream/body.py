"""U-17, U-20, U-21: a whole response that is no answer, or is larger than the gateway takes."""

import gzip
import zlib
from functools import cache

from gateway.core import jsonio
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.provider import Fault, FaultRequest, Wire, body, frames
from tests.chaos.row import Cell, Expected, FaultRow
from tests.chaos.upstream.fault import Part, fault
from tests.chaos.upstream.odd_answers import error, error_frame
from tests.chaos.upstream.status import HTML
from tests.e2e.world import Config

OTHER = Expected(200, "answer", 2, "settled", "none")
NONE = Expected((502, 503, 529), "error", (1, 2, 3), None, "none")
GOOD = Expected(200, "answer", 1, "settled", "hit")
_MB = 1 << 20


def answer_instead(data: bytes | None, kind: str = "application/json") -> Fault:
    """Answer 200 with these bytes; None: with an error of the dialect."""

    async def fault(wire: Wire, request: FaultRequest) -> None:
        await wire.whole(200, error(request.dialect, 503) if data is None else data, kind=kind)

    return fault


async def begin_with_error(wire: Wire, request: FaultRequest) -> None:
    """Send an error as the first event of a stream."""
    await wire.sse()
    await wire.chunk(error_frame(request.dialect))
    await wire.end()


def send_as(kind: str | None) -> Fault:
    """Send a good answer with another content type, or with none."""

    async def fault(wire: Wire, request: FaultRequest) -> None:
        data = b"".join(frames(request.dialect)) if request.stream else body(request.dialect)
        header = f"content-type: {kind}\r\n" if kind is not None else ""
        await wire.write(
            f"HTTP/1.1 200 OK\r\n{header}content-length: {len(data)}\r\n\r\n".encode() + data
        )

    return fault


@cache
def _bomb(coding: str) -> bytes:
    """Return 200 MB of spaces, compressed to 900 kB."""
    data = b" " * (200 * _MB)
    return gzip.compress(data, 1) if coding == "gzip" else zlib.compress(data, 1)


def _ready(coding: str) -> Part:
    """Make the compressed body before a client calls: that takes a while."""

    def part(environment: ChaosEnvironment, cell: Cell) -> Config:
        _bomb(coding)
        return {}

    return part


def _packed(coding: str) -> Fault:
    """Send a compressed body, although the gateway accepts identity alone."""

    async def fault(wire: Wire, request: FaultRequest) -> None:
        assert dict(request.headers)["accept-encoding"] == "identity"
        await wire.whole(200, _bomb(coding), f"content-encoding: {coding}")

    return fault


async def _packed_answer(wire: Wire, request: FaultRequest) -> None:
    """Send a good answer, compressed."""
    data = b"".join(frames(request.dialect)) if request.stream else body(request.dialect)
    await wire.whole(200, gzip.compress(data), "content-encoding: gzip")


async def _endless(wire: Wire, request: FaultRequest) -> None:
    """Send a whole answer of 200 MB."""
    await wire.head()
    for _ in range(200):
        await wire.chunk(b" " * _MB)
    await wire.end()


_BODIES = {
    "an error": None, "nothing": b"", "a page": HTML, "null": b"null", "a list": b"[]", "an empty object": b"{}",
    "half of JSON": b'{"id": ', "NaN": b'{"id": NaN}', "binary": bytes(range(256)), "a number": b"1e400",
    "deep JSON": b"[" * 100_000, "two objects": b"{}{}", "detail": jsonio.dumps({"detail": "Not authenticated"}),
    "an error that is a string": jsonio.dumps({"error": "boom"}),
}  # fmt: skip

ROWS: tuple[FaultRow, ...] = (
    *(fault("U-17", f"200 with {name}", answer_instead(data), NONE, ci=name in ("an error", "a page"))
      for name, data in _BODIES.items()),
    fault("U-17", "200 with an error, translated", answer_instead(None), NONE, places=("translated",)),
    fault("U-17", "200 with an error, another target", answer_instead(None), OTHER, spare=1, places=("native", "translated")),
    fault("U-17", "an error as the first event", begin_with_error, NONE, modes=("stream",), places=("native", "translated")),
    fault("U-17", "an error as the first event, another target", begin_with_error, OTHER, modes=("stream",), spare=1, ci=True),
    *(fault("U-20", f"a bomb: {coding}", _packed(coding), NONE, part=_ready(coding)) for coding in ("gzip", "deflate")),
    fault("U-20", "a good answer in gzip", _packed_answer, NONE),
    fault("U-20", "200 MB", _endless, Expected(502, "error", 1, None, "none"), modes=("whole",), dialects=("openai-chat", "gemini"),
          growth=3 * 64_000_000),
    *(fault("U-21", f"content-type {kind}", send_as(kind), GOOD, ci=kind is None)
      for kind in ("text/html", "text/plain", "application/octet-stream", None, "application/json; charset=utf-16", "")),
)  # fmt: skip
