"""Read what providers state of their own rate limits in headers and bodies; ignore junk.

HEADER_ROWS       every known header, as data
read              what an answer says is left of each limit
parse_seconds     a reset: a span, a moment, or a number
read_retry_after  when a refused request may come again, by its headers
read_retry_delay  the same, by the body of Google's APIs
"""

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json

type LimitUnit = Literal["requests", "prompt", "prompt and cap", "nothing"]
"""The part of a call that counts before its answer; the cap is the output that it allows."""
type Fields = Iterable[tuple[bytes, bytes]]

DAY_SECONDS = 86_400.0
"""Seconds of a day. Nobody waits longer, so any longer time counts as a day."""
_MAX_COUNT = 10**12
_MAX_VALUE_BYTES = 64
"""Bytes of a value; a longer one is no number and no time."""
_MIN_EPOCH_SECONDS, _MIN_EPOCH_MILLISECONDS = 1e8, 1e11
"""Numbers from here on are not spans but seconds, or milliseconds, since 1970."""


class LimitHeaders(NamedTuple):
    """One limit, whichever headers state it."""

    name: str
    unit: LimitUnit
    period: float = 60.0
    """Seconds until the limit is whole again, if no header says so."""
    steady: bool = False
    """True if the limit comes back a little at a time, and its reset is when all of it is back."""


class HeaderRow(NamedTuple):
    """A header, or three of one form, where `{}` stands for limit, remaining and reset."""

    header_format: str
    limit_headers: LimitHeaders
    source: str


_OPENAI = "developers.openai.com/api/docs/guides/rate-limits"
_ANTHROPIC = "platform.claude.com/docs/en/api/rate-limits"
_CEREBRAS = "inference-docs.cerebras.ai/support/rate-limits"
_MISTRAL = "github.com/mistralai/client-ts/issues/169"
_TOGETHER = "docs.together.ai/docs/rate-limits"
_FIREWORKS = "docs.fireworks.ai/guides/quotas_usage/rate-limits"
_SECOND, _DAY, _MONTH = 1.0, DAY_SECONDS, 30 * DAY_SECONDS

HEADER_ROWS = (
    # Azure, xAI and Groq (which counts requests a day) send the same; Fireworks sends no reset.
    HeaderRow(
        "x-ratelimit-{}-requests", LimitHeaders("requests", "requests", steady=True), _OPENAI
    ),
    HeaderRow(
        "x-ratelimit-{}-tokens", LimitHeaders("tokens", "prompt and cap", steady=True), _OPENAI
    ),
    HeaderRow(
        "anthropic-ratelimit-requests-{}",
        LimitHeaders("requests", "requests", steady=True),
        _ANTHROPIC,
    ),
    HeaderRow(
        "anthropic-ratelimit-tokens-{}", LimitHeaders("tokens", "prompt", steady=True), _ANTHROPIC
    ),
    HeaderRow(
        "anthropic-ratelimit-input-tokens-{}",
        LimitHeaders("input", "prompt", steady=True),
        _ANTHROPIC,
    ),
    # Only output that was written counts there, so a high cap takes nothing.
    HeaderRow(
        "anthropic-ratelimit-output-tokens-{}",
        LimitHeaders("output", "nothing", steady=True),
        _ANTHROPIC,
    ),
    HeaderRow(
        "x-ratelimit-{}-requests-day", LimitHeaders("requests a day", "requests", _DAY), _CEREBRAS
    ),
    HeaderRow("x-ratelimit-{}-tokens-minute", LimitHeaders("tokens a minute", "prompt"), _CEREBRAS),
    HeaderRow("x-ratelimit-{}-req-minute", LimitHeaders("requests a minute", "requests"), _MISTRAL),
    HeaderRow("ratelimitbysize-{}", LimitHeaders("size", "prompt"), _MISTRAL),
    HeaderRow("x-ratelimitbysize-{}-minute", LimitHeaders("size a minute", "prompt"), _MISTRAL),
    HeaderRow(
        "x-ratelimitbysize-{}-month", LimitHeaders("size a month", "prompt", _MONTH), _MISTRAL
    ),
    HeaderRow("x-ratelimit-{}", LimitHeaders("requests a second", "requests", _SECOND), _TOGETHER),
    HeaderRow("x-tokenlimit-{}", LimitHeaders("tokens a second", "prompt", _SECOND), _TOGETHER),
    HeaderRow("x-ratelimit-{}-tokens-prompt", LimitHeaders("prompt", "prompt"), _FIREWORKS),
    HeaderRow(
        "x-ratelimit-{}-tokens-cache-adjusted-prompt",
        LimitHeaders("uncached", "nothing"),
        _FIREWORKS,
    ),
    HeaderRow("x-ratelimit-{}-tokens-generated", LimitHeaders("generated", "nothing"), _FIREWORKS),
)
"""The known headers, as of 2026-11-24.

Left out are Anthropic's priority limits, which fall back to its standard ones, and the limits of
its subscriptions, which refuse with a retry-after.
"""
OVER_LIMIT_HEADER = b"x-ratelimit-over-limit"
"""The header in which Fireworks says `yes` if it answers a call above what it has promised."""

