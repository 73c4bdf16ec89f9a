"""The last contents of a Gemini request. Calls may have no id: there their order tells."""

from collections import Counter
from collections.abc import Iterator

from gateway.dialects import history
from gateway.dialects.base import RequestBody
from gateway.dialects.gemini.content import (
    CONFIG,
    Object,
    get_member,
    get_object,
    list_objects,
)
from gateway.dialects.history import History, PastCall, PastMessage, PastResult
from gateway.dialects.json_values import as_text

_OUTPUTS = ("error", "output", "result")
"""Members of a response that hold what a function gave; Google's SDKs write these."""


def read(body: RequestBody) -> History:
    """Read the last contents; malformed members count as missing."""
    config = get_object(body.value, CONFIG)
    form = get_member(config, "responseJsonSchema")
    if form is None:
        form = get_member(config, "responseSchema")
    wants_json = form is not None or get_member(config, "responseMimeType") == "application/json"
    return History(
        messages=_read_contents(list_objects(body.value.get("contents"))),
        wants_json=wants_json,
        schema=form,
    )


def _read_contents(contents: list[Object]) -> Iterator[PastMessage]:
    for content in history.take_newest(contents):
        parts = list_objects(content.get("parts"))[-history.MAX_PARTS :]
        texts = [
            text
            for part in parts
            if part.get("thought") is not True and (text := as_text(part.get("text")))
        ]
        counts = Counter[str]()
        if content.get("role") == "model":
            calls = [
                PastCall(_read_id(call, counts), as_text(call.get("name")) or "", call["args"])
                for part in parts
                if (call := {"args": None, **get_object(part, "functionCall")}).get("name")
            ]
            yield history.make_answer(texts, calls)
        else:
            results = [
                _read_result(result, counts)
                for part in parts
                if (result := get_object(part, "functionResponse"))
            ]
            yield history.make_user(texts, tuple(results))


def _read_id(value: Object, counts: Counter[str]) -> str:
    """The id of a call or a response; where it has none, which of its name it is."""
    name = as_text(value.get("name")) or ""
    counts[name] += 1
    return as_text(value.get("id")) or f"{name} {counts[name]}"


def _read_result(result: Object, counts: Counter[str]) -> PastResult:
    response = get_object(result, "response")
    texts = [text for name in _OUTPUTS if (text := as_text(response.get(name)))]
    failed = True if response.get("error") else None
    return history.make_result(_read_id(result, counts), texts, failed)
