"""Every host's usage, read into five classes that never overlap."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gateway.core.usage import Usage
from gateway.dialects.openai_chat import usage
from tests.dialects.cases import Object

COUNT = st.integers(0, 10**7)


class Classes(NamedTuple):
    """The tokens that a model really used."""

    fresh: int
    read: int
    written: int
    shown: int
    reasoned: int

    @property
    def prompt(self) -> int:
        return self.fresh + self.read + self.written

    @property
    def completion(self) -> int:
        return self.shown + self.reasoned


def _openai(c: Classes) -> Object:
    return {
        "prompt_tokens": c.prompt,
        "completion_tokens": c.completion,
        "total_tokens": c.prompt + c.completion,
        "prompt_tokens_details": {"cached_tokens": c.read, "cache_write_tokens": c.written},
        "completion_tokens_details": {"reasoning_tokens": c.reasoned},
    }


def _xai(c: Classes) -> Object:
    """Count reasoning beside completion_tokens, inside total_tokens."""
    return {**_openai(c), "completion_tokens": c.shown}


def _together(c: Classes) -> Object:
    """Put everything at the top level."""
    return {
        "prompt_tokens": c.prompt,
        "completion_tokens": c.completion,
        "total_tokens": c.prompt + c.completion,
        "cached_tokens": c.read,
        "cache_creation_input_tokens": c.written,
        "reasoning_tokens": c.reasoned,
    }


def _deepseek(c: Classes) -> Object:
    return {
        "prompt_tokens": c.prompt,
        "prompt_cache_hit_tokens": c.read,
        "prompt_cache_miss_tokens": c.fresh + c.written,
        "completion_tokens": c.completion,
        "completion_tokens_details": {"reasoning_tokens": c.reasoned},
    }


def _google(c: Classes) -> Object:
    """Count reasoning in the total alone."""
    return {
        "prompt_tokens": c.prompt,
        "completion_tokens": c.shown,
        "total_tokens": c.prompt + c.completion,
    }


HOSTS: list[Callable[[Classes], Object]] = [_openai, _xai, _together, _deepseek, _google]


@given(st.builds(Classes, COUNT, COUNT, COUNT, COUNT, COUNT), st.sampled_from(HOSTS))
def test_every_hosts_usage_reads_as_the_tokens_that_were_used(
    used: Classes, host: Callable[[Classes], Object]
) -> None:
    if host is _deepseek:
        used = used._replace(fresh=used.fresh + used.written, written=0)
    if host is _google:
        used = used._replace(fresh=used.prompt, read=0, written=0)
    if host is _xai:
        assume(used.reasoned > 0)
    read = usage.read(host(used))
    assert read is not None
    if host is _google:
        expected = Usage(input=used.fresh, output=used.shown, reasoning=used.reasoned or None)
        assert read == expected
        return
    assert read == Usage(
        input=used.fresh,
        cache_read=used.read,
        cache_write={"": used.written} if used.written else {},
        output=used.shown,
        reasoning=used.reasoned,
    )
    assert read.prompt == used.prompt
    assert read.completion == used.completion


ANY: st.SearchStrategy[Any] = st.sampled_from([None, -1, 0, 3, 7, 50, 2.0, 2.5, True, "7", {}, []])


@example({"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 7, "cached_tokens": 2}, {})
@given(
    st.dictionaries(
        st.sampled_from(
            ["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "prompt_cache_hit_tokens",
             "cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_tokens"]
        ),
        ANY,
    ),
    st.dictionaries(st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens"]), ANY) | ANY,
)  # fmt: skip
def test_contradictory_counts_read_as_consistent_sums(counts: Object, inside: Any) -> None:
    """Contradictory counts give consistent sums: the prompt is what the host calls the prompt.

    One exception is a total beyond both sides by exactly what the cache read and took.
    """
    reported = {**counts, "prompt_tokens_details": inside, "completion_tokens_details": inside}
    read = usage.read(reported)
    if read is None:
        return
    classes = [
        read.input,
        read.cache_read,
        read.output,
        read.reasoning,
        *read.cache_write.values(),
    ]
    assert all(item is None or item >= 0 for item in classes)
    prompt, completion = reported.get("prompt_tokens"), reported.get("completion_tokens")
    if read.input is not None and read.prompt != prompt:
        beyond = reported["total_tokens"] - prompt - completion
        assert read.prompt == prompt + beyond
        assert 0 < beyond == (read.cache_read or 0) + sum(read.cache_write.values())
    if read.completion is not None:
        assert completion is not None
        assert read.completion >= completion


@pytest.mark.parametrize(
    "chunk",
    [
        {},
        {"usage": None},
        {"usage": {}},
        {"usage": 7},
        {"usage": {"total_tokens": 7}},
        {"usage": {"prompt_tokens": None, "completion_tokens": "3"}},
        {"choices": None, "x_groq": {"id": "r"}},
        {"choices": [7, {"usage": None}], "x_groq": None},
    ],
)
def test_a_chunk_without_counts_has_no_usage(chunk: Object) -> None:
    assert usage.find(chunk) is None


COUNTED = {"prompt_tokens": 3, "completion_tokens": 4}


@pytest.mark.parametrize(
    "chunk",
    [
        {"usage": COUNTED},
        {"choices": [{"index": 0, "usage": COUNTED}]},
        {"choices": [], "x_groq": {"id": "r", "usage": COUNTED}},
        {"usage": None, "choices": [{"usage": COUNTED}]},
        {"usage": COUNTED, "choices": [{"usage": {"prompt_tokens": 9}}]},
    ],
)
def test_usage_is_read_wherever_hosts_put_it(chunk: Object) -> None:
    """Moonshot puts it in the choice and Groq in x_groq; the standard place takes precedence."""
    assert usage.find(chunk) == Usage(input=3, output=4)


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        # Reasoning beyond the completion cannot be inside it.
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 9}},
            Usage(input=5, output=2, reasoning=9),
        ),
        # More was cached than was sent: a part is never more than the whole.
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 9}},
            Usage(input=0, cache_read=5, output=2),
        ),
        # A total beyond both, by another amount than the reasoning.
        (
            {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 20, "reasoning_tokens": 3},
            Usage(input=5, output=1, reasoning=3),
        ),
        # One side alone.
        ({"prompt_tokens": 5}, Usage(input=5)),
        ({"completion_tokens": 5, "total_tokens": 9}, Usage(output=5)),
        (
            {"prompt_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 3}},
            Usage(input=5, reasoning=3),
        ),
        # The first place with counts wins, not the first that exists.
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": None}, "cached_tokens": 1},
            Usage(input=4, cache_read=1, output=2),
        ),
    ],
)  # fmt: skip
def test_contradictory_or_partial_counts_read_as_this_usage(
    reported: Object, expected: Usage
) -> None:
    assert usage.read(reported) == expected
