"""What providers say of their own rate limits, read from headers and bodies; junk says nothing.

ROWS             every header that is known, as data
read             what an answer says is left of each limit
seconds          a reset: a span, a moment, or a number
retry_after      when a refused request may come again, by its headers
delay            the same, by the body of Google's APIs
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

type Takes = Literal["requests", "prompt", "prompt and cap", "nothing"]
"""What a call takes of a limit before it is answered; the cap is the output that it allows."""
type Fields = Iterable[tuple[bytes, bytes]]

DAY = 86_400.0
"""Seconds; more than that is no time that anybody waits for, and is taken for it."""
_MOST = 10**12
_LONGEST = 64
"""Bytes of a value; what is longer is no number and no time."""
_EPOCH, _EPOCH_MS = 1e8, 1e11
"""A number from here on is no span: seconds, or milliseconds, since 1970."""


class LimitHeaders(NamedTuple):
    """One limit, whatever the headers are that tell it."""

    name: str
    takes: Takes
    period: float = 60.0
    """Seconds until it is whole again, where no header says so."""
    steady: bool = False
    """It comes back a little at a time, and its reset is when all of it is there."""


class HeaderRow(NamedTuple):
    """A header, or three of one form: `{}` stands for limit, remaining and reset."""

    header: str
    line: LimitHeaders
    source: str


_OPENAI = "developers.openai.com/api/docs/guides/rate-limits"
_ANTHROPIC = "platform.claude.com/docs/en/api/rate-limits"
_CEREBRAS = "inference-docs.cerebras.ai/support/rate-limits"
_MISTRAL = "github.com/mistralai/client-ts/issues/169"
_TOGETHER = "docs.together.ai/docs/rate-limits"
_FIREWORKS = "docs.fireworks.ai/guides/quotas_usage/rate-limits"
_SECOND, _DAY, _MONTH = 1.0, DAY, 30 * DAY

ROWS = (
    # Azure, xAI and Groq (there requests of a day) say the same; Fireworks has no reset.
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
    # Only what was written counts there, so that a high cap takes nothing.
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
"""As of 2026-11-24. Left out: Anthropic's priority limits, which fall back to its standard ones,
and those of its subscriptions, which refuse with a retry-after."""
OVER = b"x-ratelimit-over-limit"
"""Fireworks answers, but says `yes` where more is asked than it has promised."""

_LIMIT, _LEFT, _RESET = range(3)
_PARTS = {"limit": _LIMIT, "remaining": _LEFT, "reset": _RESET}
NAMES = {
    row.header.format(word).encode(): (row.line, part)
    for row in ROWS
    for word, part in _PARTS.items()
}
"""By name of a header: the limit that it is about, and what of it it tells."""
REFUSED = frozenset({429, 503, 529})
"""Statuses that say: not now."""
_LAST = (b"retry-after", b"retry-after-ms")
_SPAN = re.compile(
    r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d*)?)s)?(?:(\d+(?:\.\d*)?)ms)?"
)
_UNITS = (DAY, 3600.0, 60.0, 1.0, 0.001)


class StatedLimit(NamedTuple):
    """What an answer says of one limit."""

    line: LimitHeaders
    left: int
    limit: int | None
    reset: bytes | None
    """As it came: it is read where it is needed."""


class StatedLimits(NamedTuple):
    """What an answer says of all limits."""

    said: tuple[StatedLimit, ...] = ()
    over: bool = False
    date: bytes | None = None
    """When it was said, by the provider's own clock."""


_NOTHING = StatedLimits()


class _Form(msgspec.Struct, frozen=True, gc=False):
    """Where among the headers of an answer stands what is known."""

    lines: tuple[tuple[LimitHeaders, int, int | None, int | None], ...]
    """Each limit, and the places of what is left, of the limit and of its reset."""
    over: int | None
    date: int | None


_MOST_FORMS = 256
_forms: dict[tuple[bytes, ...], _Form] = {}
"""By the names of all headers, in their order: a provider sends the same ones again and again."""


def read(headers: Fields) -> StatedLimits:
    """What is left of each limit. -1, and a limit of 0, are unknown: Azure says so.

    Names of headers are in lower case, here and in `retry_after`.
    """
    fields = headers if isinstance(headers, list) else [*headers]
    names = tuple([name for name, _ in fields])
    form = _forms.get(names)
    if form is None:
        form = _form(names)
    if not form.lines and form.over is None:
        return _NOTHING
    over = form.over is not None and fields[form.over][1].strip().lower() == b"yes"
    date = None if form.date is None else fields[form.date][1]
    if not form.lines:
        return StatedLimits(over=True, date=date) if over else _NOTHING
    said = []
    for line, left, limit, reset in form.lines:
        count = _count(fields[left][1])
        if count is None:
            continue
        most = None if limit is None else _count(fields[limit][1])
        if most != 0:
            said.append(StatedLimit(line, count, most, None if reset is None else fields[reset][1]))
    return StatedLimits(tuple(said), over, date)