_LIMIT, _REMAINING, _RESET = range(3)
_PART_INDICES = {"limit": _LIMIT, "remaining": _REMAINING, "reset": _RESET}
HEADER_PARTS = {
    row.header_format.format(word).encode(): (row.limit_headers, part)
    for row in HEADER_ROWS
    for word, part in _PART_INDICES.items()
}
"""The limit and the part of it that a header states, by the header's name."""
REFUSAL_STATUSES = frozenset({429, 503, 529})
"""Statuses with which a provider says: not now."""
_RETRY_AFTER_HEADERS = (b"retry-after", b"retry-after-ms")
_DURATION_PATTERN = re.compile(
    r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d*)?)s)?(?:(\d+(?:\.\d*)?)ms)?"
)
_UNIT_SECONDS = (DAY_SECONDS, 3600.0, 60.0, 1.0, 0.001)


class StatedLimit(msgspec.Struct, frozen=True, gc=False):
    """One limit, as an answer states it."""

    limit_headers: LimitHeaders
    remaining: int
    limit: int | None
    raw_reset: bytes | None
    """The reset as it came: it is parsed when it is needed."""


class StatedLimits(msgspec.Struct, frozen=True, gc=False):
    """All limits, as an answer states them."""

    limits: tuple[StatedLimit, ...] = ()
    is_over_limit: bool = False
    date: bytes | None = None
    """When the answer was made, by the provider's own clock."""


_NO_LIMITS = StatedLimits()


class _HeaderLayout(msgspec.Struct, frozen=True, gc=False):
    """The positions of known headers among the headers of an answer."""

    limits: tuple[tuple[LimitHeaders, int, int | None, int | None], ...]
    """Each limit, with the positions of its remaining amount, its maximum and its reset."""
    over_index: int | None
    date_index: int | None


_MAX_LAYOUTS = 256
_layouts: dict[tuple[bytes, ...], _HeaderLayout] = {}
"""Layouts by the names of all headers in order: a provider sends the same names again and again."""


def read(headers: Fields) -> StatedLimits:
    """Return what is left of each limit. -1, and a limit of 0, mean unknown: Azure sends them.

    Header names must be in lower case, here and in `read_retry_after`.
    """
    fields = headers if isinstance(headers, list) else [*headers]
    names = tuple([name for name, _ in fields])
    layout = _layouts.get(names)
    if layout is None:
        layout = _build_layout(names)
    if not layout.limits and layout.over_index is None:
        return _NO_LIMITS
    is_over_limit = (
        layout.over_index is not None and fields[layout.over_index][1].strip().lower() == b"yes"
    )
    date = None if layout.date_index is None else fields[layout.date_index][1]
    if not layout.limits:
        return StatedLimits(is_over_limit=True, date=date) if is_over_limit else _NO_LIMITS
    stated_limits = []
    for limit_headers, remaining_index, limit_index, reset_index in layout.limits:
        count = _parse_count(fields[remaining_index][1])
        if count is None:
            continue
        maximum = None if limit_index is None else _parse_count(fields[limit_index][1])
        if maximum != 0:
            stated_limits.append(
                StatedLimit(
                    limit_headers,
                    count,
                    maximum,
                    None if reset_index is None else fields[reset_index][1],
                )
            )
    return StatedLimits(tuple(stated_limits), is_over_limit, date)


def _build_layout(names: tuple[bytes, ...]) -> _HeaderLayout:
    """Return the positions of the known headers among these; of two equal ones the last counts."""
    parts_by_limit: dict[str, tuple[LimitHeaders, list[int | None]]] = {}
    over_index = date_index = None
    for index, name in enumerate(names):
        header_part = HEADER_PARTS.get(name)
        if header_part is not None:
            limit_headers, part_index = header_part
            parts_by_limit.setdefault(limit_headers.name, (limit_headers, [None, None, None]))[1][
                part_index
            ] = index
        elif name == b"date":
            date_index = index
        elif name == OVER_LIMIT_HEADER:
            over_index = index
    limits = tuple(
        (limit_headers, remaining_index, limit_index, reset_index)
        for limit_headers, (limit_index, remaining_index, reset_index) in parts_by_limit.values()
        if remaining_index is not None
    )
    layout = _HeaderLayout(limits, over_index, date_index)
    if len(_layouts) >= _MAX_LAYOUTS:
        _layouts.clear()
    _layouts[names] = layout
    return layout


def _parse_count(value: bytes | None) -> int | None:
    """Return a number of requests or tokens; None if it is unknown."""
    if value is None or len(value) > _MAX_VALUE_BYTES:
        return None
    try:
        count = int(value)
    except ValueError:
        number = _parse_number(value)
        if number is None or number < 0:
            return None
        count = int(min(number, _MAX_COUNT))
    return min(count, _MAX_COUNT) if count >= 0 else None


