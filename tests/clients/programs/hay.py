"""Haystack: its generator for OpenAI's Chat Completions."""

from typing import Any

from asked import KEY, MODEL, SYSTEM, URL, parts, tell, weather
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool
from haystack.utils import Secret

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}


def model(stream: bool, tools: list[Any] | None = None) -> Any:
    callback = (lambda _: None) if stream else None
    options = {"stream_options": {"include_usage": True}} if stream else {}
    return OpenAIChatGenerator(
        api_key=Secret.from_token(KEY), model=MODEL, api_base_url=f"{URL}/v1", max_retries=0,
        streaming_callback=callback, tools=tools, generation_kwargs=options,
    )  # fmt: skip


def text(prompt: str, stream: bool) -> object:
    messages = [ChatMessage.from_system(SYSTEM), ChatMessage.from_user(prompt)]
    (answer,) = model(stream).run(messages)["replies"]
    usage = answer.meta["usage"]
    return {"text": answer.text, "usage": [usage["prompt_tokens"], usage["completion_tokens"]]}


def loop(prompt: str, stream: bool) -> str:
    tool = Tool(name="weather", description="Tells it.", parameters=SCHEMA, function=weather)
    chat_model = model(stream, [tool])
    messages = [ChatMessage.from_system(SYSTEM), ChatMessage.from_user(prompt)]
    while True:
        (answer,) = chat_model.run(messages)["replies"]
        messages.append(answer)
        if not answer.tool_calls:
            return str(answer.text)
        messages += [
            ChatMessage.from_tool(weather(**call.arguments), call) for call in answer.tool_calls
        ]


tell(**parts(text, loop))
