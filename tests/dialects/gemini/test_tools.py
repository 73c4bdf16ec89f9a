"""Calls whose arguments come in pieces, and schemas in both directions."""

import json
from typing import Any

import pytest

from gateway.core.canonical_request import ToolUse
from gateway.core.errors import ProblemError
from gateway.core.events import Event, Failed, Finish, TextDelta, ToolDelta, ToolEnd, ToolStart
from gateway.dialects import translation
from gateway.dialects.gemini import DIALECT, TRANSLATION
from gateway.dialects.gemini.tools import fit_schema, join_calls, to_json_schema
from tests.dialects.gemini.cases import (
    Object,
    ask,
    candidate,
    chunk,
    decode_stream,
    decoded,
    stream,
    text,
    whole,
)

CITY = {"jsonPath": "$.city"}
BEGIN = {"functionCall": {"name": "weather", "id": "c1", "willContinue": True}}
PIECES: list[Object] = [
    BEGIN,
    {"functionCall": {"partialArgs": [{**CITY, "stringValue": "Zü", "willContinue": True}], "willContinue": True}},
    {"functionCall": {"partialArgs": [{**CITY, "stringValue": "rich"}], "willContinue": True}},
    {"functionCall": {"partialArgs": [{"jsonPath": "$.days", "numberValue": 2}], "willContinue": True}},
    {"functionCall": {}},
]  # fmt: skip
"""Pieces as Vertex AI sends them."""
ARGS = {"city": "Zürich", "days": 2}
CALL = {"functionCall": {"name": "weather", "id": "c1", "args": ARGS}}


def piece(path: str, **value: Any) -> Object:
    return {"functionCall": {"partialArgs": [{"jsonPath": path, **value}], "willContinue": True}}


def args(*pieces: Object) -> Object:
    """Return the arguments of one call from the pieces after its beginning."""
    (part,) = join_calls([BEGIN, *pieces])
    arguments: Object = part["functionCall"]["args"]
    return arguments


def calls(events: list[Event]) -> list[tuple[str, str, Object]]:
    """Return the calls of events: name, id and arguments."""
    starts = {event.index: event for event in events if isinstance(event, ToolStart)}
    assert {event.index for event in events if isinstance(event, ToolEnd)} == starts.keys()
    pieces = {event.index: event.text for event in events if isinstance(event, ToolDelta)}
    return [(start.name, start.id, json.loads(pieces[at])) for at, start in starts.items()]


def test_pieces_of_a_call_over_many_chunks_become_one_call() -> None:
    """Streamed chunks and the folded stream give the same call."""
    chunks = [chunk(candidate(part)) for part in PIECES]
    sent = stream(*chunks, chunk(candidate(text(""), finish="STOP")))
    for events in (decode_stream(sent), TRANSLATION.decode_response(DIALECT.fold(sent))):
        assert calls(events) == [("weather", "c1", ARGS)]
        assert [event.reason for event in events if isinstance(event, Finish)] == ["tools"]
    (folded,) = json.loads(DIALECT.fold(sent))["candidates"]
    assert folded["content"]["parts"] == [CALL]


def test_another_call_ends_the_call_before_it() -> None:
    """A call of another name, or a whole one, ends the call before; text may come between."""
    other = {"functionCall": {"name": "time", "id": "c2", "willContinue": True}}
    last = {"functionCall": {"name": "sum", "args": {"a": 1}}}
    parts = [*PIECES[:3], text("Hm."), other, piece("$.zone", stringValue="CET"), last]
    events = TRANSLATION.decode_response(whole(chunk(candidate(*parts, finish="STOP"))))
    assert [call[::2] for call in calls(events)] == [
        ("weather", {"city": "Zürich"}),
        ("time", {"zone": "CET"}),
        ("sum", {"a": 1}),
    ]
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hm."]