def _parse_number(value: bytes) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def parse_seconds(value: bytes | None, now: float) -> float | None:
    """Return the seconds from `now` (since the epoch) until a reset; None if the value is no time.

    The value may be `6m0s`, `20ms`, `1d2h`; `2026-11-24T08:00:00Z`; `12.5`; seconds or milliseconds
    since the epoch; or an HTTP date. A time in the past gives 0; a distant time gives a day.
    """
    if value is None or len(value) > _MAX_VALUE_BYTES:
        return None
    number = _parse_number(value)
    if number is not None:
        if number >= _MIN_EPOCH_SECONDS:
            number = number / (1000 if number >= _MIN_EPOCH_MILLISECONDS else 1) - now
            return min(max(number, 0.0), DAY_SECONDS)
        return min(number, DAY_SECONDS) if number >= 0 else None
    text = value.decode("latin-1").strip()
    match = _DURATION_PATTERN.fullmatch(text)
    if match is not None and text and text.isascii():
        parts = zip(match.groups(), _UNIT_SECONDS, strict=True)
        return min(sum(float(part) * unit for part, unit in parts if part), DAY_SECONDS)
    timestamp = _parse_timestamp(text)
    return None if timestamp is None else min(max(timestamp - now, 0.0), DAY_SECONDS)


def _parse_timestamp(text: str) -> float | None:
    """Return the seconds since the epoch of an RFC 3339 or HTTP date; without a zone it is UTC."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def read_provider_time(date: bytes | None, now: float) -> float:
    """Return the time of a provider's clock, by the `date` of its answer.

    Return `now` if the provider does not state it, or states a time more than a day away. A moment
    is measured by the clock of the party that states it.
    """
    if date is None or len(date) > _MAX_VALUE_BYTES:
        return now
    timestamp = _parse_timestamp(date.decode("latin-1"))
    return now if timestamp is None or abs(timestamp - now) > DAY_SECONDS else timestamp


def read_retry_after(headers: Fields, status: int, now: float) -> float | None:
    """Return the seconds after which a refused request may come again, by its headers, or None.

    `retry-after-ms` counts first, then `retry-after` in seconds or as a date. If the status says
    that the provider refuses for now, the latest reset of the exhausted limits counts next. If no
    header states what is left, the soonest of all resets counts.
    """
    retry_headers: dict[bytes, bytes] = {}
    resets: list[tuple[LimitHeaders, bytes]] = []
    remaining: dict[LimitHeaders, int | None] = {}
    date = None
    for name, value in headers:
        header_part = HEADER_PARTS.get(name)
        if name in _RETRY_AFTER_HEADERS:
            retry_headers.setdefault(name, value)
        elif name == b"date":
            date = value
        elif header_part is not None and header_part[1] == _RESET:
            resets.append((header_part[0], value))
        elif header_part is not None and header_part[1] == _REMAINING:
            remaining[header_part[0]] = _parse_count(value)
    milliseconds = (
        _parse_number(retry_headers[b"retry-after-ms"])
        if b"retry-after-ms" in retry_headers
        else None
    )
    if milliseconds is not None and milliseconds >= 0:
        return min(milliseconds / 1000, DAY_SECONDS)
    provider_time = read_provider_time(date, now)
    stated_seconds = parse_seconds(retry_headers.get(b"retry-after"), provider_time)
    if stated_seconds is not None or status not in REFUSAL_STATUSES:
        return stated_seconds
    exhausted_resets = [
        value for limit_headers, value in resets if remaining.get(limit_headers) == 0
    ]
    waits = [
        parse_seconds(value, provider_time)
        for value in (exhausted_resets or ([] if remaining else [reset for _, reset in resets]))
    ]
    known_waits = [wait for wait in waits if wait is not None]
    if not known_waits:
        return None
    return max(known_waits) if exhausted_resets else min(known_waits)


def read_retry_delay(body: bytes) -> float | None:
    """Return the seconds of the RetryInfo in an error of Google's APIs; None if it has none.

    If the quota of a day is used up (QuotaFailure), return a day: the quota is not back in the
    seconds that RetryInfo names.
    """
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return None
    wait: float | None = None
    for detail in _list_details(value):
        delay_text = detail.get("retryDelay")
        if isinstance(delay_text, str) and delay_text.isascii():
            wait = parse_seconds(delay_text.encode(), 0.0)
        for violation in _as_list(detail.get("violations")):
            quota_id = violation.get("quotaId") if isinstance(violation, dict) else None
            if isinstance(quota_id, str) and "PerDay" in quota_id:
                return DAY_SECONDS
    return wait


def _list_details(value: Json) -> list[dict[str, Json]]:
    document = value[0] if isinstance(value, list) and value else value
    error = document.get("error") if isinstance(document, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    return [detail for detail in _as_list(details) if isinstance(detail, dict)]


def _as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
