"""Near answers: never another key's, never for another question, and never a long wait."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.key import Sharing
from gateway.cache.semantic.vector_index import LocalVectorIndex
from gateway.core.call import Key
from gateway.core.target import Provider, Target
from tests.cache.semantic.semantic_cache_fixture import (
    ONE,
    OTHER,
    TARGET,
    Fixed,
    SemanticCacheFixture,
    asking,
    read,
)

ANNA, BORIS = Key(name="anna", tenant="a"), Key(name="boris", tenant="a")
CLARA = Key(name="anna", tenant="b")


async def test_the_same_question_in_other_words_finds_the_answer() -> None:
    """A near question leads to the key of the stored answer; any other question leads nowhere."""
    world = SemanticCacheFixture()
    assert await world.find_answer(asking(OTHER)) is None
    place = await world.save_answer(asking(ONE))
    assert await world.find_answer(asking(OTHER)) == place
    assert await world.find_answer(asking("How do I reset my phone?")) is None


@pytest.mark.parametrize(
    ("sharing", "keys"),
    [("key", []), ("tenant", [BORIS]), ("all", [BORIS, CLARA])],
)
async def test_keys_share_near_answers_as_the_response_cache_does(
    sharing: Sharing, keys: list[Key]
) -> None:
    """A key sees another key's answers only if the configuration shares them."""
    world = SemanticCacheFixture(sharing=sharing)
    await world.save_answer(asking(ONE, key=ANNA))
    assert await world.find_answer(asking(OTHER, key=ANNA))
    for key in (BORIS, CLARA):
        assert (await world.find_answer(asking(OTHER, key=key)) is not None) == (key in keys)


SYSTEM = {"role": "system", "content": "Be brief."}
OTHERS: dict[str, dict[str, Any]] = {
    "a system prompt": {"before": [SYSTEM]},
    "another turn before": {"before": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
    "a cap": {"max_tokens": 10},
    "a schema": {"response_format": {"type": "json_object"}},
    "effort": {"reasoning_effort": "low"},
    "a stop": {"stop": ["."]},
    "the name of a model": {"model": "fast"},
    "a seed": {"seed": 1},
    "who it is for": {"user": "x"},
    "a member of the host's": {"top_k": 3},
    "a header that goes on": {"headers": {"openai-beta": "x"}},
    "another number": {"temperature": 0.0},
}  # fmt: skip


@pytest.mark.parametrize("more", OTHERS.values(), ids=OTHERS)
async def test_a_near_answer_needs_an_equal_rest_of_the_request(more: dict[str, Any]) -> None:
    """The test holds in both directions; if the rest is equal, the answer is found."""
    world = SemanticCacheFixture()
    place = await world.save_answer(asking(ONE))
    assert await world.find_answer(asking(OTHER, **more)) is None
    other_place = await world.save_answer(asking(ONE, **more))
    assert await world.find_answer(asking(OTHER, **more)) == other_place
    assert await world.find_answer(asking(OTHER)) == place


@pytest.mark.parametrize(
    "other",
    [
        msgspec.structs.replace(TARGET, model="gpt-6"),
        msgspec.structs.replace(TARGET, effort="high"),
        msgspec.structs.replace(TARGET, max_output=5),
        msgspec.structs.replace(TARGET, params={"seed": 1}),
        Target(provider=Provider(name="spare", urls={}), model=TARGET.model),
    ],
)
async def test_targets_share_no_near_answer(other: Target) -> None:
    """A shared answer never crosses models or tiers either."""
    world = SemanticCacheFixture()
    await world.save_answer(asking(ONE))
    assert await world.find_answer(asking(OTHER), other) is None


async def test_equal_earlier_turns_may_share_a_near_answer() -> None:
    world = SemanticCacheFixture()
    before = [SYSTEM, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    place = await world.save_answer(asking(ONE, before=before))
    assert await world.find_answer(asking(OTHER, before=before)) == place


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [TOOL]},
        {"before": [{"role": "user", "content": [IMAGE]}]},
        {"logprobs": True},
        {"cache": "exact"},
    ],
    ids=["tools", "an image", "logprobs", "opted out"],
)
async def test_a_request_with_tools_images_or_logprobs_is_not_compared(
    more: dict[str, Any],
) -> None:
    world = SemanticCacheFixture()
    call = asking(ONE, **more)
    assert world.near.make_question(call, read(call), TARGET) is None


async def test_a_large_request_is_not_compared() -> None:
    """The last question may be short, but the gateway would have to read all before it."""
    call = asking(ONE, before=[{"role": "user", "content": "x" * 100_000}])
    assert SemanticCacheFixture().near.make_question(call, read(call), TARGET) is None


async def test_an_operation_without_an_answer_is_not_compared() -> None:
    call = msgspec.structs.replace(
        asking(ONE), operation="embeddings", body=b'{"model":"m","input":"x"}'
    )
    assert SemanticCacheFixture().near.make_question(call, read(call), TARGET) is None


