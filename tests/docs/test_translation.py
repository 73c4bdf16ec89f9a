"""The page about translation matches the code."""

from tests.docs import translation


def test_the_tables_are_those_of_the_code() -> None:
    text = translation.PAGE.read_text()
    assert translation.page(text) == text, "run: python -m tests.docs.translation"
