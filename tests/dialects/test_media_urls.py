"""Media by URL: targets that need data, the plan for them, and data that replaces a URL."""

from typing import Any

import msgspec
import pytest

from gateway.core import jsonio
from gateway.core.canonical_request import CanonicalRequest, CanonicalTurn, Media, Text, ToolResult
from gateway.core.target import Provider, Target
from gateway.dialects import (
    ANTHROPIC_MESSAGES,
    DIALECTS,
    GEMINI,
    OPENAI_CHAT,
    OPENAI_RESPONSES,
    Dialect,
    FetchedMedia,
    RequestBody,
    TranslatableRequest,
    media_urls,
)

PIC, DOC = "https://a.example/p.png", "http://a.example/d.pdf"
ALL = frozenset({"image", "file", "audio"})
FETCHED = {PIC: FetchedMedia("image/png", "UElD"), DOC: FetchedMedia("application/pdf", "RE9D")}
CHAT, RESPONSES, MESSAGES = "openai-chat", "openai-responses", "anthropic-messages"


def provider(media: Any = "url", *dialects: str) -> Provider:
    return Provider(name="p", urls=dict.fromkeys(dialects, "https://p.example"), media=media)


def target(media: Any = "url") -> Target:
    return Target(provider=provider(media), model="m-1")


def request(*parts: Any) -> CanonicalRequest:
    return CanonicalRequest(turns=(CanonicalTurn(role="user", parts=parts),))


def body(dialect: Dialect, *parts: Any, **more: Any) -> RequestBody:
    value: dict[str, Any] = {"model": "auto", **more}
    turn = {"role": "user", "content": list(parts)}
    match dialect.name:
        case "gemini":
            value["contents"] = [{"role": "user", "parts": list(parts)}]
        case "openai-responses":
            value["input"] = [turn]
        case _:
            value |= {"messages": [turn], "max_tokens": 9}
    return dialect.read(jsonio.dumps(value))


MEDIA_TO_FETCH = [
    (Media(kind="image", url=PIC), "gemini", "url", True),
    (Media(kind="image", url="HTTPS://a.example/p"), "gemini", "url", True),
    (Media(kind="image", url=PIC), CHAT, "url", False),
    (Media(kind="image", url=PIC), CHAT, "data", True),
    (Media(kind="image", url=PIC), MESSAGES, "data", True),
    (Media(kind="file", url=DOC), CHAT, "url", True),
    (Media(kind="file", url=DOC), MESSAGES, "url", False),
    (Media(kind="audio", url=DOC), "gemini", "url", True),
    (Media(kind="audio", url=DOC), MESSAGES, "url", False),
    (Media(kind="audio", url=DOC), RESPONSES, "data", False),
    (Media(kind="video", url=DOC), "gemini", "url", True),
    (Media(kind="video", url="https://youtu.be/x"), "gemini", "url", False),
    (Media(kind="image", data="AAAA"), "gemini", "data", False),
    (Media(kind="image", id="file-1"), "gemini", "data", False),
    (Media(kind="image", id="file-1", url=PIC), "gemini", "data", False),
    (Media(kind="image", url="ms://file-1"), CHAT, "data", False),
    (Media(kind="file", url="gs://bucket/x"), "gemini", "data", False),
    (Media(kind="file", url="file:///etc/passwd"), "gemini", "data", False),
    (Text(text=PIC), "gemini", "data", False),
]


@pytest.mark.parametrize(("part", "target_dialect", "media", "is_fetched"), MEDIA_TO_FETCH)
def test_media_by_url_are_fetched_for_targets_that_need_data(
    part: Any, target_dialect: str, media: str, is_fetched: bool
) -> None:
    """A dialect or a host without URLs wants data; media that it cannot have are not wanted."""
    fetched = media_urls.find_media_to_fetch(request(part), target_dialect, provider(media))
    assert fetched == ({part.url: part} if is_fetched else {})
    within = request(ToolResult(id="c", parts=(part, Text(text="t"))))
    assert media_urls.find_media_to_fetch(within, target_dialect, provider(media)) == fetched


def test_equal_urls_are_fetched_once() -> None:
    picture = Media(kind="image", url=PIC)
    assert list(
        media_urls.find_media_to_fetch(request(picture, picture), "gemini", provider())
    ) == [PIC]


def test_fetched_data_replaces_only_its_url() -> None:
    """The part's other members stay. A file that turns out to be an image becomes one."""
    other = Media(kind="image", url="https://b.example/")
    parts = (
        Text(text=PIC),
        Media(kind="image", url=PIC, detail="low", cache="5m"),
        Media(kind="file", url=PIC, name="n"),
        Media(kind="file", url=DOC, type="text/plain"),
        other,
        ToolResult(id="c", parts=(Text(text="t"), Media(kind="image", url=PIC))),
    )
    (turn,) = media_urls.fill_request(request(*parts), FETCHED).turns
    picture = Media(kind="image", type="image/png", data="UElD")
    assert turn.parts == (
        Text(text=PIC),
        msgspec.structs.replace(picture, detail="low", cache="5m"),
        msgspec.structs.replace(picture, name="n"),
        Media(kind="file", type="application/pdf", data="RE9D"),
        other,
        ToolResult(id="c", parts=(Text(text="t"), picture)),
    )


