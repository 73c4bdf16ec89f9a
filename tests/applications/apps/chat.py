"""A chat window with the openai SDK: streams, "regenerate", and a stop button."""

from collections.abc import AsyncIterator
from typing import Any

from openai import APIError, AsyncOpenAI

from tests.applications.apps.application import END_USER, Application
from tests.applications.provider.faults import Fault

_SYSTEM = (
    "You are a friendly assistant of a travel agency. Be brief and never invent a price. " * 60
)
_FAULTS = (Fault.UNAVAILABLE, Fault.CUT, Fault.ERROR_IN_200, Fault.BROKEN_JSON)
_MODELS = ("auto", "smart", "gpt-4o", "gpt-6-luna", "deepseek-flash", "ollama/llama3.1:8b")
_QUESTIONS = (
    "Hello! Who are you?", "Wie komme ich von Zürich nach Lyon?", "Which of the two is cheaper, and why?",
    "¿Qué tiempo hace en Sevilla?", "Compare the night train with flying, with all stops, and derive the better one.",
)  # fmt: skip


class Chat(Application):
    """One conversation of three turns."""

    async def steps(self) -> AsyncIterator[None]:
        self._model = self.chance.choice(_MODELS)
        self._messages: list[Any] = [{"role": "system", "content": _SYSTEM}]
        async with AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.key) as sdk:
            names = {model.id async for model in sdk.models.list()}
            assert {"auto", "smart", "gpt-6-luna"} <= names
            for _ in range(3):
                ref = self.ref(*_FAULTS)
                question = f"{self.chance.choice(_QUESTIONS)} {ref}"
                self._messages.append({"role": "user", "content": question})
                if self.chance.random() < 0.2:
                    await self._stop(sdk, ref)
                    yield
                text = await self.survive(ref, self._show(sdk, ref))
                yield
                if text is not None and self.chance.random() < 0.5:  # regenerate
                    again = await self.survive(ref, self._show(sdk, ref))
                    assert again != text, "the same answer again"
                    yield
                self._messages.append({"role": "assistant", "content": text or "(it broke off)"})

    async def _show(self, sdk: AsyncOpenAI, ref: str) -> str:
        """Show an answer to its end."""
        stream = await sdk.chat.completions.create(
            model=self._model, messages=self._messages, stream=True, stream_options={"include_usage": True},
            user=END_USER,
        )  # fmt: skip
        text, ends, usages = "", 0, 0
        async for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                ends += choice.finish_reason == "stop"
            usages += chunk.usage is not None
        assert (ends, usages) == (1, 1), f"{ends} ends, {usages} tell usage: {text}"
        return self.hear(ref, text)

    async def _stop(self, sdk: AsyncOpenAI, ref: str) -> None:
        """Press the stop button at the first word."""
        self.leave(ref)
        try:
            async with await sdk.chat.completions.create(
                model=self._model, messages=self._messages, stream=True
            ) as stream:
                async for chunk in stream:
                    if any(choice.delta.content for choice in chunk.choices):
                        break
        except APIError as error:
            self.failed[ref[5:-1]] = error
