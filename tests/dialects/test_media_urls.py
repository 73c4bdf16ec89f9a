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
GIVEN = {PIC: FetchedMedia("image/png", "UElD"), DOC: FetchedMedia("application/pdf", "RE9D")}
CHAT, RESPONSES, MESSAGES = "openai-chat", "openai-responses", "anthropic-messages"


def provider(media: Any = "url", *doors: str) -> Provider:
    return Provider(name="p", urls=dict.fromkeys(doors, "https://p.example"), media=media)


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


WANTED = [
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


@pytest.mark.parametrize(("part", "door", "media", "wants"), WANTED)
def test_what_is_wanted_as_data(part: Any, door: str, media: str, wants: bool) -> None:
    """A dialect or a host without URLs wants data; media that it cannot have are not wanted."""
    found = media_urls.find_media_to_fetch(request(part), door, provider(media))
    assert found == ({part.url: part} if wants else {})
    within = request(ToolResult(id="c", parts=(part, Text(text="t"))))
    assert media_urls.find_media_to_fetch(within, door, provider(media)) == found


def test_equal_urls_are_wanted_once() -> None:
    picture = Media(kind="image", url=PIC)
    assert list(
        media_urls.find_media_to_fetch(request(picture, picture), "gemini", provider())
    ) == [PIC]


def test_data_takes_the_place_of_a_url_and_of_nothing_else() -> None:
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
    (turn,) = media_urls.fill_request(request(*parts), GIVEN).turns
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


def test_off_a_target_that_wants_data_is_refused_as_ever() -> None:
    asked = TranslatableRequest(OPENAI_CHAT, body(OPENAI_CHAT, IMAGE))
    said = asked.translate_prompt(GEMINI, target())
    assert said == "messages.image: gemini takes images as data, not by URL"
    assert asked.find_media_to_fetch("gemini", provider()) == {}
    assert asked.find_media_problem(target()) == ""
    assert (
        asked.find_media_problem(target("data")) == "messages.image: p takes images as data alone"
    )
    said = asked.translate_prompt(ANTHROPIC_MESSAGES, target("data"))
    assert said == "messages.image: p takes images as data alone"


def test_on_it_is_planned_as_if_the_data_were_here() -> None:
    asked = TranslatableRequest(OPENAI_CHAT, body(OPENAI_CHAT, IMAGE), ALL)
    prompt = asked.translate_prompt(GEMINI, target())
    assert not isinstance(prompt, str)
    assert prompt.images == 1
    assert [loss.field for loss in asked.list_losses(GEMINI, target())] == ["messages.detail"]
    assert list(asked.find_media_to_fetch("gemini", provider())) == [PIC]
    assert asked.find_media_problem(target("data")) == ""
    assert list(asked.find_media_to_fetch(CHAT, provider("data"))) == [PIC]
    assert asked.find_media_to_fetch(CHAT, provider()) == {}
    (turn,) = asked.fill_media(GIVEN).request.turns
    assert turn.parts[0].data == "UElD"  # type: ignore[union-attr]  # a Media
    assert asked.request.turns[0].parts[0].data is None  # type: ignore[union-attr]  # a Media


def test_on_what_goes_home_to_who_opens_urls_goes_as_it_is() -> None:
    """Translation to Gemini sends no URLs, but Google opens the URLs of its own clients."""
    asked = TranslatableRequest(GEMINI, body(GEMINI, {"fileData": {"fileUri": PIC}}), ALL)
    assert asked.find_media_to_fetch("gemini", provider()) == {}
    assert list(asked.find_media_to_fetch("gemini", provider("data"))) == [PIC]


def test_only_kinds_that_may_be_fetched_are() -> None:
    file = {"type": "file", "file": {"file_data": DOC, "filename": "d.pdf"}}
    asked = TranslatableRequest(OPENAI_CHAT, body(OPENAI_CHAT, IMAGE, file), frozenset({"image"}))
    assert (
        asked.translate_prompt(GEMINI, target())
        == "messages.file: gemini takes files as data, not by URL"
    )
    assert asked.find_media_problem(target("data")) == "messages.file: p takes files as data alone"


def test_without_speech_nothing_is_known_of_media() -> None:
    mute = msgspec.structs.replace(OPENAI_CHAT, translation=None)
    assert (
        TranslatableRequest(mute, body(OPENAI_CHAT, IMAGE), ALL).find_media_problem(target("data"))
        == ""
    )


PNG_URL, PDF_URL = "data:image/png;base64,UElD", "data:application/pdf;base64,RE9D"
HOME: list[tuple[Dialect, Any, Any]] = [
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


@pytest.mark.parametrize(("dialect", "part", "becomes"), HOME)
def test_at_home_only_the_part_is_written_anew(dialect: Dialect, part: Any, becomes: Any) -> None:
    """The new part is in the client's dialect; everything else keeps its bytes."""
    word = {"gemini": {"text": PIC}}.get(dialect.name, {"type": "text", "text": PIC})
    before = body(dialect, word, part, x_unknown=1.5)
    raw = before.raw.replace(b'"x_unknown":1.5', b'"x_unknown": 1.50')
    before = dialect.read(raw)
    after = media_urls.fill_native_body(before, GIVEN)
    turns = jsonio.loads(after.raw)
    member = next(name for name in ("messages", "input", "contents") if name in turns)
    inner = "parts" if dialect is GEMINI else "content"
    assert turns[member][0][inner] == [word, becomes]
    assert after.value == turns
    assert after.prompt is before.prompt
    assert b'"x_unknown":1.50' in after.raw
    read = dialect.read(after.raw)
    assert PIC not in str(read.value[member][0][inner][1:])


def test_what_a_tool_gave_is_looked_into_in_every_dialect() -> None:
    output = [{"type": "input_image", "image_url": PIC}]
    item = {"type": "function_call_output", "call_id": "c", "output": output}
    read = OPENAI_RESPONSES.read(jsonio.dumps({"model": "m", "input": [item]}))
    after = media_urls.fill_native_body(read, GIVEN)
    assert after.value["input"][0]["output"] == [{"type": "input_image", "image_url": PNG_URL}]


NOTHING: list[tuple[Dialect, Any]] = [
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


@pytest.mark.parametrize(("dialect", "part"), NOTHING)
def test_what_is_not_to_be_changed_keeps_every_byte(dialect: Dialect, part: Any) -> None:
    """The gateway returns the same body, also if a member is not a list."""
    value = body(OPENAI_CHAT).value | {"messages": [{"role": "user", "content": [part, 1, PIC]}]}
    for name in ("messages", "input", "contents"):
        value[name] = value["messages"]
    raw = jsonio.dumps(value)
    one = RequestBody(
        raw, jsonio.read_members(raw), value, body(OPENAI_CHAT, {"type": "text", "text": ""}).prompt
    )
    assert media_urls.fill_native_body(one, GIVEN) is one
    assert DIALECTS[dialect.name] is dialect


def test_a_prompt_that_is_a_string_has_no_parts() -> None:
    read = OPENAI_RESPONSES.read(jsonio.dumps({"model": "m", "input": PIC}))
    assert media_urls.fill_native_body(read, GIVEN) is read