IMAGE = {"type": "image_url", "image_url": {"url": PIC, "detail": "low"}}


def test_without_fetching_a_target_that_needs_data_is_skipped() -> None:
    translatable = TranslatableRequest(OPENAI_CHAT, body(OPENAI_CHAT, IMAGE))
    refusal = translatable.translate_prompt(GEMINI, target())
    assert refusal == "messages.image: gemini accepts images as data, not as a URL"
    assert translatable.find_media_to_fetch("gemini", provider()) == {}
    assert translatable.find_media_problem(target()) == ""
    assert (
        translatable.find_media_problem(target("data"))
        == "messages.image: p takes images as data alone"
    )
    refusal = translatable.translate_prompt(ANTHROPIC_MESSAGES, target("data"))
    assert refusal == "messages.image: p takes images as data alone"


def test_with_fetching_a_target_is_planned_as_if_the_data_were_present() -> None:
    translatable = TranslatableRequest(OPENAI_CHAT, body(OPENAI_CHAT, IMAGE), ALL)
    prompt = translatable.translate_prompt(GEMINI, target())
    assert not isinstance(prompt, str)
    assert prompt.images == 1
    assert [loss.field for loss in translatable.list_losses(GEMINI, target())] == [
        "messages.detail"
    ]
    assert list(translatable.find_media_to_fetch("gemini", provider())) == [PIC]
    assert translatable.find_media_problem(target("data")) == ""
    assert list(translatable.find_media_to_fetch(CHAT, provider("data"))) == [PIC]
    assert translatable.find_media_to_fetch(CHAT, provider()) == {}
    (turn,) = translatable.fill_media(FETCHED).request.turns
    assert turn.parts[0].data == "UElD"  # type: ignore[union-attr]  # a Media
    assert translatable.request.turns[0].parts[0].data is None  # type: ignore[union-attr]  # a Media


def test_native_urls_go_unchanged_to_providers_that_open_urls() -> None:
    """Translation to Gemini sends no URLs, but Google opens the URLs of its own clients."""
    translatable = TranslatableRequest(GEMINI, body(GEMINI, {"fileData": {"fileUri": PIC}}), ALL)
    assert translatable.find_media_to_fetch("gemini", provider()) == {}
    assert list(translatable.find_media_to_fetch("gemini", provider("data"))) == [PIC]


def test_only_allowed_kinds_of_media_are_fetched() -> None:
    file = {"type": "file", "file": {"file_data": DOC, "filename": "d.pdf"}}
    translatable = TranslatableRequest(
        OPENAI_CHAT, body(OPENAI_CHAT, IMAGE, file), frozenset({"image"})
    )
    assert (
        translatable.translate_prompt(GEMINI, target())
        == "messages.file: gemini accepts files as data, not as a URL"
    )
    assert (
        translatable.find_media_problem(target("data"))
        == "messages.file: p takes files as data alone"
    )


def test_a_dialect_without_translation_has_no_media_problem() -> None:
    untranslated = msgspec.structs.replace(OPENAI_CHAT, translation=None)
    assert (
        TranslatableRequest(untranslated, body(OPENAI_CHAT, IMAGE), ALL).find_media_problem(
            target("data")
        )
        == ""
    )


