"""Schemas in both directions: words that Gemini does not take, and its OpenAPI objects."""

from typing import Any

import pytest

from gateway.dialects.gemini import schema


@pytest.mark.parametrize(
    ("given", "fitted", "lost"),
    [
        ({"type": "string", "$schema": "x", "examples": [1]}, {"type": "string"}, set()),
        ({"const": "a"}, {"enum": ["a"], "type": "string"}, set()),
        ({"const": None}, {"enum": [None]}, set()),
        ({"const": 1, "type": "number"}, {"enum": [1], "type": "number"}, set()),
        ({"exclusiveMinimum": 1, "minimum": 0}, {"minimum": 0}, {"exclusiveMinimum"}),
        ({"properties": {"const": {"const": True}}}, {"properties": {"const": {"enum": [True], "type": "boolean"}}}, set()),
        ({"$defs": {"A": {"not": {}}}, "$ref": "#/$defs/A"}, {"$defs": {"A": {}}, "$ref": "#/$defs/A"}, {"not"}),
        ({"anyOf": [{"const": 1}, True]}, {"anyOf": [{"enum": [1], "type": "integer"}, True]}, set()),
        ({"items": {"const": 1.5}, "additionalProperties": False}, {"items": {"enum": [1.5], "type": "number"}, "additionalProperties": False}, set()),
        (True, True, set()),
    ],
)  # fmt: skip
def test_words_that_gemini_does_not_take(given: Any, fitted: Any, lost: set[str]) -> None:
    found: set[str] = set()
    assert schema.fit(given, found) == fitted
    assert found == lost


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"type": "OBJECT", "properties": {"any_of": {"type": "STRING"}}, "propertyOrdering": ["any_of"]}, {"type": "object", "properties": {"any_of": {"type": "string"}}}),
        ({"type": "STRING", "nullable": True, "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"any_of": [{"type": "INTEGER"}], "nullable": True}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ({"nullable": True, "type": "ARRAY", "items": {"type": "NUMBER"}, "min_items": "2"}, {"type": ["array", "null"], "items": {"type": "number"}, "minItems": 2}),
        ({"nullable": True}, {}), ({"nullable": False}, {}), ({"example": 1}, {"examples": [1]}),
        ({"ref": "#/defs/A", "defs": {"A": {"type": "STRING"}}}, {"$ref": "#/$defs/A", "$defs": {"A": {"type": "string"}}}),
        (None, None),
    ],
)  # fmt: skip
def test_openapi_becomes_json_schema(given: Any, plain: Any) -> None:
    assert schema.plain(given) == plain
