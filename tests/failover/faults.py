"""The faults of the preferred target of a call, in the shapes of each dialect."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.core import jsonio
from tests.chaos.provider import Fault, FaultRequest, Wire, body, frames, honest
from tests.chaos.row import MODES, Mode
from tests.chaos.upstream import body as odd_bodies
from tests.chaos.upstream import completed_answers, cut, hang, odd_answers, sse, status
from tests.chaos.upstream.fault import hang as send_nothing
from tests.e2e.four_labs import CHAT, GEMINI, MESSAGES, RESPONSES, set_finish
from tests.e2e.world import Config

type SecondTarget = Literal["well", "larger", "unknown", "small", "none"]
"""The second target: well, or with a prompt window that is larger, unknown or too small; or none."""

_BLANK_BYTES = 1_500_000
"""Bytes without content: more than the gateway reads before it asks the next target."""
_SOON = "1.5s"
"""A timer of the short form; the long form has the shipped timers."""
_SLOW_SECONDS, _SLOW_SHORT = 25.0, 2.5
"""Seconds after which a slow answer comes, in the two forms."""


@dataclass(frozen=True)
class ProviderFault:
    """One fault of the preferred target. A second one is well, unless `second` says otherwise."""

    group: str
    name: str
    does: Fault
    once: bool = False
    """True if only the first request fails."""
    modes: tuple[Mode, ...] = MODES
    second: SecondTarget = "well"
    answerable: bool = True
    """False if no policy can get an answer."""
    short: Mapping[str, str] = field(default_factory=dict)
    """Timers of the preferred provider in the short form; `total` holds for the call."""
    does_short: Fault | None = None
    """The fault of the short form, if it is another."""
    long_only: bool = False
    """True if the short form leaves it out: an SDK waits for minutes."""
    change: Config = field(default_factory=dict)
    """Changes to the configuration of the preferred target's provider."""


def limited(seconds: int | None) -> Fault:
    """Limit the rate as each maker does, for so many seconds; None: without a time."""

    async def fault(wire: Wire, request: FaultRequest) -> None:
        named = "" if seconds is None else f" Please try again in {seconds}s."
        message = f"Rate limit reached for requests per minute.{named}"
        if request.dialect == GEMINI:
            delay = {
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": f"{seconds}s",
            }
            details = {} if seconds is None else {"details": [delay]}
            error = {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", **details}
            await wire.whole(429, jsonio.dumps({"error": error}))
            return
        headers = [] if seconds is None else [f"retry-after: {seconds}"]
        if request.dialect != MESSAGES and seconds is not None:
            headers.append(f"retry-after-ms: {seconds * 1000}")
        word = "rate_limit_error" if request.dialect == MESSAGES else "rate_limit_exceeded"
        await wire.whole(429, odd_answers.error(request.dialect, 429, word, message), *headers)

    return fault


async def exhausted(wire: Wire, request: FaultRequest) -> None:
    """Refuse because the account's quota or credit is used up, as each maker does."""
    if request.dialect == MESSAGES:
        message = "Your credit balance is too low to access the Anthropic API."
        error = odd_answers.error(MESSAGES, 400, "invalid_request_error", message)
        await wire.whole(400, error)
    elif request.dialect == GEMINI:
        violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}
        failure = {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [violation],
        }
        delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"}
        members = {"code": 429, "message": "You exceeded your current quota.", "details": [failure, delay]}  # fmt: skip
        await wire.whole(429, jsonio.dumps({"error": {**members, "status": "RESOURCE_EXHAUSTED"}}))
    else:
        message = "You exceeded your current quota, please check your plan and billing details."
        members = {"message": message, "type": "insufficient_quota", "code": "insufficient_quota"}
        await wire.whole(429, jsonio.dumps({"error": {**members, "param": None}}))


async def overflow(wire: Wire, request: FaultRequest) -> None:
    """Refuse a prompt that is too long for the model, as each maker does."""
    message, code = {
        CHAT: ("This model's maximum context length is 8192 tokens.", "context_length_exceeded"),
        RESPONSES: ("Your input exceeds the context window of this model.", "context_length_exceeded"),
        MESSAGES: ("prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error"),
        GEMINI: ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", ""),
    }[request.dialect]  # fmt: skip
    if request.dialect in (MESSAGES, GEMINI):
        error = odd_answers.error(request.dialect, 400, code, message)
    else:
        members = {"message": message, "type": "invalid_request_error", "param": "messages"}
        error = jsonio.dumps({"error": {**members, "code": code}})
    await wire.whole(400, error)


