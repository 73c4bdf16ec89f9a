"""U-26, U-27: a good answer with figures and words that cannot be right."""

import re
from collections.abc import Callable, Mapping, Sequence

from tests.chaos.provider import Fault, FaultRequest, Wire, body, frames
from tests.chaos.row import Expected, FaultRow
from tests.chaos.upstream.fault import fault
from tests.e2e.four_labs import CHAT, GEMINI, MESSAGES, RESPONSES

_IN = {
    CHAT: b"prompt_tokens",
    RESPONSES: b"input_tokens",
    MESSAGES: b"input_tokens",
    GEMINI: b"promptTokenCount",
}
_OUT = {
    CHAT: b"completion_tokens", RESPONSES: b"output_tokens", MESSAGES: b"output_tokens", GEMINI: b"candidatesTokenCount",
}  # fmt: skip


def _changed_answer(
    dialect: str, change: Callable[[str, bytes], bytes], *, stream: bool
) -> Sequence[bytes]:
    if stream:
        return [change(dialect, frame) for frame in frames(dialect)]
    return [change(dialect, body(dialect))]


def _says(change: Callable[[str, bytes], bytes]) -> Fault:
    async def fault(wire: Wire, request: FaultRequest) -> None:
        pieces = _changed_answer(request.dialect, change, stream=request.stream)
        if not request.stream:
            await wire.whole(200, pieces[0])
            return
        await wire.sse()
        await wire.chunk(*pieces)
        await wire.end()

    return fault


def _counts(low: bytes, high: bytes) -> Callable[[str, bytes], bytes]:
    """Replace the counts of input and output tokens."""

    def change(dialect: str, data: bytes) -> bytes:
        for name, value in ((_IN[dialect], low), (_OUT[dialect], high)):
            data = re.sub(b'"%b":\\d+' % name, lambda _, n=name, v=value: b'"%b":%b' % (n, v), data)  # type: ignore[misc]
        return data

    return change


def _missing(dialect: str, data: bytes) -> bytes:
    for name in (b'"usage"', b'"usageMetadata"'):
        data = data.replace(name, b'"x_nothing"')
    return data


def _model(dialect: str, data: bytes) -> bytes:
    return re.sub(rb'"(model|modelVersion)":"[^"]*"', rb'"\1":"another-model-9"', data)


def _finish(dialect: str, data: bytes) -> bytes:
    for word in (b'"finish_reason":"stop"', b'"stop_reason":"end_turn"', b'"finishReason":"STOP"'):
        data = data.replace(word, word.partition(b":")[0] + b':"an_unknown_word"')
    return data


_FIGURES: Mapping[str, tuple[Callable[[str, bytes], bytes], str | tuple[str, ...]]] = {
    "missing": (_missing, "estimated"),
    "negative": (_counts(b"-7", b"-3"), ("estimated", "settled")),
    "strings": (_counts(b'"7"', b'"3"'), ("estimated", "settled")),
    "null": (_counts(b"null", b"null"), ("estimated", "settled")),
    "fractions": (_counts(b"7.5", b"3.5"), ("estimated", "settled")),
    "beyond 64 bits": (
        _counts(b"99999999999999999999999", b"99999999999999999999999"),
        ("estimated", "settled"),
    ),
    "ten times too many": (_counts(b"7000", b"3000"), "settled"),
}


def _sent(change: Callable[[str, bytes], bytes]) -> Callable[[str, bool], Sequence[bytes] | bytes]:
    def sent(dialect: str, stream: bool) -> Sequence[bytes] | bytes:
        pieces = _changed_answer(dialect, change, stream=stream)
        return pieces if stream else pieces[0]

    return sent


def _ids(dialect: str, data: bytes) -> bytes:
    return (
        re.sub(rb'"id":"(c-1|msg_1|resp_1)"', rb'"id":"another"', data) if b"Hell" in data else data
    )


ROWS: tuple[FaultRow, ...] = (
    *(fault("U-26", f"usage: {name}", _says(change), Expected(200, "answer", 1, state),
            sent=_sent(change), ci=name == "negative")
      for name, (change, state) in _FIGURES.items()),
    fault("U-26", "usage: NaN", _says(_counts(b"NaN", b"NaN")), Expected((200, 502), None, (1, 2, 3, 4), None)),
    fault("U-27", "another model than was asked", _says(_model), Expected(200, "answer", 1, "settled", "hit"), sent=_sent(_model)),
    fault("U-27", "another id in one event", _says(_ids), Expected(200, "answer", 1, "settled", "hit"), sent=_sent(_ids)),
    fault("U-27", "a finish that nobody knows", _says(_finish), Expected(200, "answer", 1, "settled", "none"),
          sent=_sent(_finish), dialects=(CHAT, MESSAGES, GEMINI)),
)  # fmt: skip
