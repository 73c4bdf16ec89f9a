"""An application of Anthropic's newest SDK: its tool runner, streams with a marked prompt, and counts of tokens."""

from collections.abc import AsyncIterator
from typing import Any

from anthropic import APIError, AsyncAnthropic, beta_async_tool

from tests.applications.apps.application import END_USER, Application
from tests.applications.provider.faults import Fault

_SYSTEM = "You are the harbour master of Rochefort. You answer sailors, in their language and briefly. " * 60  # fmt: skip
_MODELS = (
    "claude-sonnet-5-5", "claude-sonnet-4-5-20250929", "claude-haiku-4-5", "claude-3-7-sonnet-latest",
    "anthropic/auto", "smart",
)  # fmt: skip


class Claude(Application):
    """One conversation, then a task with tools."""

    async def steps(self) -> AsyncIterator[None]:
        self._model = self.chance.choice(_MODELS)
        async with AsyncAnthropic(base_url=self.url, api_key=self.key) as sdk:
            names = {model.id async for model in sdk.models.list()}
            assert {"claude-auto", "claude-sonnet-5-5"} <= names
            messages: list[Any] = []
            for _ in range(2):
                ref = self.ref(Fault.UNAVAILABLE, Fault.CUT, Fault.QUOTES_THE_KEY)
                messages.append({"role": "user", "content": f"When is high water? {ref}"})
                counted = await sdk.messages.count_tokens(model=self._model, messages=messages)
                assert counted.input_tokens > 0
                yield
                if self.chance.random() < 0.2:
                    await self._stop(sdk, messages, ref)
                    yield
                text = await self.survive(ref, self._show(sdk, messages, ref))
                messages.append({"role": "assistant", "content": text or "(it broke off)"})
                yield
            async for _ in self._task(sdk):
                yield

    def _asked(self, messages: list[Any]) -> dict[str, Any]:
        marked = {"type": "text", "text": _SYSTEM, "cache_control": {"type": "ephemeral"}}
        return {
            "model": self._model, "max_tokens": 2000, "system": [marked], "messages": messages,
            "metadata": {"user_id": END_USER},
        }  # fmt: skip

    async def _show(self, sdk: AsyncAnthropic, messages: list[Any], ref: str) -> str:
        """Show an answer to its end."""
        async with sdk.messages.stream(**self._asked(messages)) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            whole = await stream.get_final_message()
        assert whole.stop_reason == "end_turn"
        return self.hear(ref, text)

    async def _stop(self, sdk: AsyncAnthropic, messages: list[Any], ref: str) -> None:
        """Press the stop button at the first word."""
        self.leave(ref)
        try:
            async with sdk.messages.stream(**self._asked(messages)) as stream:
                async for _ in stream.text_stream:
                    break
        except APIError as error:
            self.failed[ref[5:-1]] = error

    async def _task(self, sdk: AsyncAnthropic) -> AsyncIterator[None]:
        """Let the SDK run tools until there is an answer."""
        ref = self.ref()
        results: list[str] = []

        @beta_async_tool
        async def tides(city: str, days: int) -> str:
            """Tell the tides of a city for some days."""
            assert days == 2
            self.check_argument(city)
            results.append(self.result(ref))
            return results[-1]

        runner = sdk.beta.messages.tool_runner(
            model=self._model, max_tokens=2000, tools=[tides],
            messages=[{"role": "user", "content": f"Shall I sail tomorrow? {ref}"}],
        )  # fmt: skip
        last: Any = None
        async for message in runner:
            last = message
            yield
        text = "".join(block.text for block in last.content if block.type == "text")
        assert len(results) == 3
        self.check_results(self.hear(ref, text), results)
