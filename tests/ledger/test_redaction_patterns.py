"""Redaction patterns: all that they find is removed; a pattern that cannot be used says why."""

import pytest

from gateway.ledger.redaction_patterns import compile_redactor


def test_every_match_of_a_pattern_is_removed() -> None:
    struck = compile_redactor(r"case-\d{4}")
    assert struck("Grüße, case-1234 und case-5678.".encode()) == (
        "Grüße, [struck out] und [struck out].".encode()
    )


def test_a_pattern_works_on_invalid_utf_8() -> None:
    assert compile_redactor("b")(b"a\xffb") == "a\ufffd[struck out]".encode()


@pytest.mark.parametrize(
    ("pattern", "why"),
    [("(", "is not a regular expression: missing"), ("x*", "matches the empty text")],
)
def test_the_error_of_an_unusable_pattern_says_why(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        compile_redactor(pattern)
