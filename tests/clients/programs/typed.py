"""Pydantic AI: its models for OpenAI's two APIs, for Anthropic's and for Google's."""

import asyncio
from typing import Any

from asked import KEY, MODEL, SYSTEM, URL, WAY, parts, tell, weather
from pydantic_ai import Agent, Tool
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

OPENAI = {"base_url": f"{URL}/v1", "api_key": KEY}
MODELS: dict[str, Any] = {
    "chat": lambda: OpenAIChatModel(MODEL, provider=OpenAIProvider(**OPENAI)),
    "responses": lambda: OpenAIResponsesModel(MODEL, provider=OpenAIProvider(**OPENAI)),
    "messages": lambda: AnthropicModel(
        MODEL, provider=AnthropicProvider(base_url=URL, api_key=KEY)
    ),
    "gemini": lambda: GoogleModel(MODEL, provider=GoogleProvider(base_url=URL, api_key=KEY)),
}


async def ask(prompt: str, stream: bool, tools: list[Any]) -> tuple[str, Any]:
    agent = Agent(MODELS[WAY](), instructions=SYSTEM, tools=tools)
    if not stream:
        ran = await agent.run(prompt)
        return ran.output, ran.usage
    async with agent.run_stream_events(prompt) as events:
        async for event in events:
            last = event
    return last.result.output, last.result.usage


async def told(city: str, days: int = 1) -> str:
    """Tells the weather. It waits for nothing: uses at once stay in order."""
    return weather(city, days)


def text(prompt: str, stream: bool) -> object:
    answer, usage = asyncio.run(ask(prompt, stream, []))
    used = usage() if callable(usage) else usage
    return {"text": answer, "usage": [used.input_tokens, used.output_tokens]}


def loop(prompt: str, stream: bool) -> str:
    return asyncio.run(ask(prompt, stream, [Tool(told, name="weather")]))[0]


tell(**parts(text, loop))
