"""Decode an answer as a client does: with the official SDK's types, and with our own decoder."""

import json
from collections.abc import Iterable
from typing import Any

import anthropic
import openai
from openai.types.chat import ChatCompletion

from gateway.core import usage as core
from gateway.core.events import (
    Declined,
    End,
    Event,
    Failed,
    Finish,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolDelta,
    ToolStart,
    UsageUpdate,
)  # fmt: skip
from gateway.dialects import DIALECTS
from tests.corpus.oracle import (
    CHAT,
    GEMINI,
    MESSAGES,
    RESPONSES,
    Meaning,
    Object,
    Usage,
    normalize_arguments,
    reason,
    split_classes,
)
from tests.corpus.sdk_clients import GENAI, KNOWS_GEMINI, SdkClients

type DecodedAnswer = tuple[dict[int, Meaning], Usage | None]


def decode_own(dialect: str, body: bytes, *, stream: bool) -> DecodedAnswer:
    """Decode with the dialect's own decoder. Raises AssertionError if the answer failed."""
    functions = DIALECTS[dialect].translation
    assert functions is not None
    if not stream:
        return collect_meanings(functions.decode_response(body))
    decoder = functions.make_decoder()
    events = [*decoder.feed(body), *decoder.end()]
    assert isinstance(events[-1], End), "a stream without its end"
    return collect_meanings(events)


def collect_meanings(events: Iterable[Event]) -> DecodedAnswer:
    """Return the meaning of events, by choice."""
    choices: dict[int, Object] = {}
    usage: core.Usage | None = None
    for event in events:
        assert not isinstance(event, Failed), event
        usage = event.usage if isinstance(event, UsageUpdate) else usage
        if isinstance(event, Start):
            usage = event.usage or usage
            continue
        choice = choices.setdefault(
            getattr(event, "choice", 0),
            {"text": "", "reasoning": "", "declined": "", "calls": {}, "finish": "none"},
        )
        match event:
            case TextDelta():
                choice["text"] += event.text
            case ReasoningDelta():
                choice["reasoning"] += event.text
            case Declined():
                choice["declined"] += event.text
            case ToolStart():
                choice["calls"][event.index] = [event.name, ""]
            case ToolDelta():
                choice["calls"][event.index][1] += event.text
            case Finish():
                choice["finish"] = event.reason
            case _:
                pass
    meanings = {}
    for at, choice_ in choices.items():
        calls = tuple((name, normalize_arguments(text)) for name, text in choice_["calls"].values())
        meanings[at] = Meaning(**{**choice_, "calls": calls})
    return meanings, _classes(usage)


def _classes(usage: core.Usage | None) -> Usage | None:
    if usage is None:
        return None
    written = sum(usage.cache_write.values())
    return usage.input, usage.cache_read, written, usage.output, usage.reasoning


class Clients(SdkClients):
    """The official clients, with a reader of their objects."""

    def hear(
        self, dialect: str, body: bytes, *, stream: bool, status: int = 200
    ) -> DecodedAnswer | None:
        """Return what the SDK decodes; None if it is not installed. Raises what the SDK raises."""
        self.set_answer(body, stream=stream, status=status)
        match dialect:
            case "openai-chat":
                return _chat(self._completion(stream=stream))
            case "openai-responses":
                return _responses(self._response(stream=stream))
            case "anthropic-messages":
                return _messages(self._message(stream=stream))
            case _:
                return _gemini(self.list_chunks(stream)) if KNOWS_GEMINI else None

    def raises(self, dialect: str, body: bytes, status: int) -> bool:
        """True if the SDK raises an error of its API at a refusal."""
        errors: tuple[type[Exception], ...] = (openai.APIError, anthropic.APIError)
        if GENAI is not None:
            errors = (*errors, GENAI.errors.APIError)
        try:
            return self.hear(dialect, body, stream=False, status=status) is None
        except errors:
            return True

    def _completion(self, *, stream: bool) -> Any:
        chat = self.openai.chat.completions
        if not stream:
            return chat.create(model="m", messages=[])
        try:
            with chat.stream(model="m", messages=[]) as stream_:
                return stream_.get_final_completion()
        except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
            pass  # its helper reports these ends so: the chunks below have all of the answer
        except AttributeError as error:
            if error.name != "name":  # its helper looks for a function's name in custom tools
                raise
        return _add_chunks(chat.create(model="m", messages=[], stream=True))

    def _response(self, *, stream: bool) -> Any:
        responses = self.openai.responses
        if not stream:
            return responses.create(model="m", input="hi")
        last: Any = None
        with responses.stream(model="m", input="hi") as stream_:
            for event in stream_:
                if event.type in ("response.completed", "response.incomplete", "response.failed"):
                    last = event.response
        assert last is not None, "no terminal event"
        return last

    def _message(self, *, stream: bool) -> Any:
        messages = self.anthropic.messages
        if not stream:
            return messages.create(model="m", max_tokens=1, messages=[])
        with messages.stream(model="m", max_tokens=1, messages=[]) as stream_:
            return stream_.get_final_message()


def _add_chunks(chunks: Iterable[Any]) -> Any:
    """Add up chunks, as the SDK's types hold them, to one completion."""
    whole: Object = {
        "id": "",
        "object": "chat.completion",
        "created": 0,
        "model": "",
        "usage": None,
    }
    choices: dict[int, Object] = {}
    for chunk in chunks:
        whole["usage"] = chunk.usage or whole["usage"]
        for chunk_choice in chunk.choices:
            choice = choices.setdefault(
                chunk_choice.index, {"index": chunk_choice.index, "message": {"role": "assistant"}}
            )
            choice["finish_reason"] = chunk_choice.finish_reason or choice.get("finish_reason")
            _extend(choice["message"], chunk_choice.delta.to_dict())
    return ChatCompletion.model_validate({**whole, "choices": [*choices.values()]})


