"""The response to a client: a status, headers that say what happened, and a body."""

import functools
import http.client
import math
from collections.abc import AsyncGenerator, Iterator
from typing import Protocol

import msgspec

from gateway.core import loss
from gateway.core.call_accounting import CallTotals
from gateway.core.errors import Problem
from gateway.core.ledger_rows import FinalRow
from gateway.core.target import Tier
from gateway.dialects import DIALECTS, Dialect
from gateway.pipeline.accounting import RecordedAccount
from gateway.telemetry.log import Log, locate_error
from gateway.upstream.relay import DirectRelay

type Header = tuple[bytes, bytes]
type Headers = list[Header]


class KeepaliveClient(Protocol):
    """A client that gets keep-alives until its answer comes."""

    @property
    def has_started(self) -> bool:
        """True if the client has received anything."""
        ...

    def arm(self, headers: Headers) -> None:
        """Allow keep-alives from now on, after a head with `headers`."""
        ...


class _SilentClient:
    has_started = False

    def arm(self, headers: Headers) -> None: ...


SILENT_CLIENT = _SilentClient()
"""A client that gets nothing before its answer."""

JSON_TYPE = b"application/json"
STREAM_TYPE = b"text/event-stream; charset=utf-8"
_LINE_BREAKS = frozenset("\r\n\0")
ESTIMATED_HEADER = (b"x-tiergate-estimated", b"tokens")
"""The header that says that no provider counted the tokens."""
UNFINISHED_HEADER = (b"x-tiergate-finish", b"unknown")
"""The header that says that the provider gives no reason for the end of a whole answer."""


class HeaderLines(msgspec.Struct, frozen=True):
    """Headers as the wire has them; iteration gives name and value pairs."""

    text: str
    """One line for each header, with its line end."""

    def __iter__(self) -> Iterator[Header]:
        for line in self.text.encode().splitlines():
            name, _, value = line.partition(b": ")
            yield name, value


class Response(msgspec.Struct, kw_only=True):
    """A status, headers, and a body that is whole or still coming."""

    status: int
    headers: Headers | HeaderLines
    body: bytes = b""
    frame: bytes = b""
    """The form of `body` in a stream whose head was sent before."""
    stream: AsyncGenerator[bytes] | None = None
    direct_relay: DirectRelay | None = None
    """The shortcut from the provider's stream to the client, once that can be written to."""

    def add_connection_close(self) -> None:
        """Ask for the connection to close after the response."""
        self.headers = [*self.headers, (b"connection", b"close")]


def encode_response(response: Response) -> bytes | None:
    """Return a whole response as the wire has it; None if a header could be read as two."""
    headers, body = response.headers, response.body
    if isinstance(headers, HeaderLines):
        status_line = _OK_LINE if response.status == 200 else format_status_line(response.status)
        return f"{status_line}{headers.text}content-length: {len(body)}\r\n\r\n".encode() + body
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if not lines.count(b"\r") == lines.count(b"\n") == len(headers) or b"\0" in lines:
        return None
    status = format_status_line(response.status).encode()
    return b"%b%bcontent-length: %d\r\n\r\n%b" % (status, lines, len(body), body)


@functools.cache
def format_status_line(status: int) -> str:
    """Return the first line of an answer, with its end."""
    phrase = http.client.responses.get(status, "")  # 529 has none
    return f"HTTP/1.1 {status} {phrase}\r\n"


_OK_LINE = format_status_line(200)
_TYPE_LINES = {kind: f"content-type: {kind.decode()}\r\n" for kind in (JSON_TYPE, STREAM_TYPE)}


def make_problem_response(
    problem: Problem, dialect: Dialect, call_id: str, extra_headers: Headers
) -> Response:
    """Return a problem as the response that a client of this dialect understands."""
    headers = [(b"content-type", JSON_TYPE), *make_id_headers(call_id), *extra_headers]
    if problem.should_retry is False:
        headers.append((b"x-should-retry", b"false"))
    if problem.retry_after is not None:
        seconds = max(1, math.ceil(problem.retry_after))
        headers.append((b"retry-after", b"%d" % seconds))
    return Response(
        status=dialect.find_status(problem),
        headers=headers,
        body=dialect.write_problem(problem),
        frame=dialect.write_problem_frame(problem),
    )


def make_bug_problem(log: Log, error: Exception, call_id: str) -> Problem:
    """Log where a bug is, and return the problem that its client sees."""
    log("bug", call=call_id, error=locate_error(error))
    message = "The gateway failed on this call; its log has the reason under "
    return Problem(kind="internal", message=f"{message}{call_id}.")


def make_id_headers(call_id: str) -> Headers:
    """Return the id of a call, in both headers that the official SDKs read."""
    value = call_id.encode()
    return [(b"x-request-id", value), (b"request-id", value)]


