"""The page about labs shows the labs that ship."""

from tests.docs import labs


def test_the_tables_are_those_of_the_labs_that_ship() -> None:
    text = labs.PAGE.read_text("utf-8")
    assert labs.page(text) == text, "run: python -m tests.docs.labs"
