"""The vectors of exemplars: computed once, kept in a file, and asked for anew after a failure."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.core.call import Call
from gateway.pipeline.reference_vectors import ReferenceVectors
from gateway.pipeline.saved_vectors import SavedVectors
from gateway.routing.classifier.meaning import Reference

CALL = Call(
    id="tg-1",
    dialect="openai-chat",
    operation="generate",
    body=b"",
    received_at=0.0,
    started_at=0.0,
)


class FixedEmbedder:
    """An embedder with a vector for each length of a text; it can fail, and it can wait."""

    name = "fixed"
    is_local = False

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.failure: str | None = None
        self.may_go = asyncio.Event()
        self.may_go.set()

    async def embed(
        self, call: Call, texts: Sequence[str], timeout_seconds: float
    ) -> list[list[float]] | str:
        self.asked.append((call.id, tuple(texts)))
        await self.may_go.wait()
        if self.failure is not None:
            return self.failure
        return [[float(len(text)), 0.0] for text in texts]


def references(count: int) -> list[Reference]:
    return [Reference(str(index), "fast", f"text {index}") for index in range(count)]


def vectors_of(
    count: int, embedder: FixedEmbedder, saved: SavedVectors, notes: list[str] | None = None
) -> ReferenceVectors:
    return ReferenceVectors(references(count), embedder, saved, [] if notes is None else notes.append)  # type: ignore[arg-type]  # fmt: skip


def test_a_file_keeps_vectors_without_texts(tmp_path: Path) -> None:
    file = tmp_path / "data" / "vectors.msgpack"
    SavedVectors(file).save("m", {"a secret": [0.25, -0.1], "other": [1.0]})
    assert b"secret" not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0
    saved = SavedVectors(file)
    assert saved.find("m", ["a secret", "unknown"]) == {"a secret": (0.25, -0.1)}
    assert saved.find("another model", ["a secret"]) == {}
    SavedVectors(file).save("m", {"new": [1.0]})
    assert saved.find("m", ["a secret", "new"]) == {"new": (1.0,)}
    assert [path.name for path in file.parent.iterdir()] == ["vectors.msgpack"]


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x81\xa1a\x01", b"\x81\xa1a\xc4\x03abc"])
def test_a_file_of_another_form_counts_as_missing(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "vectors.msgpack"
    file.write_bytes(data)
    assert SavedVectors(file).find("m", ["a"]) == {}


async def test_many_turns_ask_once(tmp_path: Path) -> None:
    """Batches have ids of their own, and a restart asks for new texts alone."""
    file, embedder = tmp_path / "vectors.msgpack", FixedEmbedder()
    vectors = vectors_of(40, embedder, SavedVectors(file))
    embedder.may_go.clear()
    waiting = [asyncio.ensure_future(vectors.find(CALL, 5.0)) for _ in range(3)]
    assert await vectors.find(CALL, 0.0) == "the vectors of the exemplars are not there yet"
    embedder.may_go.set()
    for found in await asyncio.gather(*waiting):
        assert found == [(1.0, 0.0)] * 40
    assert [(id, len(texts)) for id, texts in embedder.asked] == [
        ("tg-1.exemplars0", 32),
        ("tg-1.exemplars32", 8),
    ]
    restarted = FixedEmbedder()
    assert await vectors_of(41, restarted, SavedVectors(file)).find(CALL, 5.0) == [(1.0, 0.0)] * 41
    assert restarted.asked == [("tg-1.exemplars0", ("text 40",))]


async def test_after_a_failure_the_next_turn_asks_anew() -> None:
    embedder = FixedEmbedder()
    vectors = vectors_of(1, embedder, SavedVectors(None))
    embedder.failure = "status 403"
    assert await vectors.find(CALL, 5.0) == "no vectors of the exemplars: status 403"
    embedder.failure = None
    assert await vectors.find(CALL, 5.0) == [(1.0, 0.0)]
    assert await vectors.find(CALL, 5.0) == [(1.0, 0.0)]
    assert len(embedder.asked) == 2


async def test_a_folder_that_cannot_be_written_costs_no_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    notes: list[str] = []
    saved = SavedVectors(tmp_path / "file" / "vectors.msgpack")
    assert await vectors_of(1, FixedEmbedder(), saved, notes).find(CALL, 5.0) == [(1.0, 0.0)]
    assert len(notes) == 1
    assert notes[0].startswith("the vectors of exemplars cannot be saved: ")


async def test_a_stop_ends_the_computation() -> None:
    embedder = FixedEmbedder()
    embedder.may_go.clear()
    vectors = vectors_of(1, embedder, SavedVectors(None))
    await vectors.close()
    await vectors.find(CALL, 0.0)
    await vectors.close()
    await asyncio.sleep(0)
    assert len(embedder.asked) <= 1
