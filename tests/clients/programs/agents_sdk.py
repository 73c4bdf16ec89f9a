"""OpenAI's Agents SDK: on Responses, as it is by default, and on Chat Completions."""

import asyncio
from typing import Any

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)  # fmt: skip
from asked import KEY, MODEL, SYSTEM, URL, WAY, parts, tell, weather
from openai import AsyncOpenAI

set_tracing_disabled(True)


async def ask(prompt: str, stream: bool, tools: list[Any]) -> Any:
    sdk = AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
    kind = {"responses": OpenAIResponsesModel, "chat": OpenAIChatCompletionsModel}[WAY]
    settings = ModelSettings(include_usage=True)
    agent = Agent(
        name="One",
        instructions=SYSTEM,
        model=kind(MODEL, sdk),
        model_settings=settings,
        tools=tools,
    )
    if not stream:
        return await Runner.run(agent, prompt)
    ran = Runner.run_streamed(agent, prompt)
    async for _ in ran.stream_events():
        pass
    return ran


def text(prompt: str, stream: bool) -> object:
    ran = asyncio.run(ask(prompt, stream, []))
    used = ran.context_wrapper.usage
    return {"text": ran.final_output, "usage": [used.input_tokens, used.output_tokens]}


async def told(city: str, days: int = 1) -> str:
    """Tells the weather. It waits for nothing: uses at once stay in order."""
    return weather(city, days)


def loop(prompt: str, stream: bool) -> str:
    tool = function_tool(told, name_override="weather")
    return str(asyncio.run(ask(prompt, stream, [tool])).final_output)


tell(**parts(text, loop))
