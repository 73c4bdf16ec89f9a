"""U-05 to U-07: it stops to say anything, before its head or in the middle of an answer."""

from tests.chaos import provider
from tests.chaos.provider import Request, Wire
from tests.chaos.row import Expected, Row
from tests.chaos.upstream.fault import fault, hang, timeouts


async def _middle(wire: Wire, request: Request) -> None:
    if request.stream:
        await wire.sse()
        await wire.chunk(*provider.frames(request.dialect)[:-2])
    else:
        await wire.head(length=500)
        await wire.write(b'{"id":')
    await wire.forever()


ROWS: tuple[Row, ...] = (
    fault("U-05", "no head", hang,
          Expected(504, "error", 1, "failed upstream_timeout unknown", "none"),
          part=timeouts(headers=0.5), ci=True),
    fault("U-05", "no head, another target", hang,
          Expected(200, "answer", 2, "settled", "none"), part=timeouts(headers=0.5), spare=1,
          places=("home", "abroad")),
    fault("U-07", "hang mid-answer", _middle,
          {"whole": Expected(504, "error", 1, "failed upstream_timeout unknown", "none"),
           "stream": Expected(200, None, 1, "aborted by timeout", "none")},
          part=timeouts(idle=0.5), ci=True),
)  # fmt: skip
