"""Signals in words: each signal that was read and is not 0, and none that was not read."""

import msgspec

from gateway.routing import explain_signals
from gateway.routing.classifier.text_signals import TextSignals
from tests.routing import world


def test_what_was_read_is_told_in_words() -> None:
    call = world.call("Prove that x = 2.")
    assert explain_signals.list_signals(call) == []
    assert call.signals.proof_words
    lines = explain_signals.list_signals(call)
    assert ("maths", "looks like mathematics", 0.17) in lines
    assert ("proof_words", "asks for a proof", 1) in lines
    assert "code" not in explain_signals.describe_signals(call)


def test_the_language_is_told_where_somebody_asked_for_it() -> None:
    call = world.call("Was ist das und wie geht es dir?")
    assert call.language == "de"
    assert explain_signals.describe_signals(call) == {"language": "de"}


def test_every_signal_has_its_words() -> None:
    call = world.call("hello")
    assert call.signals.greeting
    values = dict.fromkeys(TextSignals.__struct_fields__, 1)
    every = msgspec.convert(values, TextSignals, strict=False)
    call._signals = every
    assert explain_signals.describe_signals(call) == msgspec.structs.asdict(every)
