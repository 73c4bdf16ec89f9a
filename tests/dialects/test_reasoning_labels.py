"""Labels on reasoning state name the state's maker and never change the state itself."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.target import Account
from gateway.dialects.reasoning_state import LABEL_PREFIX, hash_maker, split_label, write_label
from tests.dialects.cases import HERE, target

LABEL = "0123456789abcdef"


@given(st.text(max_size=30))
def test_a_labelled_state_splits_into_label_and_state(state: str) -> None:
    assert split_label(write_label(LABEL, state)) == (LABEL, state)


def test_a_label_is_written_before_the_state() -> None:
    assert write_label(LABEL, "EqoB.x==") == "tg1.0123456789abcdef.EqoB.x=="


@pytest.mark.parametrize(
    "state", ["", "EqoBCkgIARABGAI", "gAAAA", "tg1", "tg1.", "tg1.half", "xtg1.a.b"]
)
def test_a_providers_unlabelled_state_has_no_maker(state: str) -> None:
    assert split_label(state) == (None, state)


def test_provider_model_and_dialect_make_a_maker() -> None:
    """Effort, accounts and other differences do not separate a model from its own state."""
    maker = hash_maker(target("m"), "gemini")
    rich = msgspec.structs.replace(HERE, accounts=(Account("a", "s"),))
    same = msgspec.structs.replace(target("m", effort="high"), provider=rich)
    assert hash_maker(same, "gemini") == maker
    elsewhere = msgspec.structs.replace(HERE, name="there")
    others = [
        hash_maker(target("n"), "gemini"),
        hash_maker(target("m"), "openai-chat"),
        hash_maker(msgspec.structs.replace(target("m"), provider=elsewhere), "gemini"),
    ]
    assert len({maker, *others}) == 4


def test_a_makers_hash_is_short_and_stable() -> None:
    assert hash_maker(target("m"), "gemini") == "5766c2af6cdbf973"
    assert write_label(hash_maker(target("m"), "gemini"), "s").startswith(LABEL_PREFIX)
