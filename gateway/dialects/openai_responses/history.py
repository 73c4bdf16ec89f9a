"""The last items of a Responses request."""

from collections.abc import Iterator

from gateway.core.jsonio import Json
from gateway.dialects import history
from gateway.dialects.base import RequestBody
from gateway.dialects.history import History, PastCall, PastMessage
from gateway.dialects.json_values import read_text
from gateway.dialects.openai_responses.request import is_tool_result

_CALL_TYPES = ("function_call", "custom_tool_call", "local_shell_call", "shell_call")


def read(body: RequestBody) -> History:
    """Read the last items; members of an unexpected type are skipped."""
    value = body.outline
    items, text = value.get("input"), value.get("text")
    text_format = text.get("format") if isinstance(text, dict) else None
    kind = text_format.get("type") if isinstance(text_format, dict) else None
    return History(
        messages=_read_items(items if isinstance(items, list) else []),
        wants_json=kind in ("json_object", "json_schema"),
        schema=text_format.get("schema") if isinstance(text_format, dict) else None,
    )


def _read_items(items: list[Json]) -> Iterator[PastMessage]:
    for item in history.take_newest(items):
        kind, content = item.get("type"), item.get("content")
        if kind in (None, "message"):
            texts = history.take_texts(content, "input_text", "output_text", "text")
            if item.get("role") == "user":
                yield history.make_user(texts)
            elif item.get("role") == "assistant":
                parts = history.take_parts(content)
                declined = any(part.get("type") == "refusal" for part in parts)
                yield history.make_answer(texts, is_refusal=declined)
        elif kind in _CALL_TYPES:
            arguments = next(
                (item[name] for name in ("arguments", "input", "action") if name in item), None
            )
            name = read_text(item.get("name"))
            yield history.make_answer(
                (), [PastCall(read_text(item.get("call_id")), name, arguments)]
            )
        elif is_tool_result(kind):
            texts = history.take_texts(item.get("output"), "input_text", "output_text", "text")
            yield history.make_user((), (history.make_result(item.get("call_id"), texts),))
