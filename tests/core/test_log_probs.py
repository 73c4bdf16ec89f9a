"""Answers with too many log probabilities are read without them, and nothing else is left out."""

import random
from typing import Any

import orjson
import pytest

from gateway.core import json_size, jsonio, log_probs

NAMES = ("logprobs", "logprobsResult", "text", 'a"logprobs', "logprobs\\", "\\\\", "é")


@pytest.fixture(autouse=True)
def low_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few values be too many, and slices short."""
    monkeypatch.setattr(json_size, "MAX_VALUES", 20)
    monkeypatch.setattr(log_probs, "_SLICE_BYTES", 7)


def make_value(random: random.Random, depth: int = 0) -> Any:
    """Make a value whose names and texts look like brackets, quotes and log probabilities."""
    texts = ["]", "}", '"', "\\", '\\"', '"logprobs":[', '\\"logprobs":{', "x"]
    kind = random.randrange(4 if depth < 4 else 2)
    if kind == 0:
        return random.choice([1, 1.5, None, True])
    if kind == 1:
        return "".join(random.choices(texts, k=3))
    if kind == 2:
        return [make_value(random, depth + 1) for _ in range(random.randrange(5))]
    return {random.choice(NAMES): make_value(random, depth + 1) for _ in range(5)}


def make_readable(data: bytes) -> bytes:
    """Return what can be read of an answer that can."""
    readable_data = log_probs.make_readable(data, log_probs.ALL_MEMBERS)
    assert readable_data is not None
    return readable_data


def leave_out(value: Any) -> Any:
    """Leave out log probabilities by the parsed value."""
    if isinstance(value, list):
        return [*map(leave_out, value)]
    if not isinstance(value, dict):
        return value
    return {
        name: None
        if name in ("logprobs", "logprobsResult") and isinstance(it, list | dict)
        else leave_out(it)
        for name, it in value.items()
    }


@pytest.mark.parametrize("seed", range(200))
def test_only_log_probabilities_are_left_out(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_size, "MAX_VALUES", 3_000)
    log_prob_rows = [{"b": "]"}, *range(3_000)]
    value = [make_value(random.Random(seed)), {"logprobs": log_prob_rows, "x": 1}]
    for data in (orjson.dumps(value), orjson.dumps(value, option=orjson.OPT_INDENT_2)):
        readable_data = make_readable(data)
        assert orjson.loads(readable_data) == leave_out(value)


def test_an_answer_with_few_values_stays_as_it_is() -> None:
    data = b'{"choices": [{"logprobs": {"content": [1]}}]}'
    assert make_readable(data) is data
    assert log_probs.loads_answer(data) == jsonio.loads(data)


def test_only_members_of_the_dialect_are_left_out() -> None:
    data = orjson.dumps({"args": {"logprobs": [1]}, "logprobsResult": [*range(30)]})
    readable_data = log_probs.make_readable(data, log_probs.MEMBERS["gemini"])
    assert readable_data is not None
    assert orjson.loads(readable_data) == {"args": {"logprobs": [1]}, "logprobsResult": None}


def test_nothing_is_left_out_in_a_dialect_without_log_probabilities() -> None:
    """There it is a list that a model gives to a tool."""
    data = orjson.dumps({"type": "tool_use", "input": {"logprobs": [*range(30)]}})
    assert "anthropic-messages" not in log_probs.MEMBERS
    assert log_probs.make_readable(data, ()) is None


def test_each_answer_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted again only if log probabilities are left out."""
    counted: list[bytes] = []
    exceeds = json_size.exceeds

    def record(data: bytes, max_values: int) -> bool:
        counted.append(data)
        return exceeds(data, max_values)

    monkeypatch.setattr(json_size, "exceeds", record)
    short, long = b"[1]", orjson.dumps({"logprobs": [*range(30)], "x": 1})
    log_probs.loads_answer(short)
    assert counted == [short]
    log_probs.loads_answer(long)
    assert counted == [short, long, b'{"logprobs":null,"x":1}']


def test_a_long_answer_is_read_without_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts beside the pictures are there, and little of the pictures."""
    answer = {"data": [{"b64_json": "QUJD" * 9_000}], "usage": {"output_tokens": 7}}
    data = orjson.dumps(answer)
    assert log_probs.loads_answer(data) == answer
    monkeypatch.setattr(log_probs, "_LONG_BYTES", 1_000)
    monkeypatch.setattr(json_size, "_SLICE_BYTES", 64)
    value = log_probs.loads_answer(data)
    assert value["usage"] == answer["usage"]
    assert len(value["data"][0]["b64_json"]) < 200


@pytest.mark.parametrize("tail", [b"", b"[[[", b'"\\', b'{"a":"' + b"\\" * 99])
def test_a_broken_answer_is_no_answer(tail: bytes) -> None:
    with pytest.raises(jsonio.JsonError):
        log_probs.loads_answer(b'{"logprobs":[' + b"1," * 30 + tail)


def test_other_members_with_too_many_values_are_not_read() -> None:
    with pytest.raises(jsonio.JsonError, match="too many values"):
        log_probs.loads_answer(orjson.dumps({"logprobs": [1], "x": [*range(500_000)]}))
