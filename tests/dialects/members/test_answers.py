"""Member lists of answers are true: what is read changes an event, and all else is named once."""

from collections.abc import Iterator, Mapping

import pytest

from gateway.core.events import AnswerMetadata, Failed
from gateway.dialects import TARGET_OPERATIONS
from gateway.dialects.member_list import (
    OTHER,
    READ,
    WHOLE,
    MemberList,
    find_unknown_members,
    find_unread_members,
    ignore,
    name_loss,
    read_inside,
)
from gateway.dialects.stream_frames import Frame, find_unread_in_frame
from gateway.dialects.translation import get_target_translation
from tests.dialects.members import (
    anthropic_messages_answers,
    bedrock_converse_answers,
    gemini_answers,
    openai_chat_answers,
    openai_responses_answers,
)
from tests.dialects.members.answer_samples import (
    AnswerSample,
    AnswerSamples,
    list_names,
    list_samples,
)
from tests.dialects.members.samples import (
    SamplePlace,
    list_members,
    list_places,
    with_member,
    without_member,
)

SAMPLES: Mapping[str, AnswerSamples] = {
    "openai-chat": openai_chat_answers.SAMPLES,
    "anthropic-messages": anthropic_messages_answers.SAMPLES,
    "openai-responses": openai_responses_answers.SAMPLES,
    "gemini": gemini_answers.SAMPLES,
    "bedrock-converse": bedrock_converse_answers.SAMPLES,
}
CANARY = "tiergate_canary"
CASES = [
    pytest.param(name, sample, id=f"{name} {number}")
    for name, samples in SAMPLES.items()
    for number, sample in enumerate(list_samples(samples))
]
NAMED = name_loss("has no place for it")
TOY: MemberList = {
    "answer": {
        "text": READ,
        "size": ignore("counts nothing"),
        "gone": NAMED,
        "parts": read_inside("part", path="content"),
        "inner": read_inside("inner"),
    },
    "inner": {"deep": read_inside("inner")},
    "part:text": {"type": READ},
    "part:lost": {WHOLE: NAMED},
    "part:kept": {WHOLE: READ},
    "event:start": {"type": READ, "message": read_inside("inner")},
    "event:ping": {WHOLE: ignore("needs none")},
    "event:lost": {WHOLE: NAMED},
}


def list_toy_names(answer: object, members: MemberList = TOY) -> list[str]:
    """List what is named of a toy's answer."""
    return [*find_unread_members(answer, members, "answer")]


@pytest.mark.parametrize("value", ["", None, [], {}])
def test_empty_values_are_not_named(value: object) -> None:
    assert list_toy_names({"x": value, "gone": value, "parts": value, "inner": value}) == []


@pytest.mark.parametrize("value", ["a", False, 0, [0], {"a": None}])
def test_unknown_members_are_named_by_their_path(value: object) -> None:
    answer = {"text": "a", "size": 1, "x": value, "inner": {"deep": [{"y": value}, 7]}}
    assert list_toy_names(answer) == ["x", "inner.deep.y"]
    assert list_toy_names({"parts": [{"type": "text", "x": value}]}) == ["content.x"]


def test_a_named_member_that_is_false_is_not_named() -> None:
    assert list_toy_names({"gone": False}) == []
    assert list_toy_names({"gone": True}) == ["gone"]


def test_an_object_is_named_by_its_type() -> None:
    parts = [{"type": "lost"}, {"type": "kept", "x": 1}, {"type": "new"}, {"x": 1}]
    assert list_toy_names({"parts": parts}) == ["content.lost", "content.new", "content"]
    others_are_read = {**TOY, f"part:{OTHER}": {WHOLE: READ}}
    assert list_toy_names({"parts": parts}, others_are_read) == ["content.lost"]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("start", ["start.x", "start.message.y"]),
        ("ping", []),
        ("lost", ["lost"]),
        ("new", ["new"]),
    ],
)
def test_the_type_of_an_event_starts_the_path(kind: str, names: list[str]) -> None:
    frame = Frame({"type": kind, "x": 1, "message": {"y": 1}}, kind=kind)
    assert [*find_unread_in_frame(frame, TOY)] == names