@given(st.text(), st.text())
def test_no_typed_text_puts_two_keys_into_one_group(text: str, other_text: str) -> None:
    """The groups of two keys differ for any texts, equal ones included."""
    world = SemanticCacheFixture()
    questions = [
        world.near.make_question(call, read(call), TARGET)
        for call in (asking(text, key=ANNA), asking(text, key=CLARA), asking(other_text, key=BORIS))
    ]
    groups = [question.group for question in questions if question is not None]
    assert len(set(groups)) == len(groups)


async def test_a_group_name_cannot_be_computed_without_the_secret() -> None:
    world, other_world = SemanticCacheFixture(), SemanticCacheFixture(secret=b"o" * 32)
    call = asking(ONE)
    question, other_question = (
        each.near.make_question(call, read(call), TARGET) for each in (world, other_world)
    )
    assert question is not None
    assert other_question is not None
    assert question.group != other_question.group
    assert "password" not in question.group


async def test_a_moved_entry_serves_no_other_group() -> None:
    """Anyone who writes to the store can put a name there, but it is sealed for its own group."""
    world = SemanticCacheFixture()
    await world.save_answer(asking(ONE, key=ANNA))
    call = asking(OTHER, key=BORIS)
    mine = asking(OTHER, key=ANNA)
    stolen, question = (
        world.near.make_question(typed_call, read(typed_call), TARGET)
        for typed_call in (mine, call)
    )
    assert stolen is not None
    assert question is not None
    ((name, _),) = await world.places.find_nearest(stolen.group, [1.0])
    for written in (name, name[:48], "", "é" * 80, name[:48] + "0" * 32):
        await world.places.add(question.group, written, [1.0], 60.0)
    assert await world.find_answer(call) is None


async def test_an_answer_below_the_threshold_is_not_served() -> None:
    """The form is equal, but the vector is too far away or cannot be compared."""
    for vector, is_served in (
        ([1.0, 0.1], True),
        ([0.6, 0.9], False),
        ([1.0], False),
        ([0.0, 0.0], False),
        (None, False),
    ):
        world = SemanticCacheFixture(embedder=Fixed([1.0, 0.0], vector), threshold=0.85)
        place = await world.save_answer(asking(ONE))
        assert await world.find_answer(asking(OTHER)) == (place if is_served else None)


async def test_a_question_without_a_near_group_makes_no_vector() -> None:
    """A question of a form that nobody asked before costs nothing."""
    embedder = Fixed([1.0])
    world = SemanticCacheFixture(embedder=embedder)
    assert await world.find_answer(asking(ONE)) is None
    assert embedder.within == []


async def test_an_answer_without_a_vector_is_not_stored() -> None:
    world = SemanticCacheFixture(embedder=Fixed(None, [1.0]))
    await world.save_answer(asking(ONE))
    assert await world.find_answer(asking(OTHER)) is None


class StuckIndex(LocalVectorIndex):
    """A vector index that never answers."""

    def __init__(self, *which: str) -> None:
        super().__init__(clock=lambda: 0.0)
        self._which = which

    async def has_entries(self, group: str) -> bool:
        if "any" in self._which:
            await asyncio.Event().wait()
        return await super().has_entries(group)

    async def find_nearest(self, group: str, vector: Any) -> Any:
        await asyncio.Event().wait()


@pytest.mark.parametrize("which", ["any", "nearest"])
async def test_the_look_up_in_a_stuck_index_ends_with_the_timeout(which: str) -> None:
    """The look-up waits for the configured time at most, then it is a miss."""
    world = SemanticCacheFixture(places=StuckIndex(which), timeout=0.001)
    await world.save_answer(asking(ONE))
    assert await world.find_answer(asking(OTHER)) is None


async def test_the_embedder_gets_the_rest_of_the_timeout() -> None:
    embedder = Fixed([1.0])
    world = SemanticCacheFixture(embedder=embedder, timeout=10.0)
    await world.save_answer(asking(ONE))
    await world.find_answer(asking(OTHER))
    assert 0.0 < embedder.within[1] <= 10.0


async def test_an_answer_rated_bad_is_not_served_again() -> None:
    """The question's group shares nothing until its answers expire; other questions go on."""
    world = SemanticCacheFixture()
    other_place = await world.save_answer(asking("What is rain?"))
    call = asking(OTHER, id="call-9")
    await world.save_answer(asking(ONE))
    question = world.near.make_question(call, read(call), TARGET)
    assert question is not None
    answer = await world.near.find(question)
    assert answer is not None
    await world.near.record_served(call, answer)
    await world.near.report_bad("call-8")
    assert await world.find_answer(call) is not None
    await world.near.report_bad("call-9")
    assert await world.find_answer(call) is None
    await world.save_answer(asking(ONE))
    assert await world.find_answer(call) is None
    assert await world.find_answer(asking("Explain what rain is")) == other_place
    world.now = 3600.0
    await world.save_answer(asking(ONE))
    assert await world.find_answer(call) is not None


async def test_the_cache_removes_an_entry_without_its_answer() -> None:
    world = SemanticCacheFixture()
    await world.save_answer(asking(ONE))
    call = asking(OTHER)
    question = world.near.make_question(call, read(call), TARGET)
    assert question is not None
    answer = await world.near.find(question)
    assert answer is not None
    await world.near.remove(answer)
    assert await world.near.find(question) is None
