"""Chat Completions streams at home: bytes go on as they came, with a glance at what they say.

    held --first content--> committed --finish and [DONE]--> complete

Frames before the first content (role chunk, comments) are held; nothing is held after it but a
frame that has not ended. A frame is only looked into before the commit point, or where a cheap
search finds that it tells usage, an error or a finish; of the rest it is known that it is JSON.
"""

import re

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.usage import Usage, joined, service
from gateway.dialects.base import Body, Watch
from gateway.dialects.held import DONE, Held, broken
from gateway.dialects.openai_chat import amount, problems, request, usage

_TELLS = re.compile(
    rb'"(?:usage"\s*:\s*\{|finish_reason"\s*:\s*"|error"\s*:\s*[^n\s]|object"\s*:\s*"error")'
)
_CONTENT = (
    "content", "reasoning_content", "reasoning", "reasoning_text", "refusal", "tool_calls",
    "function_call", "audio", "reasoning_details",
)  # fmt: skip


def watch(body: Body) -> Watch:
    """The state of one stream that answers `body`."""
    return _Stream(hide_usage=not request.asks_usage(body), choices=body.prompt.choices)


class _Stream(Held):
    """What one stream has said so far; see Watch."""

    __slots__ = ("_choices", "_done", "_finished", "_hide", "_seen", "_word")

    def __init__(self, *, hide_usage: bool, choices: int) -> None:
        super().__init__()
        self._hide = hide_usage
        self._choices = choices
        self._done = False
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._word: Json = None
        """What the provider calls the service tier that served."""

    @property
    def complete(self) -> bool:
        """Whether it ended: `[DONE]`, or a finish of every choice, as some hosts send no more."""
        if self.problem is not None:
            return False
        finished = len(self._finished)
        return self._done or (finished >= max(self._choices, len(self._seen), 1))

    def _plain(self, data: bytes) -> bool:
        if not self.committed or self._choices > 1:
            return False
        return DONE not in data and _TELLS.search(data) is None

    _amount = staticmethod(amount.chunk)
    _HOLE = re.compile(rb'"content":[ ]?"')

    def _glance(self, frame: bytes, payload: bytes) -> bool:  # noqa: ARG002 - others look at both
        """Read one chunk; tell whether it stays here: usage not asked for, or what is no chunk."""
        if payload.startswith(DONE):
            self._done = self.committed = True
            return False
        try:
            chunk = jsonio.loads(payload)
        except jsonio.JsonError:
            chunk = None
        if not isinstance(chunk, dict):
            self.problem = broken()
            return True
        choices = chunk.get("choices")
        if self.served is None and isinstance(chunk.get("model"), str):
            self.served = chunk["model"] or None
        told = self._account(chunk)
        error = chunk.get("error")
        if error or chunk.get("object") == "error":
            self.problem = problems.found(error or chunk, payload)
            return not error  # clients know an error by that member alone
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._choice(choice)
        return self._hide and told and not choices

    def _account(self, chunk: dict[str, Json]) -> bool:
        """Take what a chunk says of usage; tell whether it counts anything."""
        self._word = chunk.get("service_tier") or self._word
        told = usage.find(chunk, self._word)
        if told is not None:
            self.usage = msgspec.structs.replace(joined(self.usage, told), service=told.service)
        elif (word := service(self._word)) is not None:
            self.usage = msgspec.structs.replace(self.usage or Usage(), service=word)
        return told is not None

    def _choice(self, choice: dict[str, Json]) -> None:
        index = choice.get("index")
        at = index if isinstance(index, int) else 0
        self._seen.add(at)
        finish = choice.get("finish_reason")
        if isinstance(finish, str) and finish:
            self._finished.add(at)
            self.finish = finish
            self.committed = True
        delta = choice.get("delta")
        if not self.committed and isinstance(delta, dict):
            self.committed = any(delta.get(name) for name in _CONTENT)