def list_changes(sample: AnswerSample, place: SamplePlace, key: str) -> Iterator[AnswerSample]:
    """Return samples without a member of a place, or with another value of it."""
    yield sample._replace(value=without_member(sample.value, place, key))
    if key != WHOLE:
        value = place.find(sample.value)[key]
        yield sample._replace(value=with_member(sample.value, place, key, change(value)))


def change(value: object) -> object:
    """Return another value of the same type."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case _:
            return None


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_the_samples_decode_to_answers(name: str, sample: AnswerSample) -> None:
    events = sample.decode(TARGET_OPERATIONS[name, "generate"])
    assert events
    assert not any(isinstance(event, Failed) for event in events)


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_an_unknown_member_is_named_in_every_place(name: str, sample: AnswerSample) -> None:
    dialect = TARGET_OPERATIONS[name, "generate"]
    everywhere = sample
    for place in list_places(
        sample.value, get_target_translation(dialect).answer_members, sample.name
    ):
        if not place.is_whole:
            value = with_member(sample.value, place, CANARY, "sings")
            names = list_names(sample._replace(value=value).decode(dialect))
            assert any(name.endswith(CANARY) for name in names), place
            value = with_member(everywhere.value, place, CANARY, "sings")
            everywhere = sample._replace(value=value)
    events = everywhere.decode(dialect)
    names = [event.name for event in events if isinstance(event, AnswerMetadata)]
    assert len(names) == len({*names}), "each name comes once"


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_only_what_no_list_has_is_unknown(name: str, sample: AnswerSample) -> None:
    members = get_target_translation(TARGET_OPERATIONS[name, "generate"]).answer_members
    before = {*find_unknown_members(sample.value, members, sample.name)}
    for place in list_places(sample.value, members, sample.name):
        value = with_member(sample.value, place, CANARY, "sings")
        more = {*find_unknown_members(value, members, sample.name)} - before
        assert all(path.endswith(CANARY) for path in more)
        assert bool(more) is not place.is_whole


def test_an_unknown_type_word_is_named_by_its_path() -> None:
    """Even if a decoder has one way for all others."""
    members = {**TOY, f"part:{OTHER}": {WHOLE: READ}}
    answer = {"parts": [{"type": "new"}, {"type": "text", "x": None}, {"size": 1}, 7], "size": 2}
    assert find_unknown_members(answer, members, "answer") == ["parts.new", "parts.(no type)"]
    assert find_unknown_members("text", members, "answer") == []


@pytest.mark.parametrize("name", SAMPLES)
def test_every_member_marked_as_read_changes_an_event(name: str) -> None:
    dialect = TARGET_OPERATIONS[name, "generate"]
    members = get_target_translation(dialect).answer_members
    unproven = {*list_members(members, ("read", "carried"))}
    for sample in list_samples(SAMPLES[name]):
        before = sample.decode(dialect)
        for place in list_places(sample.value, members, sample.name):
            for key in place.list_keys(sample.value):
                if (place.name, key) in unproven and any(
                    changed.decode(dialect) != before
                    for changed in list_changes(sample, place, key)
                ):
                    unproven.discard((place.name, key))
    assert sorted(unproven) == []


@pytest.mark.parametrize("name", SAMPLES)
def test_every_member_that_is_left_out_is_named(name: str) -> None:
    dialect = TARGET_OPERATIONS[name, "generate"]
    members = get_target_translation(dialect).answer_members
    unproven = {*list_members(members, ("named",))}
    for sample in list_samples(SAMPLES[name]):
        before = {*list_names(sample.decode(dialect))}
        for place in list_places(sample.value, members, sample.name):
            for key in place.list_keys(sample.value):
                if (place.name, key) in unproven:
                    without = sample._replace(value=without_member(sample.value, place, key))
                    if before - {*list_names(without.decode(dialect))}:
                        unproven.discard((place.name, key))
    assert sorted(unproven) == []


@pytest.mark.parametrize("name", SAMPLES)
def test_members_of_answers_are_never_refused_or_approximated(name: str) -> None:
    members = get_target_translation(TARGET_OPERATIONS[name, "generate"]).answer_members
    assert list_members(members, ("refused", "approximated")) == []
