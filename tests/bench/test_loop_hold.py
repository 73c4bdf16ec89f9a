"""The bench of the event loop: its cases, and the effect of a missed bound."""

import json

import pytest

from bench import loop_hold
from bench.loop_hold import Figures
from bench.loop_shapes import (
    MODELS,
    TEXTS,
    VALUES,
    list_answers,
    list_requests,
    make_answer,
)
from bench.loop_streams import list_others, list_streams
from gateway.core import json_size

CASES = [*list_requests(), *list_answers()]


def figures(
    loop: float = 1.0, call: float = 1.0, memory: int = 0, *, character_bytes: int = 1
) -> Figures:
    """Make the figures of a case of 1 MB with 1,000 values."""
    return Figures(
        case=CASES[0], status=200, size=1_000_000, values=1_000, loop=loop, call=call,
        call_name="loads", cpu=1.0, memory=memory, character_bytes=character_bytes,
    )  # fmt: skip


def test_each_case_is_json_of_about_its_size() -> None:
    size = 20_000
    for case in CASES:
        data = loop_hold.make_data(case, size)
        json.loads(data)
        if case.is_text:
            assert size * 0.5 <= len(data) <= size * 3, case
        else:
            assert size * 0.5 <= json_size.bound_values(data) <= size * 1.2, case


def test_each_stream_has_frames_of_json() -> None:
    size = 20_000
    for case in list_streams():
        payloads = [
            line.removeprefix(b"data: ")
            for line in loop_hold.make_data(case, size).splitlines()
            if line.startswith(b"data: ")
        ]
        assert all(json.loads(it) for it in payloads if it != b"[DONE]"), case
        assert size * 0.3 <= sum(map(len, payloads)) <= size * 6, case


def test_each_line_of_a_file_and_each_message_is_json() -> None:
    for case in list_others():
        data = loop_hold.make_data(case, 20_000)
        if case.is_upload or case.is_session:
            assert [json.loads(line) for line in data.splitlines() if line] or not data.strip()


def test_every_endpoint_is_measured_with_every_shape() -> None:
    requests = {(case.endpoint, case.target) for case in list_requests()}
    assert {(name, target) for name in MODELS for target in MODELS} <= requests
    forms = {case.form for case in list_requests()}
    assert {f"member of {shape}" for shape in VALUES} <= forms
    assert {f"text of {shape}" for shape in TEXTS} <= forms


def test_no_two_small_requests_are_equal() -> None:
    """The cache would answer the second one."""
    case = next(iter(list_answers()))
    assert loop_hold.make_small_request(case) != loop_hold.make_small_request(case)


@pytest.mark.parametrize(
    ("measured", "met"),
    [
        (figures(), True),
        (figures(loop=51.0), False),
        (figures(call=51.0), False),
        (figures(memory=24_000_000), True),
        (figures(memory=25_000_000), False),
        (figures(memory=25_000_000, character_bytes=4), True),
    ],
)
def test_a_bound_that_is_missed_shows(measured: Figures, *, met: bool) -> None:
    assert measured.met == met
    assert loop_hold.render(measured).startswith(" " if met else "!")


@pytest.mark.parametrize(
    ("text", "size"), [("a\u00e9", 1), ("\u0101", 2), ("\u8a9e", 2), ("\U0001f600", 4)]
)
def test_a_text_has_the_size_that_python_takes(text: str, size: int) -> None:
    assert loop_hold.measure_characters(text.encode()) == size
    assert loop_hold.measure_characters(json.dumps(text).encode()) == size


def test_a_provider_answers_each_dialect() -> None:
    for name in MODELS:
        assert json.loads(make_answer(name))
