"""Requests that do not show how much the model reads, and the data of images, in each dialect."""

import json
from typing import Any

import pytest

from gateway.core.prompt import Prompt
from gateway.dialects import DIALECTS
from gateway.dialects.gemini import request as gemini

DATA = "iVBORw0KGgo="
URL = f"data:image/png;base64,{DATA}"
WEB = "https://example.com/a.png"
type Case = tuple[dict[str, Any], int, bool]


def chat(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": [*parts]}], **more}


def responses(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "m", "input": [{"role": "user", "content": [*parts]}], **more}


def messages(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**chat(*parts, **more), "max_tokens": 9}


def contents(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [*parts]}], **more}


def document(source: Any) -> dict[str, Any]:
    return messages({"type": "document", "source": source})


def media(name: str, mime: str, **more: Any) -> dict[str, Any]:
    return contents({name: {"mimeType": mime, **more}})


TEXT = {"type": "text", "text": "Hi"}
FUNCTION = {"type": "function", "function": {"name": "f"}}
CASES: dict[str, list[Case]] = {
    "openai-chat": [
        (chat(TEXT, tools=[FUNCTION], store=True), 0, False),
        (chat({"type": "image_url", "image_url": {"url": URL}}), len(URL), False),
        (chat({"type": "image_url", "image_url": URL}), len(URL), False),
        (chat({"type": "image_url", "image_url": {"url": WEB}}), 0, False),
        (chat({"type": "image_url"}), 0, False),
        (chat({"type": "input_audio", "input_audio": {"data": DATA}}), 0, False),
        (chat({"type": "file", "file": {"file_id": "f"}}), 0, True),
        (chat({"type": "video_url", "video_url": {"url": WEB}}), 0, True),
        (chat({"type": 7}), 0, False),
        (chat(TEXT, web_search_options={}), 0, True),
    ],
    "openai-responses": [
        (responses(TEXT, tools=[{"type": "function", "name": "f"}], store=True), 0, False),
        (responses({"type": "input_image", "image_url": URL}), len(URL), False),
        (responses({"type": "input_image", "file_id": "f"}), 0, False),
        (responses({"type": "input_file", "file_id": "f"}), 0, True),
        (responses(TEXT, tools=[{"type": "web_search"}]), 0, True),
        (responses(TEXT, previous_response_id="r"), 0, True),
        ({"model": "m", "input": [{"type": "item_reference", "id": "i"}]}, 0, True),
        (responses({"type": "input_file"}, text={}), 0, True),
    ],
    "anthropic-messages": [
        (messages(TEXT, tools=[{"type": "bash_20250124", "name": "bash"}]), 0, False),
        (messages({"type": "image", "source": {"type": "base64", "data": DATA}}), len(DATA), False),
        (messages({"type": "image", "source": {"type": "url", "url": WEB}}), 0, False),
        (messages({"type": "image"}), 0, False),
        (document({"type": "text", "data": "Hi"}), 0, False),
        (document({"type": "content", "content": "Hi"}), 0, False),
        (document({"type": "base64", "data": DATA}), 0, True),
        (document(None), 0, True),
        (messages({"type": "container_upload", "file_id": "f"}), 0, True),
        (messages(TEXT, tools=[{"type": "web_search_20250305", "name": "web_search"}]), 0, True),
        (messages(TEXT, container="c"), 0, True),
        (messages(TEXT, thread="t"), 0, True),
    ],
    "gemini": [
        (contents({"text": "Hi"}, tools=[{"functionDeclarations": [{"name": "f"}]}]), 0, False),
        (media("inlineData", "image/png", data=DATA), len(DATA), False),
        (media("fileData", "image/png", fileUri=WEB), 0, False),
        (media("inlineData", "audio/wav", data=DATA), 0, False),
        (media("fileData", "audio/wav", fileUri=WEB), 0, True),
        (media("inlineData", "video/mp4", data=DATA), 0, True),
        (contents({"text": "Hi"}, tools=[{"googleSearch": {}}]), 0, True),
        (contents({"text": "Hi"}, cachedContent="cachedContents/1"), 0, True),
    ],
}  # fmt: skip


def read_prompt(dialect: str, body: dict[str, Any]) -> Prompt:
    raw = json.dumps(body).encode()
    if dialect == "gemini":
        return gemini.read(raw, "m:generateContent").prompt
    return DIALECTS[dialect].read(raw).prompt


@pytest.mark.parametrize(
    ("dialect", "case"), [(name, case) for name, cases in CASES.items() for case in cases]
)
def test_only_what_the_request_does_not_show_has_no_size(dialect: str, case: Case) -> None:
    body, image_bytes, is_unsized = case
    prompt = read_prompt(dialect, body)
    assert (prompt.image_bytes, prompt.is_unsized) == (image_bytes, is_unsized)