def for_seconds(seconds: float, does: Fault) -> Fault:
    """Do something for so many seconds from the first request on; then answer well."""
    first_times: dict[str, float] = {}  # by path: each cell has its own

    async def fault(wire: Wire, request: FaultRequest) -> None:
        now = time.monotonic()
        is_over = now >= first_times.setdefault(request.path, now) + seconds
        await (honest if is_over else does)(wire, request)

    return fault


def split(whole: Fault, stream: Fault) -> Fault:
    """Do one thing to whole answers, and another to streams."""

    async def fault(wire: Wire, request: FaultRequest) -> None:
        await (stream if request.stream else whole)(wire, request)

    return fault


async def reset(wire: Wire, request: FaultRequest) -> None:
    """Send RST in place of an answer."""
    await wire.reset()


async def reset_after_head(wire: Wire, request: FaultRequest) -> None:
    """Send the head of a whole answer, and RST."""
    await wire.head(length=99)
    await wire.reset()


async def lose_last_byte(wire: Wire, request: FaultRequest) -> None:
    """Send all of a whole answer but its last byte."""
    answer = body(request.dialect)
    await wire.head(length=len(answer))
    await wire.write(answer[:-1])
    wire.close()


def _all_text(dialect: str) -> bytes:
    """Return all frames of text, and none that says that the answer ends."""
    if dialect != GEMINI:
        return b"".join(odd_answers.begun(dialect, odd_answers.CONTENT[dialect]))
    return b"".join(frames(dialect)).replace(b',"finishReason":"STOP"', b"")


def _no_text(dialect: str) -> bytes:
    return b"".join(odd_answers.begun(dialect, 0))


async def give_no_reason(wire: Wire, request: FaultRequest) -> None:
    """Send half of a whole answer, as valid JSON, without a reason for its end."""
    value: Any = jsonio.loads(body(request.dialect).replace(b"Hello you.", b"Hell"))
    set_finish(request.dialect, None)(value)
    await wire.whole(200, jsonio.dumps(value))


def _damaged(dialect: str, *, stream: bool) -> bytes:
    """Return an answer with a text that holds the first byte of a character of two."""
    return b"".join(odd_answers.speaking(dialect, "~", stream=stream)).replace(b"~", b"\xc3")


async def damage_character(wire: Wire, request: FaultRequest) -> None:
    """Send an answer with half of a character, and no other fault."""
    data = _damaged(request.dialect, stream=request.stream)
    if not request.stream:
        await wire.whole(200, data)
        return
    await wire.sse()
    await wire.chunk(data)
    await wire.end()


