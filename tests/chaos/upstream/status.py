"""U-18, U-19, U-23, U-31: a provider that speaks correct HTTP and sends no answer."""

import time
from email.utils import formatdate

from tests.chaos.provider import Fault, FaultRequest, Wire
from tests.chaos.row import Expected, FaultRow
from tests.chaos.upstream.fault import fault
from tests.chaos.upstream.odd_answers import error

OTHER = Expected(200, "answer", 2, "settled", "none")
BLIP = Expected(200, "answer", 3, "settled", "none")
"""The gateway has tried the preferred target once more before."""
HTML = b"<html><head><title>Oops</title></head><body>A page for people.</body></html>"


def says(status: int, *fields: str, html: bool = False) -> Fault:
    """Answer with a status, and with an error of the dialect or a page for people."""

    async def fault(wire: Wire, request: FaultRequest) -> None:
        body = HTML if html else error(request.dialect, status)
        await wire.whole(status, body, *fields, kind="text/html" if html else "application/json")

    return fault


def _garbage(line: bytes) -> Fault:
    async def fault(wire: Wire, request: FaultRequest) -> None:
        await wire.write(line + b"\r\ncontent-length: 0\r\n\r\n")

    return fault


def _dated(wire: Wire, request: FaultRequest) -> object:
    return says(429, f"retry-after: {formatdate(time.time() + 1, usegmt=True)}")(wire, request)


def _moved(status: int, where: str = "same") -> Fault:
    """Redirect to another path here, to another host, or in circles."""

    async def fault(wire: Wire, request: FaultRequest) -> None:
        place = {
            "same": request.path.replace("native", "elsewhere"),
            "other": f"http://127.77.0.1:9{request.path}",
            "circle": request.path,
        }[where]
        await wire.head(status, f"location: {place}", length=0)

    return fault


def error_seen(
    status: int | tuple[int, ...],
    kind: str,
    tries: int | tuple[int, ...] = (1, 2, 3),
    cost: str = "free",
) -> Expected:
    """Return the expectation of an error of a kind, in the client's dialect."""
    return Expected(status, "error", tries, f"failed {kind} {cost}", "none")


LIMITED = error_seen(429, "upstream_rate_limited", (1, 2))
BROKEN = error_seen(502, "upstream_error")
BUSY = error_seen((503, 529), "upstream_overloaded")
MOVED = error_seen(502, "upstream_moved", 1)
_LIMITS = {
    "no retry-after": (), "retry-after 1": ("retry-after: 1",), "retry-after 60": ("retry-after: 60",),
    "retry-after 3600": ("retry-after: 3600",), "retry-after below 0": ("retry-after: -1",),
    "retry-after nan": ("retry-after: nan",), "retry-after 1e400": ("retry-after: 1e400",),
    "retry-after-ms 250": ("retry-after-ms: 250",), "retry-after twice": ("retry-after: 1", "retry-after: 2"),
}  # fmt: skip
_STATUSES: dict[int, Expected] = {
    400: error_seen(400, "upstream_rejected", 1),
    401: error_seen(502, "upstream_auth", 1),
    402: error_seen(502, "upstream_auth", 1),
    403: error_seen(502, "upstream_auth", 1),
    404: error_seen(404, "upstream_model", 1),
    408: error_seen(504, "upstream_timeout", 1, "unknown"),
    409: BROKEN,
    413: error_seen(413, "upstream_rejected", 1),
    418: error_seen(418, "upstream_rejected", 1),
    422: error_seen(422, "upstream_rejected", 1),
    451: error_seen(451, "upstream_rejected", 1),
    500: BROKEN,
    502: BROKEN,
    503: BUSY,
    504: error_seen(504, "upstream_timeout", 1, "unknown"),
    520: BROKEN, 521: BROKEN, 522: BROKEN, 523: BROKEN, 524: BROKEN, 525: BROKEN, 526: BROKEN, 527: BROKEN,
    529: BUSY,
    599: BROKEN,
    600: BROKEN,
}  # fmt: skip
_LINES = {
    "HTTP/9.9 200 OK": b"HTTP/9.9 200 OK", "ICY 200 OK": b"ICY 200 OK", "no status": b"HTTP/1.1 OK",
    "binary": bytes(range(128, 160)), "status 1000": b"HTTP/1.1 1000 Much",
    "status 0": b"HTTP/1.1 000 None", "HTTP/2 preface": b"PRI * HTTP/2.0",
}  # fmt: skip
GARBLED = Expected(
    502,
    "error",
    (1, 2),
    ("failed upstream_unreachable unknown", "failed upstream_error free"),
    "none",
)

ROWS: tuple[FaultRow, ...] = (
    *(fault("U-18", f"429 {name}", says(429, *fields), LIMITED, ci=name == "retry-after 3600")
      for name, fields in _LIMITS.items()),
    fault("U-18", "429 retry-after a date", _dated, LIMITED),  # type: ignore[arg-type]
    fault("U-18", "429, another target", says(429, "retry-after: 3600"), OTHER, spare=1, places=("native", "translated")),
    *(fault("U-19", f"{status}", says(status), expected, ci=status in (400, 401))
      for status, expected in _STATUSES.items()),
    *(fault("U-19", f"{status} translated", says(status), _STATUSES[status], places=("translated",))
      for status in (400, 401, 404, 422, 503, 529)),
    *(fault("U-19", f"{status} as a page", says(status, html=True), expected)
      for status, expected in {400: error_seen(400, "upstream_rejected", 1), 404: error_seen(404, "upstream_model", 1),
                               502: BROKEN, 503: BUSY, 504: _STATUSES[504]}.items()),
    *(fault("U-19", f"{status}, another target", says(status), BLIP if status >= 500 else OTHER, spare=1, ci=status == 529)
      for status in (401, 404, 500, 503, 529)),
    *(fault("U-19", f"a status line: {name}", _garbage(line), GARBLED) for name, line in _LINES.items()),
    *(fault("U-23", f"{status} to another path", _moved(status), MOVED) for status in (301, 302, 303, 307, 308)),
    fault("U-23", "304 to another path", _moved(304), Expected(502, "error", (1, 2, 3), None, "none")),
    fault("U-23", "307 to another host", _moved(307, "other"), MOVED),
    fault("U-23", "308 in a circle", _moved(308, "circle"), MOVED),
    fault("U-31", "404 model_not_found", says(404), error_seen(404, "upstream_model", 1)),
    fault("U-31", "404 model_not_found, another target", says(404), OTHER, spare=1, places=("native", "translated")),
)  # fmt: skip