def make_headers(
    call_account: RecordedAccount, content_type: bytes, billing: FinalRow | CallTotals | None = None
) -> HeaderLines:
    """Return the headers of an answer; a whole answer has its cost, from its row or its totals."""
    call_id, extra_lines = call_account.call.id, ""
    if content_type is STREAM_TYPE:
        extra_lines = "cache-control: no-cache\r\n"
    elif billing is not None and (cost := billing.cost) is not None:
        extra_lines = f"x-tiergate-cost: {cost:f}\r\n"
        if billing.estimate:
            extra_lines += "x-tiergate-estimated: cost\r\n"
    id_lines = f"x-request-id: {call_id}\r\nrequest-id: {call_id}\r\n"
    return HeaderLines(
        f"{_TYPE_LINES[content_type]}{id_lines}{_format_decision_lines(call_account)}{extra_lines}"
    )


def make_cost_comment(row: FinalRow) -> bytes:
    """Return the cost of a stream as a comment after its end, which readers of events skip."""
    cost = b"unknown" if row.cost is None else f"{row.cost:f}".encode()
    suffix = b" (estimated)" if row.estimate else b""
    return b": x-tiergate-cost: %s%s\n\n" % (cost, suffix)


def make_decision_headers(call_account: RecordedAccount) -> Headers:
    """Return headers that say what was decided, as far as it was, and the rate limits."""
    return [*HeaderLines(_format_decision_lines(call_account))]


def make_rate_limit_headers(call_account: RecordedAccount) -> Headers:
    """Return the headers of the rate limits that the client may see."""
    limits = call_account.rate_limits
    if limits is None:
        return []
    return [*HeaderLines(DIALECTS[call_account.call.dialect].write_rate_limits(limits))]


def _format_decision_lines(call_account: RecordedAccount) -> str:
    """Return the lines of these headers, as the wire has them."""
    decision = call_account.decision
    target = call_account.target
    similarity = call_account.cache_similarity
    model, provider = (None, "") if target is None else (target.model, target.provider.name)
    cache = call_account.cache if similarity is None else "near"
    if decision is None:
        lines = _format_common_lines(None, None, model, provider, cache, len(call_account.attempts))
    else:
        lines = _format_common_lines(
            decision.lab, decision.tier, model, provider, cache, len(call_account.attempts)
        )
        lines = f"x-tiergate-decision: {decision.source}; {call_account.call.id}\r\n{lines}"
        if decision.family is not None:
            lines += f"x-tiergate-family: {_to_ascii(decision.family)}\r\n"
    if target is not None and target.price is None and not call_account.is_unbilled:
        lines += "x-tiergate-price: unknown\r\n"
    if similarity is not None:
        lines += f"x-tiergate-near: {similarity:.3f}\r\n"
    if call_account.losses:
        lines += (
            f"x-tiergate-dropped: {_to_ascii(loss.format_dropped_header(call_account.losses))}\r\n"
        )
    if (limits := call_account.rate_limits) is not None:
        lines += DIALECTS[call_account.call.dialect].write_rate_limits(limits)
    if (upstream_id := call_account.upstream_id) is not None:
        lines += f"x-upstream-request-id: {_to_ascii(upstream_id)}\r\n"
    return lines


@functools.lru_cache(1024)
def _format_common_lines(
    lab: str | None, tier: Tier | None, model: str | None, provider: str, cache: str, attempts: int
) -> str:
    """Return the lines of decision, target and outcome, which are the same for many calls.

    Raises ValueError if a value from the configuration has a line break.
    """
    headers: list[tuple[str, str]] = []
    if lab is not None:
        headers.append(("x-tiergate-lab", lab))
    if tier is not None:
        headers.append(("x-tiergate-tier", tier))
    if model is not None:
        headers += (("x-tiergate-model", _to_ascii(model)), ("x-tiergate-provider", provider))
    if lab is not None:
        headers += (("x-tiergate-cache", cache), ("x-tiergate-attempts", f"{attempts}"))
    if not all(_LINE_BREAKS.isdisjoint(value) for _, value in headers):
        raise ValueError("a header is more than a line")
    return "".join(f"{name}: {value}\r\n" for name, value in headers)


def _to_ascii(text: str) -> str:
    """Return a header value; what is not printable ASCII becomes a question mark."""
    if text.isascii() and text.isprintable():
        return text
    data = bytes(c if 32 <= c < 127 else 63 for c in text.encode("ascii", "replace"))
    return data.decode()


def is_uncounted(problem: Problem, dialect: Dialect, call_account: RecordedAccount) -> bool:
    """Return True if the gateway must estimate a token count that no provider gives.

    No target can count for the call, or the target has no endpoint for the client's dialect. If a
    native target does not count, the call fails.
    """
    if call_account.decision is None:
        return problem.kind == "no_target"
    target = call_account.target
    return target is not None and dialect.name not in target.provider.urls
