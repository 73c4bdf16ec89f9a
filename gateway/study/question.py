"""A prompt as the request that a client would send: what is studied is decided as calls are."""

from collections.abc import Callable, Mapping

from gateway.core import jsonio
from gateway.core.call import OPEN, Key, Steer
from gateway.core.jsonio import Json
from gateway.dialects import DIALECTS, Asked, Dialect
from gateway.routing import features
from gateway.routing.decide import Router
from gateway.routing.features import Features

_SAID: Mapping[str, Callable[[str, str], Json]] = {
    "openai-chat": lambda model, text: {
        "model": model,
        "messages": [{"role": "user", "content": text}],
    },
    "openai-responses": lambda model, text: {"model": model, "input": text},
    "anthropic-messages": lambda model, text: {
        "model": model,
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": text}],
    },
    "gemini": lambda _, text: {"contents": [{"role": "user", "parts": [{"text": text}]}]},
}
"""The plainest request of each dialect."""


def question(
    router: Router,
    text: str,
    *,
    model: str = "auto",
    key: Key = OPEN,
    tags: tuple[str, ...] = (),
    dialect: str = "openai-chat",
) -> tuple[Features, Dialect]:
    """What a decision reads of it, and the dialect it is in."""
    spoken = DIALECTS[dialect]
    raw = jsonio.dumps(_SAID[dialect](model, text))
    if spoken.read_at is None:
        body = spoken.read(raw)
    else:
        body = spoken.read_at(raw, f"models/{model}:generateContent")
    asked = Asked(spoken, body, router.fetches)
    return features.read(body.prompt, dialect, key, Steer(tags=tags), asked), spoken


def named(name: str | None, keys: Mapping[str, Key]) -> Key:
    """The key of a name; of one that nobody knows the name is all there is."""
    return OPEN if name is None else keys.get(name) or Key(name=name)
