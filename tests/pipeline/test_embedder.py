"""Test the embedding answers that the gateway accepts, and the pause after failures."""

from typing import Any

import pytest

from gateway.core import jsonio
from gateway.pipeline.embedder import EmbedderTrust, parse_vectors


def answer(*vectors: object, **more: object) -> bytes:
    data = [{"object": "embedding", "index": 0, "embedding": vector} for vector in vectors]
    return jsonio.dumps({"object": "list", "data": data, **more})


def test_the_gateway_reads_one_vector_of_an_answer() -> None:
    assert parse_vectors(answer([1, -0.5]), 1) == [[1.0, -0.5]]


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", answer(), answer([]), answer([1.0], [2.0]), answer("AACAPw=="), answer(["a"]), answer(None),
     jsonio.dumps({"data": [{"embedding": [None]}]}), jsonio.dumps({"data": {"embedding": [1.0]}})],
)  # fmt: skip
def test_any_other_answer_gives_no_vector(body: bytes) -> None:
    """Several vectors are refused too: the gateway asked for one text."""
    assert parse_vectors(body, 1) is None


def test_an_embedding_model_that_keeps_failing_is_paused() -> None:
    """The gateway pauses the model for 30 s after three failures in a row, and counts failures."""
    now, log = [0.0], list[Any]()
    trust = EmbedderTrust(
        lambda event, **fields: log.append((event, fields["text"])), lambda: now[0]
    )

    def is_paused() -> bool:
        return trust.is_paused

    for _ in range(2):
        trust.record_failure("slow")
    trust.record_success()
    for _ in range(3):
        assert not is_paused()
        trust.record_failure("slow")
    assert is_paused()
    now[0] = 30.0
    assert not is_paused()
    trust.record_failure("slow")
    assert is_paused()
    now[0] = 60.0
    trust.record_success()
    assert not is_paused()
    assert log == [
        ("near", "the embedding model is paused for a while: slow"),
        ("near", "the embedding model is back"),
    ]
    assert [count.read() for count in trust.measures()] == [6]
