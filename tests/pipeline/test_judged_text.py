"""Test what a model that helps to decide sees of a turn: no secrets, and 3,000 characters at most."""

import pytest

from gateway.ledger.redaction_patterns import compile_redactor
from gateway.pipeline.judged_text import prepare_judged_text
from gateway.routing.classifier.text_signals import HEAD_CHARS, MAX_CHARS

SECRET = "sk-" + "a1B2c3D4e5F6g7H8"
MAIL = "jo.doe@example.com"
KEY = (
    "-----BEGIN PRIVATE KEY-----\n"
    + "MIIBVgIBADANBgkqhkiG9w0BAQ\n" * 400
    + "-----END PRIVATE KEY-----"
)


def test_a_short_text_without_secrets_stays_as_it_is() -> None:
    for text in ("", "Hello", "a" * MAX_CHARS, 'He said: "2 + 2"\n\t\u2028 \U0001f600'):
        assert prepare_judged_text(text) == text


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    for length in (MAX_CHARS + 1, 20_000):
        text = prepare_judged_text("a" * length + "b" * length)
        assert len(text) == MAX_CHARS
        assert (text[0], text[-1], text[HEAD_CHARS - 1]) == ("a", "b", "\n")


@pytest.mark.parametrize("filler", ["", "word " * 350, "word " * 700, "word " * 10_000])
def test_secrets_are_struck_out_in_texts_of_any_length(filler: str) -> None:
    text = prepare_judged_text(f"Mail {MAIL} {SECRET} {filler} then {SECRET} to {MAIL}")
    assert SECRET not in text
    assert MAIL not in text
    assert text.startswith("Mail [e-mail] [key]")
    assert text.endswith("then [key] to [e-mail]")


@pytest.mark.parametrize("before", range(HEAD_CHARS - 30, HEAD_CHARS + 3))
def test_a_secret_at_a_cut_leaves_no_part_of_itself(before: int) -> None:
    """A secret that the cut would part is recognised before the cut."""
    lead = ("word " * 1_000)[: before - 1] + " "
    for text in (
        f"{lead}{SECRET} " + "word " * 5_000,
        "word " * 5_000 + f" {SECRET} " + ("word " * 600)[: MAX_CHARS - before],
    ):
        shown = prepare_judged_text(text)
        assert "a1B2" not in shown
        assert "g7H8" not in shown


def test_a_key_file_longer_than_the_judged_text_is_struck_out() -> None:
    """Its beginning is far from the end of the text, where only its last lines would be seen."""
    assert "MIIB" not in prepare_judged_text("word " * 10_000 + KEY)
    assert "MIIB" not in prepare_judged_text(KEY + " word" * 10_000)


def test_the_patterns_of_the_operator_are_struck_out_too() -> None:
    redactors = (compile_redactor(r"PRJ-\d+"), compile_redactor(r"(?s)<<.*>>"))
    text = prepare_judged_text("About PRJ-4711: <<" + "x" * 9_000 + ">> and PRJ-1", redactors)
    assert text == "About [struck out]: [struck out] and [struck out]"
