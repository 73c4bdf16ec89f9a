"""The signals that a decision has read, in words for people."""

from typing import NamedTuple

import msgspec

from gateway.core.jsonio import Json
from gateway.routing.features import Features

_LABELS = {
    "chars": "characters",
    "words": "words",
    "options": "lettered answer options",
    "questions": "question marks",
    "numbers": "numbers",
    "digits": "share of digits",
    "code": "looks like code",
    "pasted_code": "code is pasted beside it",
    "maths": "looks like mathematics",
    "proof_words": "asks for a proof",
    "reasoning_words": "asks for reasoning: why, compare, plan",
    "build_words": "asks to write something",
    "simple_words": "asks for a simple task, or is polite",
    "trace": "quotes a stack trace",
    "lookup": "asks for one fact",
    "counting": "asks how many or how much",
    "greeting": "is nothing but small talk",
}
"""The label of each signal, in the order of display."""


class SignalLine(NamedTuple):
    """One signal that is not 0."""

    name: str
    """The name of the field in `TextSignals`, or `language`."""
    label: str
    value: float | bool | str


def list_signals(call: Features) -> list[SignalLine]:
    """Return the signals of the last user turn that are not 0; nothing if no code has read it."""
    lines: list[SignalLine] = []
    if call.is_scanned:
        values = msgspec.structs.asdict(call.signals)
        lines += [
            SignalLine(name, label, round(value, 2) if isinstance(value, float) else value)
            for name, label in _LABELS.items()
            if (value := values[name])
        ]
    if call.is_language_detected:
        lines.append(SignalLine("language", "is written in", call.language))
    return lines


def describe_signals(call: Features) -> dict[str, Json]:
    """Return the signals as JSON, by name."""
    return {line.name: line.value for line in list_signals(call)}
