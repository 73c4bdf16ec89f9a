"""The base of all applications here: a name, a key, a provider to script, and the answers that came."""

import random
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass

from tests.applications.provider.faults import RETRIED, Fault
from tests.applications.provider.provider import Provider

_ARGUMENT = re.compile(r'ollama none "x" tok-\d{5} Zürich [01]')
END_USER = "reader-4711"
"""The end user whom the chat applications of all clients name."""
_SPOILED = 0.15
"""Share of turns that meet a fault."""


@dataclass(frozen=True)
class AppAnswer:
    """The answer of a turn, as the SDK returned it."""

    ref: str
    text: str


class Application(ABC):
    """One running application. `steps` does all its work and yields where other applications may act."""

    def __init__(
        self, name: str, url: str, key: str, chance: random.Random, provider: Provider
    ) -> None:
        self.name = name
        self.url = url
        self.key = key
        self.heard: list[AppAnswer] = []
        self.left: list[str] = []
        """Turns whose answer it did not wait for."""
        self.failed: dict[str, Exception] = {}
        """Turns that ended in an error which their fault explains."""
        self.error: Exception | None = None
        """The error that ended the application before its time."""
        self.chance = chance
        self._provider = provider
        self._turns = 0
        self._results = 0
        self._spoiled: dict[str, Fault] = {}

    @abstractmethod
    def steps(self) -> AsyncIterator[None]:
        """Do a step until the next `yield`."""

    def ref(self, *faults: Fault) -> str:
        """Begin a turn: its reference, which stands in the prompt. Some turns meet a fault."""
        self._turns += 1
        ref = f"{self.name}.{self._turns}"
        if faults and self.chance.random() < _SPOILED:
            self.spoil(ref, self.chance.choice(faults))
        return f"(ref {ref})"

    def spoil(self, ref: str, fault: Fault) -> None:
        """Let the next request of a turn meet a fault."""
        self._spoiled[ref] = fault
        self._provider.script(ref, fault)

    def hear(self, ref: str, text: str | None) -> str:
        """Note an answer."""
        assert text, f"{ref} has no answer"
        self.heard.append(AppAnswer(ref[5:-1], text))
        return text

    def leave(self, ref: str) -> None:
        """Note that the rest of an answer is not waited for."""
        self.left.append(ref[5:-1])

    def result(self, ref: str) -> str:
        """Make a tool result; no two of them are equal."""
        self._results += 1
        number = sum(self.name.encode()) * 100 + self._results
        return f"Sunny {ref} res-{number % 100_000:05}"

    def check_argument(self, word: str) -> None:
        """Check that a tool's argument is the one that the provider sent, to the letter."""
        assert _ARGUMENT.fullmatch(word), f"the tool was given {word!r}"

    def check_results(self, text: str, results: list[str]) -> None:
        """Check that the model has read all tool results: it repeats the last word of each."""
        missing = [result for result in results if result.split()[-1] not in text]
        assert not missing, f"{missing} did not reach the model: {text}"

    async def survive[T](self, ref: str, call: Awaitable[T]) -> T | None:
        """Await an answer; None where the turn met a fault that an SDK alone would not survive."""
        try:
            return await call
        except Exception as error:
            fault = self._spoiled.get(ref[5:-1])
            if fault is None or fault in RETRIED:
                raise
            self.failed[ref[5:-1]] = error
            return None
