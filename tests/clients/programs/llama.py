"""LlamaIndex: its models for OpenAI's Chat Completions and Responses."""

from typing import Any

from asked import KEY, MODEL, SYSTEM, URL, WAY, parts, tell, weather
from llama_index.core.llms import ChatMessage, LLMMetadata
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI, OpenAIResponses

OPTIONS: dict[str, Any] = {"model": MODEL, "api_base": f"{URL}/v1", "api_key": KEY, "max_retries": 0, "context_window": 100_000}  # fmt: skip

BOTH = {"allow_parallel_tool_calls": True}


class LlamaChat(OpenAI):
    """A model with tools on Chat Completions: LlamaIndex knows only OpenAI's own models."""

    @property
    def metadata(self) -> Any:
        return LLMMetadata(context_window=100_000, is_chat_model=True, is_function_calling_model=True, model_name=MODEL)  # fmt: skip


class Responses(OpenAIResponses):
    """A model with tools on Responses: LlamaIndex knows only OpenAI's own models."""

    @property
    def metadata(self) -> Any:
        return LLMMetadata(context_window=100_000, is_chat_model=True, is_function_calling_model=True, model_name=MODEL)  # fmt: skip


model: Any = LlamaChat(**OPTIONS) if WAY == "chat" else Responses(**OPTIONS)


def text(prompt: str, stream: bool) -> object:
    messages = [
        ChatMessage(role="system", content=SYSTEM),
        ChatMessage(role="user", content=prompt),
    ]
    if stream:
        more = {"stream_options": {"include_usage": True}} if WAY == "chat" else {}
        answer = list(model.stream_chat(messages, **more))[-1]
    else:
        answer = model.chat(messages)
    usage = getattr(answer.raw, "response", answer.raw).usage
    counts = [usage.prompt_tokens, usage.completion_tokens] if WAY == "chat" else [usage.input_tokens, usage.output_tokens]  # fmt: skip
    return {"text": answer.message.content, "usage": counts}


def loop(prompt: str, stream: bool) -> str:
    tool = FunctionTool.from_defaults(fn=weather, name="weather")
    messages = [
        ChatMessage(role="system", content=SYSTEM),
        ChatMessage(role="user", content=prompt),
    ]
    while True:
        if stream:
            answer = list(model.stream_chat_with_tools([tool], chat_history=messages, **BOTH))[-1]
        else:
            answer = model.chat_with_tools([tool], chat_history=messages, **BOTH)
        messages.append(answer.message)
        calls = model.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
        if not calls:
            return str(answer.message.content)
        messages += [
            ChatMessage(role="tool", content=weather(**call.tool_kwargs), additional_kwargs={"tool_call_id": call.tool_id})
            for call in calls
        ]  # fmt: skip


tell(**parts(text, loop))
