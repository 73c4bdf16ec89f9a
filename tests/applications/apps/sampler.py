"""Self-consistency with the openai SDK: it asks the same question several times at once and counts answers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

from openai import AsyncOpenAI

from tests.applications.apps.application import Application


class Sampler(Application):
    """At the default temperature each sample is a call of its own."""

    async def steps(self) -> AsyncIterator[None]:
        model = self.chance.choice(("gpt-6-luna", "gpt-4o", "smart", "deepseek-flash"))
        async with AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.key) as sdk:
            for _ in range(2):
                ref = self.ref()
                samples = await asyncio.gather(*(self._sample(sdk, model, ref) for _ in range(5)))
                votes = Counter(samples)
                assert len(votes) == 5, f"{len(votes)} answers to 5 calls"
                yield

    async def _sample(self, sdk: AsyncOpenAI, model: str, ref: str) -> str:
        answer = await sdk.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": f"How many primes are below 100? {ref}"}],
        )
        return self.hear(ref, answer.choices[0].message.content)
