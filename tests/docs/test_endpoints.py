"""The page about endpoints matches the tables that the gateway serves."""

from tests.docs import endpoints


def test_the_tables_are_those_of_the_code() -> None:
    text = endpoints.PAGE.read_text("utf-8")
    assert endpoints.page(text) == text, "run: python -m tests.docs.endpoints"
