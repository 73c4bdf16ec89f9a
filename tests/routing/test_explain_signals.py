"""Signals in words: each signal that was read and is not 0, and none that was not read."""

import msgspec

from gateway.routing import explain_signals
from gateway.routing.classifier.text_signals import TextSignals
from tests.routing import world


def test_signals_that_were_read_are_listed_in_words() -> None:
    call = world.call("Prove that x = 2.")
    assert explain_signals.list_signals(call) == []
    assert call.signals.proof_words
    lines = explain_signals.list_signals(call)
    assert ("maths", "looks like mathematics", 0.17) in lines
    assert ("proof_words", "asks for a proof", 1) in lines
    assert "code" not in explain_signals.describe_signals(call)


def test_the_language_is_listed_once_it_was_read() -> None:
    call = world.call("Was ist das und wie geht es dir?")
    assert call.language == "de"
    assert explain_signals.describe_signals(call) == {"language": "de"}


def test_every_signal_has_a_description() -> None:
    call = world.call("hello")
    assert call.signals.greeting
    values = dict.fromkeys(TextSignals.__struct_fields__, 1)
    all_signals = msgspec.convert(values, TextSignals, strict=False)
    call.signals = all_signals
    assert explain_signals.describe_signals(call) == msgspec.structs.asdict(all_signals)