PNG_URL, PDF_URL = "data:image/png;base64,UElD", "data:application/pdf;base64,RE9D"
NATIVE_PARTS: list[tuple[Dialect, Any, Any]] = [
    (OPENAI_CHAT, IMAGE, {"type": "image_url", "image_url": {"url": PNG_URL, "detail": "low"}}),
    (OPENAI_CHAT, {"type": "image_url", "image_url": PIC}, {"type": "image_url", "image_url": PNG_URL}),
    (OPENAI_CHAT, {"type": "document_url", "document_url": DOC}, {"type": "document_url", "document_url": PDF_URL}),
    (
        OPENAI_CHAT,
        {"type": "file", "file": {"file_data": DOC}, "x": 1},
        {"type": "file", "file": {"file_data": PDF_URL, "filename": "document.pdf"}, "x": 1},
    ),
    (
        OPENAI_CHAT,
        {"type": "input_audio", "input_audio": {"data": PIC, "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "UElD", "format": "wav"}},
    ),
    (OPENAI_CHAT, {"type": "input_audio", "input_audio": PIC}, {"type": "input_audio", "input_audio": "UElD"}),
    (
        OPENAI_RESPONSES,
        {"type": "input_image", "image_url": PIC, "detail": "low"},
        {"type": "input_image", "image_url": PNG_URL, "detail": "low"},
    ),
    (
        OPENAI_RESPONSES,
        {"type": "input_file", "file_url": DOC, "filename": "n.pdf"},
        {"type": "input_file", "filename": "n.pdf", "file_data": PDF_URL},
    ),
    (
        ANTHROPIC_MESSAGES,
        {"type": "image", "source": {"type": "url", "url": PIC}, "cache_control": {"type": "ephemeral"}},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "UElD"},
            "cache_control": {"type": "ephemeral"},
        },
    ),
    (
        ANTHROPIC_MESSAGES,
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "document", "source": {"type": "url", "url": DOC}}]},
        {
            "type": "tool_result",
            "tool_use_id": "t",
            "content": [
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "RE9D"}}
            ],
        },
    ),
    (
        GEMINI,
        {"fileData": {"fileUri": PIC, "mimeType": "image/jpeg"}},
        {"inlineData": {"mimeType": "image/png", "data": "UElD"}},
    ),
    (GEMINI, {"file_data": {"file_uri": PIC}}, {"inlineData": {"mimeType": "image/png", "data": "UElD"}}),
    (
        GEMINI,
        {"functionResponse": {"name": "f", "response": {}, "parts": [{"fileData": {"fileUri": PIC}}]}},
        {
            "functionResponse": {
                "name": "f",
                "response": {},
                "parts": [{"inlineData": {"mimeType": "image/png", "data": "UElD"}}],
            }
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "part", "becomes"), NATIVE_PARTS)
def test_a_native_request_changes_only_the_part_with_the_fetched_url(
    dialect: Dialect, part: Any, becomes: Any
) -> None:
    """The new part is in the client's dialect; everything else keeps its bytes."""
    word = {"gemini": {"text": PIC}}.get(dialect.name, {"type": "text", "text": PIC})
    before = body(dialect, word, part, x_unknown=1.5)
    raw = before.raw.replace(b'"x_unknown":1.5', b'"x_unknown": 1.50')
    before = dialect.read(raw)
    after = media_urls.fill_native_body(before, FETCHED)
    turns = jsonio.loads(after.raw)
    member = next(name for name in ("messages", "input", "contents") if name in turns)
    inner = "parts" if dialect is GEMINI else "content"
    assert turns[member][0][inner] == [word, becomes]
    assert after.value == turns
    assert after.prompt is before.prompt
    assert b'"x_unknown":1.50' in after.raw
    read = dialect.read(after.raw)
    assert PIC not in str(read.value[member][0][inner][1:])


def test_media_in_tool_results_are_replaced_too() -> None:
    output = [{"type": "input_image", "image_url": PIC}]
    item = {"type": "function_call_output", "call_id": "c", "output": output}
    request_ = OPENAI_RESPONSES.read(jsonio.dumps({"model": "m", "input": [item]}))
    after = media_urls.fill_native_body(request_, FETCHED)
    assert after.value["input"][0]["output"] == [{"type": "input_image", "image_url": PNG_URL}]


UNCHANGED_PARTS: list[tuple[Dialect, Any]] = [
    (OPENAI_CHAT, {"type": "image_url", "image_url": {"url": "https://b.example/"}}),
    (OPENAI_CHAT, {"type": "image_url", "image_url": 1}),
    (OPENAI_CHAT, {"type": "file", "file": {"file_id": PIC}}),
    (OPENAI_CHAT, {"type": "file", "file": PIC}),
    (OPENAI_CHAT, {"type": "input_audio", "input_audio": {"data": "UElD"}}),
    (OPENAI_CHAT, {"type": 1, "text": PIC}),
    (OPENAI_RESPONSES, {"type": "input_image", "file_id": PIC}),
    (OPENAI_RESPONSES, {"type": "input_file", "file_id": PIC}),
    (ANTHROPIC_MESSAGES, {"type": "image", "source": {"type": "base64", "data": PIC}}),
    (ANTHROPIC_MESSAGES, {"type": "image", "source": PIC}),
    (GEMINI, {"fileData": {"fileUri": "gs://x"}}),
    (GEMINI, {"text": PIC}),
]


@pytest.mark.parametrize(("dialect", "part"), UNCHANGED_PARTS)
def test_parts_without_a_fetched_url_keep_every_byte(dialect: Dialect, part: Any) -> None:
    """The gateway returns the same body, also if a member is not a list."""
    value = body(OPENAI_CHAT).value | {"messages": [{"role": "user", "content": [part, 1, PIC]}]}
    for name in ("messages", "input", "contents"):
        value[name] = value["messages"]
    raw = jsonio.dumps(value)
    unchanged = RequestBody(
        raw, jsonio.read_members(raw), value, body(OPENAI_CHAT, {"type": "text", "text": ""}).prompt
    )
    assert media_urls.fill_native_body(unchanged, FETCHED) is unchanged
    assert DIALECTS[dialect.name] is dialect


def test_an_input_that_is_a_string_has_no_media() -> None:
    request_ = OPENAI_RESPONSES.read(jsonio.dumps({"model": "m", "input": PIC}))
    assert media_urls.fill_native_body(request_, FETCHED) is request_
