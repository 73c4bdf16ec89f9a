"""Recorded answers of Chat Completions: the same facts natively, in a full read, and translated."""

import pytest

from tests.corpus.conftest import Say
from tests.corpus.exchanges import Exchange
from tests.dialects.openai_chat.stream_facts import (
    inspect,
    inspect_in_full,
    summarize,
    translate,
)


def list_streams(exchanges: list[Exchange]) -> list[Exchange]:
    return [
        exchange
        for exchange in exchanges
        if exchange.stream and exchange.status == 200 and exchange.choices == 1
    ]


def test_the_quick_reader_finds_the_same_facts_as_the_full_reader(
    exchanges: list[Exchange], monkeypatch: pytest.MonkeyPatch, say: Say
) -> None:
    streams = list_streams(exchanges)
    unlike = [
        stream.id
        for stream in streams
        if inspect(stream.body, 700) != inspect_in_full(stream.body, monkeypatch)
    ]
    say(f"{len(streams)} streams, {len(unlike)} unlike")
    assert unlike == []


def test_a_translated_stream_has_the_facts_of_the_native_one(
    exchanges: list[Exchange], say: Say
) -> None:
    streams = list_streams(exchanges)
    unlike = [stream.id for stream in streams if translate(stream.body) != inspect(stream.body)[0]]
    say(f"{len(streams)} streams, {len(unlike)} unlike")
    assert unlike == []


def test_a_translated_answer_has_the_facts_of_the_native_one(
    exchanges: list[Exchange], say: Say
) -> None:
    whole = [
        exchange
        for exchange in exchanges
        if not exchange.stream and exchange.status == 200 and exchange.choices == 1
    ]
    unlike = []
    for exchange in whole:
        native, translated = summarize(exchange.body)
        if native != translated:
            unlike.append((exchange.id, native, translated))
    say(f"{len(whole)} answers, {len(unlike)} unlike")
    assert unlike == []
