"""The last messages of a request, for the router."""

from collections.abc import Iterator

from gateway.core.jsonio import Json
from gateway.dialects import history
from gateway.dialects.base import RequestBody
from gateway.dialects.history import History, PastCall, PastMessage
from gateway.dialects.json_values import read_text


def read(body: RequestBody) -> History:
    """Return the last messages; malformed members count as absent."""
    value = body.outline
    config = value.get("output_config")
    form = config.get("format") if isinstance(config, dict) else None
    form = value.get("output_format") if form is None else form
    return History(
        messages=_read_messages(value["messages"]),
        wants_json=isinstance(form, dict) and form.get("type") == "json_schema",
        schema=form.get("schema") if isinstance(form, dict) else None,
    )


def _read_messages(messages: list[Json]) -> Iterator[PastMessage]:
    """Yield the newest messages of users and assistants."""
    for message in history.take_newest(messages):
        role, content = message.get("role"), message.get("content")
        texts = history.take_texts(content, "text")
        if role == "user":
            results = tuple([
                history.make_result(
                    block.get("tool_use_id"),
                    history.take_texts(block.get("content"), "text"),
                    block.get("is_error"),
                )
                for block in history.take_parts(content)
                if block.get("type") == "tool_result"
            ])  # fmt: skip
            yield history.make_user(texts, results)
        elif role == "assistant":
            calls = (
                PastCall(
                    read_text(block.get("id")),
                    read_text(block.get("name")),
                    block.get("input"),
                )
                for block in history.take_parts(content)
                if block.get("type") == "tool_use"
            )
            yield history.make_answer(texts, calls)
