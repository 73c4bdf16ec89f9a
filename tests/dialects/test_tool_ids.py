"""Ids of tool calls: every dialect accepts them, and a use and its result have the same."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.tool_ids import make_plain_id, make_short_id


@given(st.text(max_size=80))
def test_every_dialect_accepts_a_plain_id_and_it_is_stable(id: str) -> None:
    plain = make_plain_id(id)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", plain)
    assert make_plain_id(plain) == plain
    assert re.fullmatch(r"[A-Za-z0-9]{9}", make_short_id(id))
    assert make_short_id(make_short_id(id)) == make_short_id(id)


@pytest.mark.parametrize("id", ["call_abc-1", "toolu_01", "x" * 64, "_"])
def test_a_plain_id_stays_unchanged(id: str) -> None:
    assert make_plain_id(id) == id


def test_any_other_id_becomes_a_hash_of_itself() -> None:
    assert make_plain_id("functions.f:0") == "call_160fdb81bb16c004d2a1ec53"
    assert make_plain_id("functions.f:1") != make_plain_id("functions.f:0")
    assert make_plain_id("\ud800", "toolu_").startswith("toolu_")
    assert make_plain_id("", "tool_") == make_plain_id("", "tool_")


@given(st.lists(st.text(max_size=80), unique=True, max_size=20))
def test_different_ids_stay_different(ids: list[str]) -> None:
    assert len(set(map(make_plain_id, ids))) == len(ids)


def test_mistral_gets_ids_of_nine_letters_and_digits() -> None:
    assert make_short_id("abcdefgh1") == "abcdefgh1"
    assert (make_short_id("call_1234"), len(make_short_id("abcdefgh\u00e9"))) != ("call_1234", 0)
    assert make_short_id("call_1") != make_short_id("call_2")