def _extend(target_: Object, delta: Object) -> None:
    for name, value in delta.items():
        if name in ("role", "index", "id", "type"):
            target_[name] = value
        elif isinstance(value, str):
            target_[name] = (target_.get(name) or "") + value
        elif isinstance(value, dict):
            _extend(target_.setdefault(name, {}), value)
        elif name == "tool_calls":
            calls = target_.setdefault(name, [])
            for call in value:
                if call["index"] == len(calls):
                    calls.append({})
                _extend(calls[call["index"]], call)


def _chat(completion: Any) -> DecodedAnswer:
    meanings = {}
    for choice in completion.choices:
        message = choice.message
        calls = []
        for call in message.tool_calls or ():
            custom = call.type == "custom"
            inside = call.custom if custom else call.function
            calls.append(
                (inside.name, normalize_arguments(inside.input if custom else inside.arguments))
            )
        legacy_call = message.function_call
        if legacy_call is not None:
            calls.append((legacy_call.name, normalize_arguments(legacy_call.arguments)))
        meanings[choice.index] = Meaning(
            text=message.content or "",
            reasoning=(message.model_extra or {}).get("reasoning_content") or "",
            declined=message.refusal or "",
            calls=tuple(calls),
            finish=reason(choice.finish_reason, calls),
        )
    usage = completion.usage
    if usage is None:
        return meanings, None
    inside = usage.prompt_tokens_details
    out = usage.completion_tokens_details
    cached = inside.cached_tokens if inside is not None else None
    written = (inside.model_extra or {}).get("cache_write_tokens") if inside is not None else None
    if inside is not None and written is None:
        written = getattr(inside, "cache_write_tokens", None)
    thought = out.reasoning_tokens if out is not None else None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    return meanings, split_classes(
        usage.prompt_tokens, cached, written, usage.completion_tokens, thought
    )


def _responses(response: Any) -> DecodedAnswer:
    text, thoughts, declined, calls = "", "", "", []
    for item in response.output:
        if item.type == "message":
            text += "".join(part.text for part in item.content if part.type == "output_text")
            declined += "".join(part.refusal for part in item.content if part.type == "refusal")
        elif item.type == "reasoning":
            thoughts += "".join(part.text for part in item.summary)
        elif item.type in ("function_call", "custom_tool_call"):
            arguments = item.arguments if item.type == "function_call" else item.input
            calls.append((item.name, normalize_arguments(arguments)))
    assert response.output_text == text
    cut = response.incomplete_details
    word = response.status if cut is None else cut.reason
    meaning = Meaning(text, thoughts, declined, tuple(calls), reason(word, calls))
    usage = response.usage
    if usage is None:
        return {0: meaning}, None
    inside, out = usage.input_tokens_details, usage.output_tokens_details
    written = inside.model_dump().get("cache_write_tokens")
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    counts = (usage.input_tokens, inside.cached_tokens, written, usage.output_tokens)
    return {0: meaning}, split_classes(*counts, out.reasoning_tokens)


def _messages(message: Any) -> DecodedAnswer:
    blocks = message.content
    calls = [
        (block.name, normalize_arguments(block.input))
        for block in blocks
        if block.type == "tool_use"
    ]
    word = message.stop_reason or "error"
    meaning = Meaning(
        text="".join(block.text for block in blocks if block.type == "text"),
        reasoning="".join(block.thinking for block in blocks if block.type == "thinking"),
        calls=tuple(calls),
        finish="tools" if word == "tool_use" else reason(word, ()),
    )
    usage = message.usage
    thought = (usage.model_dump().get("output_tokens_details") or {}).get("thinking_tokens")
    cached, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    return {0: meaning}, (usage.input_tokens, cached, written, usage.output_tokens - (thought or 0), thought)  # fmt: skip


def _gemini(chunks: list[Any]) -> DecodedAnswer:
    meanings: dict[int, Meaning] = {}
    usage: Any = None
    for chunk in chunks:
        usage = chunk.usage_metadata or usage
        for candidate in chunk.candidates or ():
            at = candidate.index or 0
            before = meanings.get(at, Meaning(finish="none"))
            content = candidate.content
            parts = (content.parts if content is not None else None) or []
            calls = [(part.function_call.name, normalize_arguments(part.function_call.args or {})) for part in parts if part.function_call]  # fmt: skip
            every = (*before.calls, *calls)
            word = candidate.finish_reason
            meanings[at] = Meaning(
                text=before.text + "".join(part.text or "" for part in parts if not part.thought),
                reasoning=before.reasoning
                + "".join(part.text or "" for part in parts if part.thought),
                calls=every,
                finish=before.finish if word is None else reason(word.value, every),
            )
    if usage is None or usage.prompt_token_count is None:
        return meanings, None
    prompt, cached = usage.prompt_token_count, usage.cached_content_token_count
    counts = prompt - (cached or 0), cached, None, usage.candidates_token_count
    return meanings, (*counts, usage.thoughts_token_count)


def shorten(value: object) -> str:
    """Return a value as short text."""
    return json.dumps(value, default=str)[:300]


__all__ = [
    "CHAT",
    "GEMINI",
    "KNOWS_GEMINI",
    "MESSAGES",
    "RESPONSES",
    "Clients",
    "collect_meanings",
    "decode_own",
    "shorten",
]
