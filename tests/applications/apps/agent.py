"""An agent with tools and the openai SDK: on Chat Completions, or on Responses with the state at the provider."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from openai import AsyncOpenAI

from tests.applications.apps.application import Application
from tests.applications.provider.faults import Fault

_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
_NAMES = ("weather", "tides")
_ABOUT = "Tells it for a city and some days."


class Agent(Application):
    """Two tasks, each a loop of tools until there is an answer."""

    async def steps(self) -> AsyncIterator[None]:
        loops: list[Callable[[AsyncOpenAI, str, str, bool], AsyncIterator[None]]] = [
            self._chat, self._responses,
        ]  # fmt: skip
        async with AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.key) as sdk:
            for _ in range(2):
                ref = self.ref(Fault.RATE_LIMIT, Fault.SERVER_ERROR)
                loop = self.chance.choice(loops)
                async for _ in loop(sdk, ref, f"Shall I sail tomorrow? {ref}", self.chance.random() < 0.5):  # fmt: skip
                    yield

    async def _chat(self, sdk: AsyncOpenAI, ref: str, task: str, stream: bool) -> AsyncIterator[None]:  # fmt: skip
        model = self.chance.choice(("gpt-4o", "gpt-6-luna", "smart", "deepseek-flash"))
        tools: list[Any] = [
            {"type": "function", "function": {"name": name, "description": _ABOUT, "parameters": _SCHEMA}}
            for name in _NAMES
        ]  # fmt: skip
        messages: list[Any] = [{"role": "user", "content": task}]
        given: list[str] = []
        while True:
            if stream:
                async with sdk.chat.completions.stream(model=model, messages=messages, tools=tools) as events:  # fmt: skip
                    whole: Any = await events.get_final_completion()
            else:
                whole = await sdk.chat.completions.create(model=model, messages=messages, tools=tools)  # fmt: skip
            message = whole.choices[0].message
            messages.append(message.to_dict())
            if not message.tool_calls:
                self.check_results(self.hear(ref, message.content), given)
                return
            for call in message.tool_calls:
                given.append(self._use(ref, call.function.name, call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": given[-1]})
            yield

    async def _responses(self, sdk: AsyncOpenAI, ref: str, task: str, stream: bool) -> AsyncIterator[None]:  # fmt: skip
        model = self.chance.choice(("gpt-6.2-sol", "gpt-4o", "openai/smart", "auto"))
        tools: list[Any] = [
            {"type": "function", "name": name, "description": _ABOUT, "parameters": _SCHEMA, "strict": True}
            for name in _NAMES
        ]  # fmt: skip
        kept = self.chance.random() < 0.5
        items: list[Any] = [{"role": "user", "content": task}]
        previous: str | None = None
        given: list[str] = []
        while True:
            members: dict[str, Any] = {"model": model, "input": items, "tools": tools}
            members |= {"previous_response_id": previous} if kept and previous else {}
            whole = await self._respond(sdk, members, stream)
            assert whole.status == "completed"
            calls = [item for item in whole.output if item.type == "function_call"]
            if not calls:
                self.check_results(self.hear(ref, whole.output_text), given)
                return
            results = []
            for call in calls:
                given.append(self._use(ref, call.name, call.arguments))
                results.append({"type": "function_call_output", "call_id": call.call_id, "output": given[-1]})  # fmt: skip
            previous = whole.id
            items = results if kept else [*items, *(it.to_dict() for it in whole.output), *results]
            yield

    async def _respond(self, sdk: AsyncOpenAI, members: dict[str, Any], stream: bool) -> Any:
        if not stream:
            return await sdk.responses.create(**members)
        async with sdk.responses.stream(**members) as events:
            return await events.get_final_response()

    def _use(self, ref: str, name: str, arguments: str) -> str:
        """Run a tool."""
        given = json.loads(arguments)
        assert name in _NAMES
        assert given["days"] == 2
        self.check_argument(given["city"])
        return self.result(ref)
