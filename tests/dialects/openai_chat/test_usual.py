"""An answer that is as most are says the same to the reader of those as to the reader of any."""

import copy
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.dialects import OPENAI_CHAT
from gateway.dialects.openai_chat.answer import any_glance
from gateway.dialects.openai_chat.usual import Usual

WHOLE = (
    b'{"id":"x","object":"chat.completion","created":1763990000,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"hi","refusal":null,"annotations":[]},"logprobs":null,'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12,'
    b'"prompt_tokens_details":{"cached_tokens":2,"audio_tokens":0},"completion_tokens_details":'
    b'{"reasoning_tokens":3,"audio_tokens":0,"accepted_prediction_tokens":0,'
    b'"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp"}'
)
CALL = b'[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]'
ODD: list[Any] = [
    None, True, 0, 1, 2, 5, 7, 12, -1, 2**40, 2**40 + 1, 1.0, 1.5, "", "x", "priority", "\U0001f600",
    [], {}, [{}], {"a": 1}, {"cached_tokens": 1}, {"code": 500},
]  # fmt: skip
SPOILS = [b"", b" ", b'"', b"\\", b"\xff", b"\x01", b"9", b"e9", b",", b"{", b"null"]
PLACES: list[tuple[str | int, ...]] = [
    (), ("usage",), ("usage", "prompt_tokens_details"), ("usage", "completion_tokens_details"),
    ("choices", 0), ("choices", 0, "message"), ("choices", 0, "message", "tool_calls", 0),
    ("choices", 0, "message", "tool_calls", 0, "function"),
]  # fmt: skip
OTHERS = ["error", "cost", "x_groq", "reasoning_content", "service_tier"]


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """What a host may send: as most do, but for a few members; some of it spoilt."""
    value = jsonio.loads(WHOLE.replace(b"[]}", b'[],"tool_calls":' + CALL + b"}"))
    for _ in range(draw(st.integers(0, 2))):
        place: Any = value
        for step in draw(st.sampled_from(PLACES)):
            known = {**place} if isinstance(place, dict) else {}
            place = known.get(step) if isinstance(step, str) else [*(place or []), None][0]
            if not isinstance(place, dict | list):
                break
        if isinstance(place, dict):
            name = draw(st.sampled_from([*place, *OTHERS]))
            if draw(st.booleans()):
                place.pop(name, None)
            else:
                place[name] = copy.deepcopy(draw(st.sampled_from(ODD)))
    if draw(st.integers(0, 3)):
        return jsonio.dumps(value)
    data = jsonio.dumps(value)
    at = draw(st.integers(0, 300))
    return data[:at] + draw(st.sampled_from(SPOILS)) + data[at + draw(st.integers(0, 1)) :]


SPOILT = [
    (b'"hi"', b'"\xff"'), (b'"hi"', b'"\xed\xa0\x80"'), (b'"hi"', rb'"\ud800"'),
    (b'"hi"', rb'"\ud800\u0041"'), (b'"hi"', b'"\x01"'), (b'"hi"', b"1e999"), (b'"hi"', b"NaN"),
    (b"1763990000", b"1e999"), (b"1763990000", b"1.0"), (b"1763990000", b"9" * 400),
    (b"1763990000", b"017"), (b'"id":"x"', b'"\xff":1'), (b'"id":"x"', b'"\\ud800":1'),
    (b'"model":"m"', b'"model":"m","model":7'), (b'"model":"m"', b'"model":7,"model":"n"'),
    (b'"model"', rb'"m\u006fdel"'), (b"[]}", b"[{}]}"), (b"}", b"},"), (b"fp", b"fp\x7f"),
    (b'"default"', b'"Priority"'), (b":5,", b":5.0,"), (b":5,", b":-0,"), (b":12,", b":13,"),
    (b":5,", b":true,"), (b'{"id', b'\xef\xbb\xbf{"id'), (b'"fp"}', b'"fp"}}'),
]  # fmt: skip


@given(answers())
@example(WHOLE)
def test_both_readers_say_the_same(data: bytes) -> None:
    found = Usual().glance(data)
    assert found is None or found == any_glance(data)
    assert OPENAI_CHAT.summarize(data) == any_glance(data)


@pytest.mark.parametrize(("old", "new"), SPOILT)
def test_what_is_spoilt_is_spoilt_to_both(old: bytes, new: bytes) -> None:
    data = WHOLE.replace(old, new)
    assert data != WHOLE
    found = Usual().glance(data)
    assert found is None or found == any_glance(data)


def test_the_usual_answer_is_read_at_once() -> None:
    found = Usual().glance(WHOLE)
    assert found is not None
    assert found == any_glance(WHOLE)


def test_a_host_that_writes_others_is_seldom_tried_and_found_again() -> None:
    usual, other = Usual(), b'{"choices":[],"timings":{}}'
    for _ in range(8):
        assert usual.glance(other) is None
    tried = [usual.glance(WHOLE) is not None for _ in range(65)]
    assert tried == [False] * 63 + [True] * 2


@pytest.mark.parametrize("word", [b'""', b'"error"', b'"Network_Error"', b"null"])
def test_an_end_that_is_none_is_for_the_other_reader(word: bytes) -> None:
    data = WHOLE.replace(b'"finish_reason":"stop"', b'"finish_reason":' + word)
    assert data != WHOLE
    assert Usual().glance(data) is None
