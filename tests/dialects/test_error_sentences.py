"""A sentence of the gateway after the message of a provider's error."""

import pytest

from gateway.core import jsonio
from gateway.core.errors import Problem
from gateway.dialects.upstream_errors import add_sentence


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (None, None),
        ({"error": {"message": "No.", "code": 4}}, {"error": {"message": "No. Why?", "code": 4}}),
        ({"message": "No.", "id": "a"}, {"message": "No. Why?", "id": "a"}),
        ({"error": {"message": 1}}, {"error": {"message": 1}}),
        ({"error": "No."}, {"error": "No."}),
        ([{"error": {"message": "No."}}], [{"error": {"message": "No."}}]),
    ],
)
def test_the_sentence_follows_the_message_where_it_stands(body: object, changed: object) -> None:
    """A body whose message stands in no usual place stays as it is."""
    problem = Problem(
        kind="upstream_model",
        message="The provider refused.",
        body=None if body is None else jsonio.dumps(body),
    )
    result = add_sentence(problem, "Why?")
    assert result.message == "The provider refused. Why?"
    assert (None if result.body is None else jsonio.loads(result.body)) == changed
