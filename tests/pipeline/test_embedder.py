"""Test the embedding answers that the gateway accepts, and the pause after failures."""

from typing import Any

import pytest

from gateway.core import jsonio
from gateway.pipeline.embedder import EmbedderTrust, parse_vector


def answer(*vectors: object, **more: object) -> bytes:
    data = [{"object": "embedding", "index": 0, "embedding": one} for one in vectors]
    return jsonio.dumps({"object": "list", "data": data, **more})


def test_a_vector_is_told() -> None:
    assert parse_vector(answer([1, -0.5])) == [1.0, -0.5]


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", answer(), answer([]), answer([1.0], [2.0]), answer("AACAPw=="), answer(["a"]), answer(None),
     jsonio.dumps({"data": [{"embedding": [None]}]}), jsonio.dumps({"data": {"embedding": [1.0]}})],
)  # fmt: skip
def test_anything_else_is_none(body: bytes) -> None:
    """Several vectors are refused too: the gateway asked for one text."""
    assert parse_vector(body) is None


def test_a_model_that_fails_is_left_alone() -> None:
    """The gateway pauses the model for 30 s after three failures in a row, and counts failures."""
    now, log = [0.0], list[Any]()
    trust = EmbedderTrust(
        lambda event, **fields: log.append((event, fields["text"])), lambda: now[0]
    )

    def out() -> bool:
        return trust.is_paused

    for _ in range(2):
        trust.record_failure("slow")
    trust.record_success()
    for _ in range(3):
        assert not out()
        trust.record_failure("slow")
    assert out()
    now[0] = 30.0
    assert not out()
    trust.record_failure("slow")
    assert out()
    now[0] = 60.0
    trust.record_success()
    assert not out()
    assert log == [
        ("near", "the embedding model is paused for a while: slow"),
        ("near", "the embedding model is back"),
    ]
    assert [count.read() for count in trust.measures()] == [6]
