"""Changes to a body: which members change, in which order, and which keep their bytes."""

import pytest

from gateway.dialects import OPENAI_CHAT
from gateway.dialects.body_patch import BodyPatch


def edit(more: bytes = b"") -> BodyPatch:
    return BodyPatch(OPENAI_CHAT.read(b'{"model":"m","messages":[]' + more + b"}"))


def test_two_inner_members_can_be_added_to_a_missing_member() -> None:
    patch = edit()
    patch.set_inner_member("a", "b", 1)
    patch.set_inner_member("a", "c", 2)
    assert patch.finish().body == b'{"model":"m","messages":[],"a":{"b":1,"c":2}}'


def test_the_other_inner_members_keep_their_bytes() -> None:
    patch = edit(b',"a":{ "x" : 1.50 , "y":[ ]}')
    patch.set_inner_member("a", "b", 1)
    patch.set_inner_member("a", "y", None)
    assert patch.finish().body == b'{"model":"m","messages":[],"a":{"x":1.50,"b":1}}'


@pytest.mark.parametrize("member", [b"", b',"a":null', b',"a":{}', b',"a":{"b":1}'])
def test_removing_the_last_inner_member_removes_the_member(member: bytes) -> None:
    patch = edit(member)
    patch.set_inner_member("a", "b", None)
    assert patch.finish().body == b'{"model":"m","messages":[]}'


def test_a_later_change_sees_the_earlier_ones() -> None:
    patch = edit(b',"a":{"b":1}')
    patch.set_member("a", {"c": 2})
    patch.set_inner_member("a", "d", 3)
    patch.remove("a")
    patch.set_inner_member("a", "e", 4)
    assert patch.finish().body == b'{"model":"m","messages":[],"a":{"e":4}}'