def flood(blank: bytes) -> Fault:
    """Send the head of a stream, and then blanks as fast as the gateway reads them."""

    async def fault(wire: Wire, request: FaultRequest) -> None:
        await wire.sse()
        for _ in range(20):
            await wire.chunk(blank * (_BLANK_BYTES // len(blank) // 20))
        await wire.forever()

    return fault


def late(seconds: float) -> Fault:
    """Answer well, but so much later: the model is slow, and writes all of its answer first."""

    async def fault(wire: Wire, request: FaultRequest) -> None:
        await asyncio.sleep(seconds)
        await honest(wire, request)

    return fault


async def drip_blanks(wire: Wire, request: FaultRequest) -> None:
    """Send a blank line again and again, as providers do while a request waits for its turn."""
    await (wire.sse() if request.stream else wire.head())
    while True:
        await wire.chunk(b"\n\n")
        await asyncio.sleep(0.1)


_REFUSED = {"base_url": "http://127.0.0.1:1"}
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_CUT = split(cut.reset_mid_body, cut.reset_after(1))
_ALONE: Mapping[str, Any] = {"second": "none"}

FAULTS: tuple[ProviderFault, ...] = (
    ProviderFault("rate limits", "429 with a `retry-after` of 2 s, once", limited(2), once=True),
    ProviderFault("rate limits", "429 with a `retry-after` of 60 s", limited(60)),
    ProviderFault("rate limits", "429 without a time, once", limited(None), once=True),
    ProviderFault("rate limits", "429 without a time", limited(None)),
    ProviderFault("rate limits", "the account's quota is used up", exhausted),
    ProviderFault("blips", "500, once", status.says(500), once=True),
    ProviderFault("blips", "the connection is reset, once", reset, once=True),
    ProviderFault("blips", "503 for 2 s", for_seconds(2.0, status.says(503))),
    ProviderFault("outages", "502", status.says(502)),
    ProviderFault("outages", "503 with a `retry-after` of 30 s", status.says(503, "retry-after: 30")),
    ProviderFault("outages", "529", status.says(529)),
    ProviderFault("outages", "the connection is refused", honest, change=_REFUSED),
    ProviderFault("cuts", "the connection breaks before the head", cut.drop),
    ProviderFault("cuts", "the connection breaks after the head", split(reset_after_head, cut.reset_after(0))),
    ProviderFault("cuts", "the answer is cut in its middle", _CUT),
    ProviderFault("cuts", "the answer is cut before its end", split(lose_last_byte, cut.end_with(_all_text))),
    ProviderFault("cuts", "the answer ends without a reason", give_no_reason, modes=("whole",)),
    ProviderFault("cuts", "an error in the middle of a stream", completed_answers.fail_after_content, modes=("stream",)),
    ProviderFault("hangs", "no head in time", send_nothing, short={"headers": _SOON}),
    ProviderFault("hangs", "no content in time", split(hang.stall_mid_answer, hang.drip_comments),
                  short={"first_content": _SOON, "idle": _SOON}),
    ProviderFault("hangs", "the stream stalls in its middle", hang.stall_mid_answer, modes=("stream",), short={"idle": _SOON}),
    ProviderFault("hangs", "the whole answer takes 25 s to come", late(_SLOW_SECONDS), modes=("whole",),
                  short={"headers": _SOON, "whole_headers": "15s"}, does_short=late(_SLOW_SHORT)),
    ProviderFault("context", "the prompt is too long, and the second has a larger window", overflow, second="larger"),
    ProviderFault("context", "the prompt is too long, and the window of the second is unknown", overflow, second="unknown"),
    ProviderFault("context", "the prompt is too long for both", overflow, second="small", answerable=False),
    ProviderFault("malformed", "an error in a 200", split(odd_bodies.answer_instead(None), odd_bodies.begin_with_error)),
    ProviderFault("malformed", "an empty answer", split(odd_bodies.answer_instead(b""), cut.end_with(_no_text))),
    ProviderFault("malformed", "broken JSON", split(cut.half_json, sse.break_event(b'{"id": '))),
    ProviderFault("malformed", "a page for people in a 200", odd_bodies.answer_instead(status.HTML, "text/html")),
    ProviderFault("malformed", "half of a character", damage_character),
    ProviderFault("malformed", "a good answer with a wrong content type", odd_bodies.send_as("text/plain")),
    ProviderFault("blanks", "blank lines without end", flood(b"\n\n"), modes=("stream",)),
    ProviderFault("blanks", "comments without end", flood(b": there\n\n"), modes=("stream",)),
    ProviderFault("blanks", "pings without end", flood(_PING), modes=("stream",)),
    ProviderFault("blanks", "a blank line again and again", drip_blanks, modes=("stream",), short={"first_content": _SOON}),
    ProviderFault("blanks", "a blank line again and again, and no answer", drip_blanks, modes=("whole",), answerable=False,
                  short={"total": "3s"}),
    ProviderFault("one target", "429 with a `retry-after` of 2 s, once", limited(2), once=True, **_ALONE),
    ProviderFault("one target", "429 with a `retry-after` of 60 s", limited(60), answerable=False, long_only=True, **_ALONE),
    ProviderFault("one target", "500, once", status.says(500), once=True, **_ALONE),
    # Three attempts take 1.5 s, on a busy machine longer: it must stay clear that they fail.
    ProviderFault("one target", "503 for 2 s", for_seconds(2.0, status.says(503)),
                  does_short=for_seconds(2.8, status.says(503)), **_ALONE),
    ProviderFault("one target", "502", status.says(502), answerable=False, **_ALONE),
    ProviderFault("one target", "the answer is cut in its middle, once", _CUT, once=True, **_ALONE),
    ProviderFault("one target", "the answer ends without a reason", give_no_reason, modes=("whole",),
                  answerable=False, **_ALONE),
)  # fmt: skip
