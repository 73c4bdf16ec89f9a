"""The last messages of Chat Completions."""

from collections.abc import Iterator

from gateway.core.jsonio import Json
from gateway.dialects import history
from gateway.dialects.base import RequestBody
from gateway.dialects.history import History, PastCall, PastMessage
from gateway.dialects.json_values import read_text


def read(body: RequestBody) -> History:
    """Read them; odd members say nothing."""
    value = body.outline
    form = value.get("response_format")
    kind = form.get("type") if isinstance(form, dict) else None
    inside = form.get("json_schema") if isinstance(form, dict) else None
    return History(
        messages=_read_messages(value["messages"]),
        wants_json=kind in ("json_object", "json_schema"),
        schema=inside.get("schema") if isinstance(inside, dict) else None,
    )


def _read_messages(messages: list[Json]) -> Iterator[PastMessage]:
    for message in history.take_newest(messages):
        role, content = message.get("role"), message.get("content")
        if role == "user":
            yield history.make_user(history.take_texts(content, "text"))
        elif role in ("tool", "function"):
            id = message.get("tool_call_id", message.get("name"))
            texts = history.take_texts(content, "text")
            yield history.make_user((), (history.make_result(id, texts),))
        elif role == "assistant":
            yield history.make_answer(
                history.take_texts(content, "text"),
                _read_calls(message),
                is_refusal=_is_refusal(message, content),
            )


def _read_calls(message: dict[str, Json]) -> Iterator[PastCall]:
    for call in history.take_parts(message.get("tool_calls")):
        kind = call.get("type", "function")
        inside = call.get(kind) if isinstance(kind, str) else None
        if isinstance(inside, dict):
            arguments = inside.get("arguments", inside.get("input"))
            yield PastCall(read_text(call.get("id")), read_text(inside.get("name")), arguments)
    old_call = message.get("function_call")
    if isinstance(old_call, dict):  # of the years before tools
        name = read_text(old_call.get("name"))
        yield PastCall(name, name, old_call.get("arguments"))


def _is_refusal(message: dict[str, Json], content: Json) -> bool:
    return bool(message.get("refusal")) or any(
        part.get("type") == "refusal" for part in history.take_parts(content)
    )
