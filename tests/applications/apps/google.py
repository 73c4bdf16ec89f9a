"""An application of Google's newest SDK: embeddings, tools that the SDK runs, streams and counts of tokens."""

from collections.abc import AsyncIterator

from google import genai
from google.genai import errors, types

from tests.applications.apps.application import Application
from tests.applications.provider.embeddings import vector
from tests.applications.provider.faults import Fault

_MODELS = ("gemini-4-hydrogen", "gemini-3.5-flash-lite", "gemini-2.5-flash", "google/auto", "smart")
_EMBEDDINGS = ("gemini-embedding-001", "text-embedding-3-small")


class Google(Application):
    """Notes are embedded, a question is answered in a stream, and a task is done with tools."""

    async def steps(self) -> AsyncIterator[None]:
        self._model = self.chance.choice(_MODELS)
        options = types.HttpOptions(base_url=self.url)
        async with genai.Client(api_key=self.key, http_options=options).aio as sdk:
            names = {model.name async for model in await sdk.models.list()}
            assert {"models/auto", "models/gemini-4-hydrogen"} <= names
            await self._embed(sdk)
            yield
            for _ in range(2):
                ref = self.ref(Fault.SLOW, Fault.CUT)
                counted = await sdk.models.count_tokens(model=self._model, contents="How long?")
                assert counted.total_tokens
                await self.survive(ref, self._show(sdk, ref))
                yield
            await self._task(sdk)
            yield
            await self._embed(sdk)

    async def _embed(self, sdk: genai.client.AsyncClient) -> None:
        texts = [f"Une note: ollama {self.ref()}", f"Noch eine: none {self.ref()}"]
        contents: list[types.ContentUnion] = [*texts]
        model = self.chance.choice(_EMBEDDINGS)
        reply = await sdk.models.embed_content(model=model, contents=contents)
        assert [embedding.values for embedding in reply.embeddings or ()] == [
            vector(text) for text in texts
        ]

    async def _show(self, sdk: genai.client.AsyncClient, ref: str) -> str:
        """Show an answer to its end."""
        text, ends = "", []
        stream = await sdk.models.generate_content_stream(model=self._model, contents=f"Wie weit ist es nach Lyon? {ref}")  # fmt: skip
        async for chunk in stream:
            text += chunk.text or ""
            ends += [it.finish_reason for it in chunk.candidates or () if it.finish_reason]
        if ends != ["STOP"]:
            raise errors.ServerError(502, {"error": {"message": f"no end: {ends}"}})
        return self.hear(ref, text)

    async def _task(self, sdk: genai.client.AsyncClient) -> None:
        """Let the SDK run tools until there is an answer."""
        ref = self.ref()
        given: list[tuple[str, int]] = []
        results: list[str] = []

        async def trains(city: str, days: int) -> str:
            """Tell the trains to a city for some days."""
            given.append((city, days))
            results.append(self.result(ref))
            return results[-1]

        config = types.GenerateContentConfig(tools=[trains])
        chat = sdk.chats.create(model=self._model, config=config)
        answer = await chat.send_message(f"Shall I go by train? {ref}")
        assert [days for _, days in given] == [2, 2, 2], given
        for city, _ in given:
            self.check_argument(city)
        self.check_results(self.hear(ref, answer.text), results)
