"""The cost of a chunk: the measured streams, the table, and the effect of a missed bound."""

from itertools import count

import pytest

from bench import chunk
from gateway.core import sse
from gateway.dialects import DIALECTS, GEMINI

NAMES = list(DIALECTS)


def test_the_bench_measures_every_provider_with_every_client() -> None:
    """The clock ticks one second a round, and a round has 256 chunks."""
    costs = chunk.measure(2, map(float, count()).__next__)
    assert [(cost.provider, cost.client) for cost in costs] == [
        (a, b) for a in NAMES for b in NAMES
    ]
    assert {cost.cost for cost in costs} == {1e6 / 256}


def test_the_best_round_counts() -> None:
    """The rounds take 3, 1 and 2 seconds."""
    ticks = iter([0.0, 3.0, 3.0, 4.0, 4.0, 6.0] * 16)
    assert {cost.cost for cost in chunk.measure(3, ticks.__next__)} == {1e6 / 256}


@pytest.mark.parametrize("name", NAMES)
def test_a_chunk_is_one_frame_of_text(name: str) -> None:
    chunks = chunk.stream(DIALECTS[name]).chunks
    assert len(chunks) == 256
    for at, data in enumerate(chunks):
        assert sse.split_frames(data) == [data]
        assert f'" word{at}"'.encode() in data


def test_geminis_chunks_look_as_google_writes_them() -> None:
    assert chunk.stream(GEMINI).chunks[0] == (
        b'data: {"candidates": [{"content": {"parts": [{"text": " word0"}],"role": "model"},"index": 0}],'
        b'"usageMetadata": {"promptTokenCount": 900,"candidatesTokenCount": 7,"totalTokenCount": 907,'
        b'"promptTokensDetails": [{"modality": "TEXT","tokenCount": 900}]},'
        b'"modelVersion": "model-1","responseId": "r-1"}\r\n\r\n'
    )


def test_a_stream_that_does_not_end_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = chunk.stream
    monkeypatch.setattr(
        chunk,
        "stream",
        lambda dialect: chunk.Stream(whole(dialect).before, whole(dialect).chunks, []),
    )
    with pytest.raises(RuntimeError, match="openai-chat to openai-chat: the stream did not end"):
        chunk.measure(1)


@pytest.mark.parametrize(
    ("client", "cost", "met"),
    [("gemini", 3.0, True), ("gemini", 3.1, False), ("x", 12.0, True), ("x", 12.1, False)],
)
def test_native_and_translated_chunks_have_their_own_bounds(
    client: str, cost: float, met: bool
) -> None:
    assert chunk.Cost("gemini", client, cost).met is met


def test_the_table_has_a_number_for_every_pair(capsys: pytest.CaptureFixture[str]) -> None:
    """A clock that stands still meets every bound; one that ticks seconds misses each, with a mark."""
    assert chunk.main(["--rounds", "1"], lambda: 0.0) == 0
    head, *rows, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["provider", *NAMES]
    assert [row.split() for row in rows] == [[name, *["0.0"] * 4] for name in NAMES]
    assert last == "microseconds of CPU a chunk; at most 3 at home, 12 abroad"
    assert chunk.main(["--rounds", "1"], map(float, count()).__next__) == 1
    assert capsys.readouterr().out.count(" 3906.2!") == 16
