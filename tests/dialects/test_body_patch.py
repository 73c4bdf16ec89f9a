"""Changes to a body: which members change, in which order, and which keep their bytes."""

import pytest

from gateway.dialects import OPENAI_CHAT
from gateway.dialects.body_patch import BodyPatch


def edit(more: bytes = b"") -> BodyPatch:
    return BodyPatch(OPENAI_CHAT.read(b'{"model":"m","messages":[]' + more + b"}"))


def test_two_members_within_one_that_the_body_lacks_both_stay() -> None:
    changed = edit()
    changed.set_inner_member("a", "b", 1)
    changed.set_inner_member("a", "c", 2)
    assert changed.finish().body == b'{"model":"m","messages":[],"a":{"b":1,"c":2}}'


def test_what_stands_in_a_member_keeps_its_bytes() -> None:
    changed = edit(b',"a":{ "x" : 1.50 , "y":[ ]}')
    changed.set_inner_member("a", "b", 1)
    changed.set_inner_member("a", "y", None)
    assert changed.finish().body == b'{"model":"m","messages":[],"a":{"x":1.50,"b":1}}'


@pytest.mark.parametrize("held", [b"", b',"a":null', b',"a":{}', b',"a":{"b":1}'])
def test_a_member_with_nothing_in_it_is_taken_out(held: bytes) -> None:
    changed = edit(held)
    changed.set_inner_member("a", "b", None)
    assert changed.finish().body == b'{"model":"m","messages":[]}'


def test_a_member_set_anew_is_what_the_next_change_sees() -> None:
    changed = edit(b',"a":{"b":1}')
    changed.set_member("a", {"c": 2})
    changed.set_inner_member("a", "d", 3)
    changed.remove("a")
    changed.set_inner_member("a", "e", 4)
    assert changed.finish().body == b'{"model":"m","messages":[],"a":{"e":4}}'
