"""The SDKs that the tests install know no member that a list has no decision on."""

from collections.abc import Mapping

import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsBase
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from gateway.dialects import DIALECTS
from gateway.dialects.translation import get_translation
from tests.drift.sdk_types import find_undecided

ROOTS: Mapping[str, object] = {
    "openai-chat": CompletionCreateParamsBase,
    "openai-responses": ResponseCreateParamsBase,
    "anthropic-messages": MessageCreateParamsBase,
}
"""The type of a request, by dialect."""


@pytest.mark.parametrize("name", ROOTS)
def test_every_member_of_the_sdk_has_a_decision(name: str) -> None:
    members = get_translation(DIALECTS[name]).request_members
    assert [*find_undecided(ROOTS[name], members, "request")] == []
