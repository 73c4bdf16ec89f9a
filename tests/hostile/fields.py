"""Requests of each dialect, with one text in every place for text."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.server.gate import CHAT, COUNT, GENERATE, MESSAGES, RESPONSES, STREAM, TOKENS


def chat_fields(text: str) -> dict[str, Any]:
    """Return a Chat Completions request with a text in every place for text."""
    call = {"id": text, "type": "function", "function": {"name": text, "arguments": text}}
    function = {
        "name": text,
        "description": text,
        "parameters": {"properties": {text: {"title": text}}},
    }
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": text}}]
    return {
        "model": "able-1",
        "messages": [
            {"role": "system", "content": text, "name": text},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": None, "refusal": text, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": text, "content": text},
            {"role": text, "content": text},
            {"role": "user", "content": text},
        ],
        "tools": [{"type": "function", "function": function}], "stop": [text], "user": text,
        "metadata": {text: text}, "x_own": text, "response_format": {"type": "text", "x": text},
    }  # fmt: skip


def message_fields(text: str) -> dict[str, Any]:
    """Return a Messages request with a text in every place for text."""
    source = {"type": "text", "media_type": "text/plain", "data": text}
    return {
        "model": "claude-haiku-9",
        "max_tokens": 9,
        "system": [{"type": "text", "text": text}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": text}, {"type": "document", "title": text, "source": source}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": text, "signature": text},
                {"type": "tool_use", "id": text, "name": text, "input": {text: text}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": text, "content": text}]},
            {"role": "assistant", "content": text},
            {"role": "user", "content": text},
        ],
        "tools": [{"name": text, "description": text, "input_schema": {"type": "object", "title": text}}],
        "stop_sequences": [text], "metadata": {"user_id": text}, "x_own": text,
    }  # fmt: skip


def response_fields(text: str) -> dict[str, Any]:
    """Return a Responses request with a text in every place for text."""
    parts = [
        {"type": "input_text", "text": text},
        {"type": "input_image", "image_url": text, "detail": text},
        {"type": "input_file", "file_url": text, "filename": text},
    ]
    output_text = {
        "type": "output_text",
        "text": text,
        "annotations": [{"type": text, "title": text}],
    }
    return {
        "model": "reply-9", "instructions": text,
        "input": [
            {"role": "user", "content": parts},
            {"type": "reasoning", "id": text, "summary": [{"type": "summary_text", "text": text}]},
            {"type": "message", "role": "assistant", "id": text, "content": [output_text, {"type": "refusal", "refusal": text}]},
            {"type": "function_call", "call_id": text, "name": text, "arguments": text},
            {"type": "function_call_output", "call_id": text, "output": text},
            {"type": text, "x": text},
            {"role": "user", "content": text},
        ],
        "tools": [{"type": "function", "name": text, "description": text, "parameters": {"title": text}}],
        "text": {"format": {"type": "text", "x": text}}, "prompt_cache_key": text,
        "metadata": {text: text}, "x_own": text,
    }  # fmt: skip


def content_fields(text: str) -> dict[str, Any]:
    """Return a Gemini request with a text in every place for text."""
    declared = {"name": text, "description": text, "parametersJsonSchema": {"title": text}}
    return {
        "systemInstruction": {"parts": [{"text": text}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": text}, {"fileData": {"mimeType": text, "fileUri": f"gs://bucket/{text}"}},
                {"inline_data": {"mime_type": text, "data": text}},
            ]},
            {"role": "model", "parts": [
                {"text": text, "thought": True, "thoughtSignature": text},
                {"functionCall": {"id": text, "name": text, "args": {text: text}}},
            ]},
            {"role": "user", "parts": [{"functionResponse": {"name": text, "response": {text: text}}}]},
            {"role": text, "parts": [{"text": text, "x": text}]},
            {"role": "user", "parts": [{"text": text}]},
        ],
        "tools": [{"functionDeclarations": [declared]}], "labels": {text: text}, "x_own": text,
        "generationConfig": {"stopSequences": [text], "x": text},
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": [text]}},
    }  # fmt: skip


FIELDS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    CHAT: chat_fields, MESSAGES: message_fields, COUNT: message_fields, RESPONSES: response_fields,
    GENERATE: content_fields, STREAM: content_fields, TOKENS: content_fields,
}  # fmt: skip
"""Requests by their endpoint."""
