"""Masks for everything that differs between two runs of one tree: ids, times, and measured values.

A mask writes a fixed value of the same JSON type over the real one. Masked ids still identify their
call: the first id of exchange 12 is `tg-<12.1>` at both gateways, wherever it stands later. So the
comparison sees a row of the wrong call.
"""

import csv
import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

NOW = 1_111_111_111
"""The masked form of a moment of the run, in its own unit."""


@dataclass(frozen=True)
class Mask:
    """A pattern of text, and the text that replaces it."""

    pattern: re.Pattern[str]
    replacement: str
    reason: str


def _mask(pattern: str, replacement: str, reason: str) -> Mask:
    return Mask(re.compile(pattern, re.MULTILINE), replacement, reason)


MEASURED = (
    "duration", "first_content", "ms", "uptime", "usual", "p50", "p95", "p99", "seconds", "rate", "runs_out",
    "parked", "demoted",
)  # fmt: skip
"""Members of JSON that hold durations, and rates over them."""
_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_MEASURED = _mask(
    rf'("(?:{"|".join(MEASURED)})" ?: ?"?){_NUMBER}', r"\g<1>0.5", "durations are never the same"
)  # fmt: skip
"""Only for answers of the gateway itself: in a call such a member is the provider's or the client's."""
MASKS = (
    _mask(r"(?i)^(x-tiergate-hop: )[0-9a-f]{8}$", r"\1<process>", "each process has a random mark against loops"),
    _mask(r"(?i)^(retry-after: )[1-5]$", r"\1<1 to 5>", "a random wait of 1 to 5 s keeps clients from returning together"),
    _mask(
        r"(?i)^((?:x|anthropic)-ratelimit-\S*(?:remaining|reset)\S*: ).*$", r"\1<left>",
        "what rate limits have left depends on the time between calls",
    ),
    _mask(r"(Try again in )[1-5]( s\.)", r"\1<1 to 5>\2", "the same wait, in the words of an error"),
    _mask(r'("retryDelay" ?: ?")[1-5](?:\.\d+)?s', r"\1<1 to 5>s", "the same wait, as Google writes it"),
    _mask(r"^(\w+_seconds_(?:sum|bucket|total)(?:\{[^}]*\})? ).*$", r"\1<measured>", "sums of durations; the count of calls is compared"),
    _mask(r"^tiergate_ledger_feed_lag_seconds .*\n", "", "the lag of the store, which is missing until the first batch"),
    _mask(
        r"^(tiergate_(?:memory_bytes|open_files|loop_lag_seconds|ledger_unsynced_rows)(?:\{[^}]*\})? ).*$", r"\1<measured>",
        "the state of the machine and of the disk at that moment",
    ),
    _mask(r"(?<![0-9a-f])[0-9a-f]{16}(\.\d+)(?![\w.])", r"<store>\1", "a cursor begins with the random id of a store"),
    _mask(r"(?<!\w)lease [0-9a-f]{16}", "lease <process>", "each process leases under a random name"),
    _mask(r"(?<![0-9a-f])[0-9a-f]{40}@(?=\d)", "<server>@", "an epoch of counters has the run id of its Redis"),
    _mask(r"twin-(?:base|tree)", "twin-side", "the side of the gateway, by which the provider tells the two apart"),
)  # fmt: skip
_ID = re.compile(r"(?<![A-Za-z0-9])tg-?([0-9a-f]{23})")
"""The id of a call: time and random digits. Ids of answers contain it, with or without the dash."""
_EPOCH = re.compile(r"(?<![\w.-])(\d{10}|\d{13}|\d{16}|\d{19})(\.\d+)?(?![\w.])")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?")
_HTTP = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")
_MARGIN = 1.0
"""Seconds around the run that belong to it, as times are rounded."""


@dataclass
class Masks:
    """The masks of one gateway, with the ids that it has used so far."""

    since: float = field(default_factory=time.time)
    """The start of the run, in seconds since the epoch."""
    clock: Callable[[], float] = time.time
    exchange: str = ""
    """The number of the current exchange: new ids are numbered within it."""
    ids: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    def begin(self, exchange: str) -> None:
        """Mask another exchange from now on."""
        self.exchange, self._count = exchange, 0

    def text(self, data: bytes | str, *, measured: bool = False) -> str:
        """Mask a text; `measured` masks durations in answers of the gateway itself, too."""
        text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
        if "tg" in text:
            text = _ID.sub(self._id, text)
        for mask in (_MEASURED, *MASKS) if measured else MASKS:
            text = mask.pattern.sub(mask.replacement, text)
        text = _EPOCH.sub(self._epoch, text)
        text = _ISO.sub(self._iso, text)
        return _HTTP.sub(self._http, text)

    def table(self, data: bytes) -> str:
        """Mask CSV, with durations by the names of their columns."""
        rows = [*csv.reader(io.StringIO(data.decode()))]
        measured = [column for column, name in enumerate(rows[0]) if name in MEASURED]
        for row in rows[1:]:
            for column in measured:
                row[column] = "0.5" if row[column] else ""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(rows)
        return self.text(out.getvalue())

    def is_now(self, seconds: float) -> bool:
        """Return True if a moment, in seconds since the epoch, lies within the run."""
        return self.since - _MARGIN <= seconds <= self.clock() + _MARGIN

    def _id(self, match: re.Match[str]) -> str:
        masked = self.ids.get(match[1])
        if masked is None:
            self._count += 1
            masked = self.ids[match[1]] = f"<{self.exchange}.{self._count}>"
        return match[0].replace(match[1], masked)

    def _epoch(self, match: re.Match[str]) -> str:
        digits = match[1]
        seconds = int(digits) / 10 ** (len(digits) - 10)
        if not self.is_now(seconds):
            return match[0]
        return str(NOW).ljust(len(digits), "1") + (".5" if match[2] else "")

    def _iso(self, match: re.Match[str]) -> str:
        moment = datetime.fromisoformat(match[0])
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return "<now>" if self.is_now(moment.timestamp()) else match[0]

    def _http(self, match: re.Match[str]) -> str:
        return "<now>" if self.is_now(parsedate_to_datetime(match[0]).timestamp()) else match[0]
