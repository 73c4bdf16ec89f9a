"""Answers questions over documents: embeddings and chat by turns, with the openai SDK."""

from collections.abc import AsyncIterator

from openai import AsyncOpenAI

from tests.applications.apps.application import Application
from tests.applications.provider.embeddings import vector
from tests.applications.provider.faults import Fault

_FAULTS = (Fault.SERVER_ERROR, Fault.SLOW, Fault.ERROR_IN_200, Fault.BROKEN_JSON, Fault.CUT)
_PAGES = (
    "Ollama pulls models by their name, as `ollama pull llama3.1:8b`.",
    "Die Rechnung nennt None, wo niemand den Preis kennt.",
    "El río más largo de Francia es el Loira.",
)


class Rag(Application):
    """Embeds its pages once, then each question, and asks with a page."""

    async def steps(self) -> AsyncIterator[None]:
        embed = self.chance.choice(("text-embedding-3-small", "text-embedding-3-large"))
        model = self.chance.choice(("gpt-4o", "gpt-6-luna", "fast", "auto"))
        async with AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.key) as sdk:
            await self._embed(sdk, embed, [f"{page} {self.ref()}" for page in _PAGES])
            yield
            for _ in range(3):
                question = f"What is said of page {self.chance.randrange(9)}?"
                questions = [f"{question} {self.ref(Fault.RATE_LIMIT)}"]
                await self._embed(sdk, embed, questions)
                yield
                if self.chance.random() < 0.3:  # a second look at the same question
                    await self._embed(sdk, embed, questions)
                ref = self.ref(*_FAULTS)
                await self.survive(ref, self._answer(sdk, model, question, ref))
                yield

    async def _answer(self, sdk: AsyncOpenAI, model: str, question: str, ref: str) -> None:
        answer = await sdk.chat.completions.create(
            model=model,
            messages=[
                {"role": "system", "content": f"Answer from this page: {_PAGES[0]}"},
                {"role": "user", "content": f"{question} {ref}"},
            ],
        )
        self.hear(ref, answer.choices[0].message.content)

    async def _embed(self, sdk: AsyncOpenAI, model: str, texts: list[str]) -> None:
        reply = await sdk.embeddings.create(model=model, input=texts)
        assert [embedding.embedding for embedding in reply.data] == [vector(text) for text in texts]