def test_a_signature_stays_with_its_call() -> None:
    signed = [{**BEGIN, "thoughtSignature": "s"}, *PIECES[1:]]
    (part,) = join_calls(signed)
    assert part == {**CALL, "thoughtSignature": "s"}


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([piece("$.a.b", boolValue=False), piece("$.a.c", nullValue="NULL_VALUE")], {"a": {"b": False, "c": None}}),
        ([piece("$.a[1].b", numberValue=1.5), piece("$.a[0]", stringValue="x")], {"a": ["x", {"b": 1.5}]}),
        ([piece("$['a b']", stringValue="x"), piece('$["c.d"]', stringValue="y")], {"a b": "x", "c.d": "y"}),
        ([piece(r"$['a\'\n\u00e9\q']", numberValue=1)], {"a'\né" + "q": 1}),
        ([piece("$.a", stringValue="x"), piece("$.a", numberValue=1)], {"a": 1}),
        ([piece("$.a", numberValue=1), piece("$.a", stringValue="x"), piece("$.a", stringValue="y")], {"a": "xy"}),
        ([piece("$.a"), piece("$.b", stringValue="")], {"b": ""}),
        ([], {}),
    ],
)  # fmt: skip
def test_a_partial_argument_is_put_at_its_path(pieces: list[Object], expected: Object) -> None:
    assert args(*pieces) == expected


@pytest.mark.parametrize("path", ["", "$", "$[0]", "$.a[99999]", "$.a..b", "$.a[x]", "$.s.b", "$.s[0]"])  # fmt: skip
def test_an_argument_with_an_impossible_path_fails_the_answer(path: str) -> None:
    """The gateway never makes up a call with other arguments.

    In a request it is the client's mistake.
    """
    parts = [BEGIN, piece("$.s", numberValue=1), piece(path, stringValue="x")]
    answer = chunk(candidate(*parts, finish="STOP"))
    for events in (decode_stream(stream(answer)), TRANSLATION.decode_response(whole(answer))):
        assert isinstance(events[-1], Failed)
        assert "fit together" in events[-1].problem.message
    with pytest.raises(ProblemError, match="Send its `args` whole"):
        decoded(contents=[{"role": "model", "parts": parts}])


@pytest.mark.parametrize("stops", ["STOP", "MAX_TOKENS", None])
def test_a_call_without_an_end_is_cut_at_a_limit_and_fails_otherwise(stops: str | None) -> None:
    """At a limit the call is cut, as in any dialect; otherwise the answer fails."""
    events = TRANSLATION.decode_response(
        whole(chunk(candidate(text("a"), *PIECES[:3], finish=stops)))
    )
    if stops == "STOP":
        assert isinstance(events[-1], Failed)
    else:
        assert calls(events) == [("weather", "c1", {"city": "Zürich"})]
        assert [event.reason for event in events if isinstance(event, Finish)] == ["length" if stops else "cut"]  # fmt: skip


def test_a_history_may_hold_calls_in_pieces() -> None:
    """Google's SDK keeps each chunk of a stream as a content."""
    contents = [{"role": "model", "parts": [part]} for part in PIECES]
    (turn,) = decoded(contents=contents).turns
    (use,) = turn.parts
    assert isinstance(use, ToolUse)
    assert (use.name, use.id, json.loads(use.arguments)) == ("weather", "c1", ARGS)


def test_the_wish_for_calls_in_pieces_is_named_as_a_loss() -> None:
    calling = {"mode": "AUTO", "stream_function_call_arguments": True}
    body = ask(toolConfig={"functionCallingConfig": calling})
    (member,) = translation.decode_request(DIALECT, body).lost_members
    assert member.path == "toolConfig.functionCallingConfig.stream_function_call_arguments"


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
def test_a_schema_is_fitted_to_the_words_that_gemini_takes(
    given: Any, fitted: Any, lost: set[str]
) -> None:
    lost_words: set[str] = set()
    assert fit_schema(given, lost_words) == fitted
    assert lost_words == lost


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
def test_an_openapi_schema_becomes_json_schema(given: Any, plain: Any) -> None:
    assert to_json_schema(given) == plain


@pytest.mark.parametrize(
    ("order", "names"),
    [(["b", "c", 7], ["b", "a"]), (["b", "a"], ["b", "a"]), ("b", ["a", "b"]), (None, ["a", "b"])],
)
def test_properties_follow_the_property_ordering(order: Any, names: list[str]) -> None:
    schema = {"properties": {"a": {}, "b": {}}, "property_ordering": order}
    assert [*to_json_schema(schema)["properties"]] == names
    assert to_json_schema({"property_ordering": order}) == {}
