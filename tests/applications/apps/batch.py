"""An evaluation with the openai SDK: temperature 0, four at a time, and some prompts are equal."""

import asyncio
from collections.abc import AsyncIterator

from openai import AsyncOpenAI

from tests.applications.apps.application import Application
from tests.applications.provider.faults import Fault

_WORKERS = 4


class Batch(Application):
    """Eight rows of a table in two batches. Equal prompts may have one answer between them."""

    async def steps(self) -> AsyncIterator[None]:
        model = self.chance.choice(("gpt-4o", "gpt-6-luna", "fast", "deepseek-flash"))
        async with AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.key) as sdk:
            for _ in range(2):
                refs = [self.ref(Fault.RATE_LIMIT) for _ in range(3)]
                rows = [*refs, *self.chance.choices(refs, k=3)]
                workers = asyncio.Semaphore(_WORKERS)
                await asyncio.gather(*(self._grade(sdk, model, ref, workers) for ref in rows))
                yield

    async def _grade(self, sdk: AsyncOpenAI, model: str, ref: str, workers: asyncio.Semaphore) -> None:  # fmt: skip
        async with workers:
            answer = await sdk.chat.completions.create(
                model=model, temperature=0,
                messages=[{"role": "user", "content": f"Grade this answer from 1 to 5: none {ref}"}],
            )  # fmt: skip
        self.hear(ref, answer.choices[0].message.content)
