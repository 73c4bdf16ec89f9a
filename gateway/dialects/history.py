"""The last messages of a request in no dialect, as far as they tell how its conversation goes.

Each dialect reads them from the newest on, and no further than is asked for. Of a message only the
last parts are read, and of a text only its beginning, so that no request takes long.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from gateway.core.jsonio import Json
from gateway.dialects.json_values import read_text
from gateway.dialects.user_text import extract_typed

MAX_MESSAGES = 40
MAX_PARTS = 32
"""Parts of one message that are read: its last ones."""
MAX_TEXT_CHARS = 16_000
"""Characters of one text that are read."""


class PastCall(msgspec.Struct, frozen=True):
    """A tool that the model has called."""

    id: str
    name: str
    arguments: Json


class PastResult(msgspec.Struct, frozen=True):
    """The result of a tool."""

    id: str
    """The id of its call."""
    text: str
    failed: bool | None = None
    """True if the client says that the tool failed; None where it says nothing."""


class PastMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message, or one item of several that a message is made of."""

    speaker: Literal["user", "assistant"]
    """Results of tools come from the user."""
    text: str = ""
    """The text; of a user, only the text that a person typed."""
    is_cut: bool = False
    """True if the text was longer."""
    is_refusal: bool = False
    """True if the provider says that the model declined."""
    calls: tuple[PastCall, ...] = ()
    results: tuple[PastResult, ...] = ()


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The last messages of a request, and the form that its answers should have."""

    messages: Iterable[PastMessage] = ()
    """From the newest on."""
    wants_json: bool = False
    schema: Json = None
    """The JSON Schema of answers; None where there is none."""


def take_newest(messages: list[dict[str, Json]]) -> Iterator[dict[str, Json]]:
    """Yield the last messages of a request, from the newest on."""
    return reversed(messages[-MAX_MESSAGES:])


def take_parts(content: Json) -> list[dict[str, Json]]:
    """The last parts of a content; none where it is no list."""
    parts = content[-MAX_PARTS:] if isinstance(content, list) else []
    return [part for part in parts if isinstance(part, dict)]


def take_texts(content: Json, *kinds: str) -> list[str]:
    """The texts of a content that is a string or a list of parts of these types."""
    if isinstance(content, str):
        return [content]
    texts = (part.get("text") for part in take_parts(content) if part.get("type") in kinds)
    return [text for text in texts if isinstance(text, str)]


def make_user(texts: Iterable[str], results: tuple[PastResult, ...] = ()) -> PastMessage:
    """Make the message of a user; only what a person typed counts as its text."""
    typed_texts = (extract_typed(text[:MAX_TEXT_CHARS]) for text in texts)
    text = "\n".join(typed for typed in typed_texts if typed.strip())
    return PastMessage(speaker="user", text=text, results=results)


def make_answer(
    texts: Iterable[str], calls: Iterable[PastCall] = (), *, is_refusal: bool = False
) -> PastMessage:
    """Make the message of a model."""
    text = "".join([text[: MAX_TEXT_CHARS + 1] for text in texts])
    return PastMessage(
        speaker="assistant",
        text=text[:MAX_TEXT_CHARS],
        is_cut=len(text) > MAX_TEXT_CHARS,
        calls=tuple(calls),
        is_refusal=is_refusal,
    )


def make_result(id: Json, texts: Iterable[str], failed: Json = None) -> PastResult:
    """Make the result of a tool; `failed` is the client's own word for it, or None."""
    text = "\n".join([cut_ends(text) for text in texts])
    return PastResult(read_text(id), text, failed if isinstance(failed, bool) else None)


_END_CHARS = 400
"""Characters of a result, at its beginning and at its end, that show whether the tool failed."""


def cut_ends(text: str) -> str:
    """Keep how a long text begins and ends."""
    if len(text) <= 2 * _END_CHARS:
        return text
    return f"{text[:_END_CHARS]}\n{text[-_END_CHARS:]}"
