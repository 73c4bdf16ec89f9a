"""A beta header is named once where a word asks for what no other dialect gets."""

import pytest

from gateway.dialects import ANTHROPIC_MESSAGES, DIALECTS, OPENAI_CHAT, TranslatableRequest
from gateway.dialects.beta_headers import NO_BETA_HEADER, BetaHeader, find_lost_betas
from gateway.dialects.member_list import ignore, name_loss
from gateway.dialects.translation import get_translation
from tests.dialects.cases import target

HEADER = BetaHeader(
    "x-beta",
    {"one": ignore("needs none"), "two": name_loss("has no two"), "six": name_loss("has no six")},
)
BODY = b'{"model":"auto","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'


@pytest.mark.parametrize(
    ("value", "reasons"),
    [
        ("", []),
        (" , ", []),
        ("one", []),
        ("one,two", ["has no two"]),
        ("one, two ,six", ["has no two"]),
        ("new,two", ["gets no beta that the gateway does not know"]),
    ],
)
def test_the_first_lost_beta_gives_the_reason(value: str, reasons: list[str]) -> None:
    members = [*find_lost_betas({"x-beta": value}, HEADER)]
    assert [(member.path, member.reason) for member in members] == [
        ("x-beta", reason) for reason in reasons
    ]
    assert [*find_lost_betas({"x-beta": value}, NO_BETA_HEADER)] == []


@pytest.mark.parametrize("name", DIALECTS)
def test_each_known_beta_of_a_dialect_has_a_decision_and_a_reason(name: str) -> None:
    header = get_translation(DIALECTS[name]).beta_header
    assert header.name == header.name.lower()
    assert {word.decision for word in header.words.values()} <= {"named", "ignored"}
    assert all(word.reason for word in header.words.values())
    assert not header.name or header.name.encode() in DIALECTS[name].forwarded_headers


@pytest.mark.parametrize(
    ("betas", "names"),
    [
        ("claude-code-20250219,interleaved-thinking-2025-05-14", []),
        ("claude-code-20250219,dev-full-thinking-2025-05-14", ["anthropic-beta"]),
        ("tomorrow-2027-01-01", ["anthropic-beta"]),
    ],
)
def test_a_translated_request_names_the_beta_header_as_a_loss(betas: str, names: list[str]) -> None:
    body = ANTHROPIC_MESSAGES.read(BODY)
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": betas}
    request = TranslatableRequest(ANTHROPIC_MESSAGES, body, headers=headers)
    for dialect in (OPENAI_CHAT, DIALECTS["gemini"]):
        losses = request.list_losses(dialect, target())
        assert [loss.field for loss in losses] == names
        assert all(loss.action == "dropped" for loss in losses)
