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
    return [it for it in exchanges if it.stream and it.status == 200 and it.choices == 1]


def test_a_quick_look_sees_what_a_full_read_does(
    exchanges: list[Exchange], monkeypatch: pytest.MonkeyPatch, say: Say
) -> None:
    streams = list_streams(exchanges)
    unlike = [
        it.id for it in streams if inspect(it.body, 700) != inspect_in_full(it.body, monkeypatch)
    ]
    say(f"{len(streams)} streams, {len(unlike)} unlike")
    assert unlike == []


def test_a_translated_stream_has_the_facts_of_a_native_one(
    exchanges: list[Exchange], say: Say
) -> None:
    streams = list_streams(exchanges)
    unlike = [it.id for it in streams if translate(it.body) != inspect(it.body)[0]]
    say(f"{len(streams)} streams, {len(unlike)} unlike")
    assert unlike == []


def test_a_translated_answer_has_the_facts_of_a_native_one(
    exchanges: list[Exchange], say: Say
) -> None:
    whole = [it for it in exchanges if not it.stream and it.status == 200 and it.choices == 1]
    unlike = []
    for exchange in whole:
        native, translated = summarize(exchange.body)
        if native != translated:
            unlike.append((exchange.id, native, translated))
    say(f"{len(whole)} answers, {len(unlike)} unlike")
    assert unlike == []