def _form(names: tuple[bytes, ...]) -> _Form:
    """Where in an answer with headers of these names stands what is known; of two the last."""
    found: dict[str, tuple[LimitHeaders, list[int | None]]] = {}
    over = date = None
    for at, name in enumerate(names):
        known = NAMES.get(name)
        if known is not None:
            line, part = known
            found.setdefault(line.name, (line, [None, None, None]))[1][part] = at
        elif name == b"date":
            date = at
        elif name == OVER:
            over = at
    lines = tuple(
        (line, left, limit, reset)
        for line, (limit, left, reset) in found.values()
        if left is not None
    )
    form = _Form(lines, over, date)
    if len(_forms) >= _MOST_FORMS:
        _forms.clear()
    _forms[names] = form
    return form


def _count(value: bytes | None) -> int | None:
    """A number of requests or tokens; None where it is unknown."""
    if value is None or len(value) > _LONGEST:
        return None
    try:
        count = int(value)
    except ValueError:
        number = _number(value)
        if number is None or number < 0:
            return None
        count = int(min(number, _MOST))
    return min(count, _MOST) if count >= 0 else None


def _number(value: bytes) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def seconds(value: bytes | None, now: float) -> float | None:
    """Seconds from `now` (since the epoch) until a reset; None for what is no time.

    `6m0s`, `20ms`, `1d2h`; `2026-11-24T08:00:00Z`; `12.5`; seconds or milliseconds since the epoch;
    a date of HTTP. What has passed is 0, what is far is a day.
    """
    if value is None or len(value) > _LONGEST:
        return None
    number = _number(value)
    if number is not None:
        if number >= _EPOCH:
            number = number / (1000 if number >= _EPOCH_MS else 1) - now
            return min(max(number, 0.0), DAY)
        return min(number, DAY) if number >= 0 else None
    text = value.decode("latin-1").strip()
    span = _SPAN.fullmatch(text)
    if span is not None and text and text.isascii():
        parts = zip(span.groups(), _UNITS, strict=True)
        return min(sum(float(part) * unit for part, unit in parts if part), DAY)
    moment = _moment(text)
    return None if moment is None else min(max(moment - now, 0.0), DAY)


def _moment(text: str) -> float | None:
    """Seconds since the epoch of a date by RFC 3339 or HTTP; without a zone it is UTC."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def clock(date: bytes | None, now: float) -> float:
    """What a provider's clock said, by the `date` of its answer; ours where it does not say.

    Moments are measured by the clock of whoever tells them.
    """
    if date is None or len(date) > _LONGEST:
        return now
    moment = _moment(date.decode("latin-1"))
    return now if moment is None or abs(moment - now) > DAY else moment


def retry_after(headers: Fields, status: int, now: float) -> float | None:
    """Seconds after which a refused request may come again, by its headers; None: not said.

    `retry-after-ms`, then `retry-after` in seconds or as a date; where it was refused for its rate,
    then the resets of limits of which nothing is left, or of all where nothing is said of that.
    """
    own: dict[bytes, bytes] = {}
    resets: list[tuple[LimitHeaders, bytes]] = []
    left: dict[LimitHeaders, int | None] = {}
    date = None
    for name, value in headers:
        known = NAMES.get(name)
        if name in _LAST:
            own.setdefault(name, value)
        elif name == b"date":
            date = value
        elif known is not None and known[1] == _RESET:
            resets.append((known[0], value))
        elif known is not None and known[1] == _LEFT:
            left[known[0]] = _count(value)
    exact = _number(own[b"retry-after-ms"]) if b"retry-after-ms" in own else None
    if exact is not None and exact >= 0:
        return min(exact / 1000, DAY)
    there = clock(date, now)
    plain = seconds(own.get(b"retry-after"), there)
    if plain is not None or status not in REFUSED:
        return plain
    empty = [value for line, value in resets if left.get(line) == 0]
    waits = [seconds(value, there) for value in (empty or ([] if left else [v for _, v in resets]))]
    known_waits = [wait for wait in waits if wait is not None]
    if not known_waits:
        return None
    return max(known_waits) if empty else min(known_waits)


def delay(body: bytes) -> float | None:
    """Seconds of the RetryInfo in an error of Google's APIs; None where it has none.

    A quota of a day that is used up (QuotaFailure) is not back in the seconds that it names.
    """
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return None
    wait: float | None = None
    for detail in _details(value):
        told = detail.get("retryDelay")
        if isinstance(told, str) and told.isascii():
            wait = seconds(told.encode(), 0.0)
        for violation in _list(detail.get("violations")):
            named = violation.get("quotaId") if isinstance(violation, dict) else None
            if isinstance(named, str) and "PerDay" in named:
                return DAY
    return wait


def _details(value: Json) -> list[dict[str, Json]]:
    first = value[0] if isinstance(value, list) and value else value
    error = first.get("error") if isinstance(first, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    return [detail for detail in _list(details) if isinstance(detail, dict)]


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
