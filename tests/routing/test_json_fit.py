"""An answer fits a JSON schema, or certainly does not; a doubtful answer counts as fitting."""

from typing import Any

import pytest

from gateway.core import jsonio
from gateway.routing import json_fit

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": ["integer", "null"]},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
        "best": {"$ref": "#/$defs/friend"},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"friend": {"anyOf": [{"type": "boolean"}, {"const": "nobody"}]}},
}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ('{"name": "Ada"}', True),
        ('{"name": "Ada", "age": 36, "tags": ["a", "b"], "best": "nobody"}', True),
        ('{"name": "Ada", "age": null, "best": true}', True),
        ('{"name": "Ada", "age": 36.0}', True),
        ("", False),
        ("Ada", False),
        ('```json\n{"name": "Ada"}\n```', False),
        ('{"name": "Ada"', False),
        ("[]", False),
        ("{}", False),
        ('{"name": 1}', False),
        ('{"name": "Ada", "age": true}', False),
        ('{"name": "Ada", "age": "36"}', False),
        ('{"name": "Ada", "age": 36.5}', False),
        ('{"name": "Ada", "tags": ["a", "c"]}', False),
        ('{"name": "Ada", "best": "somebody"}', False),
        ('{"name": "Ada", "sex": "f"}', False),
    ],
)
def test_a_text_fits_the_schema_or_not(text: str, fits: bool) -> None:
    assert json_fit.fits(text, PERSON) is fits


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1, None),
        (1, True),
        (1, {"type": "colour"}),
        (1, {"type": {"odd": 1}}),
        (1, {"anyOf": []}),
        (1, {"anyOf": {}}),
        (1, {"$ref": "https://example.com/schema"}),
        (1, {"$ref": 3}),
        (1, {"$ref": "#/a/b"}),
        (1, {"enum": 1}),
        (1, {"enum": [2] * 2_001}),
        ({"a": 1}, {"properties": 3, "required": [3]}),
        ({"ab": 1}, {"additionalProperties": False, "patternProperties": {"a": {}}}),
        ([1], {"items": [{"type": "string"}]}),
        (None, {"type": "STRING", "nullable": True}),
        ("a", {"type": "STRING"}),
    ],
)
def test_an_answer_fits_a_schema_that_the_gateway_cannot_check(value: Any, schema: Any) -> None:
    assert json_fit.fits(jsonio.dumps(value).decode(), schema)


def test_the_check_of_a_recursive_schema_ends() -> None:
    assert json_fit.fits("1", {"$ref": "#"})
    tree = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    assert not json_fit.fits('{"next": {"next": {}}}', tree)


def test_a_long_answer_is_checked_up_to_a_bound() -> None:
    numbers = [1] * 50_000
    schema = {"items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}
    assert json_fit.fits(jsonio.dumps([*numbers, None]).decode(), schema)
    assert not json_fit.fits(jsonio.dumps([None, *numbers]).decode(), schema)
