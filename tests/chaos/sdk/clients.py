"""The official SDKs, unmodified and with their own retries, in programs of five kinds."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import anthropic
import anthropic._base_client
import openai
import openai._base_client
from google import genai
from google.genai import types

from tests.chaos.client import PROMPT
from tests.chaos.gateway import CLIENT_KEY, ChaosGateway
from tests.e2e.four_labs import CHAT, GEMINI, MESSAGES, RESPONSES

_END = "you."
"""The end of every good answer."""
_HELLO: Any = [{"role": "user", "content": PROMPT}]


@dataclass(frozen=True)
class SdkCall:
    """One call that a program makes."""

    url: str
    model: str
    tag: str
    """The tag of all its calls."""
    stream: bool

    @property
    def headers(self) -> dict[str, str]:
        return {"x-tiergate-tags": self.tag}


type Ask = Callable[[SdkCall], str]
"""Returns the text that a program gets; may raise any error of its SDK."""


def _openai(call: SdkCall) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{call.url}/v1", api_key=CLIENT_KEY, default_headers=call.headers
    )


def _chat(call: SdkCall) -> str:
    with _openai(call) as sdk:
        create = sdk.chat.completions.create
        if not call.stream:
            return create(model=call.model, messages=_HELLO).choices[0].message.content or ""
        chunks = create(model=call.model, messages=_HELLO, stream=True)
        return "".join(it.choices[0].delta.content or "" for it in chunks if it.choices)


def _responses(call: SdkCall) -> str:
    with _openai(call) as sdk:
        if not call.stream:
            return sdk.responses.create(model=call.model, input=PROMPT, store=False).output_text
        events = sdk.responses.create(model=call.model, input=PROMPT, store=False, stream=True)
        return "".join(it.delta for it in events if it.type == "response.output_text.delta")


def _messages(call: SdkCall) -> str:
    with anthropic.Anthropic(
        base_url=call.url, api_key=CLIENT_KEY, default_headers=call.headers
    ) as sdk:
        if call.stream:
            with sdk.messages.stream(model=call.model, max_tokens=99, messages=_HELLO) as events:
                return "".join(events.text_stream)
        message: Any = sdk.messages.create(model=call.model, max_tokens=99, messages=_HELLO)
        return "".join(it.text for it in message.content if it.type == "text")


def _google(retry: types.HttpRetryOptions | None) -> Ask:
    def ask(call: SdkCall) -> str:
        options = types.HttpOptions(base_url=call.url, headers=call.headers, retry_options=retry)
        sdk = genai.Client(api_key=CLIENT_KEY, http_options=options)
        try:
            models = sdk.models
            if not call.stream:
                return models.generate_content(model=call.model, contents=PROMPT).text or ""
            chunks = models.generate_content_stream(model=call.model, contents=PROMPT)
            return "".join(it.text or "" for it in chunks)
        finally:
            sdk.close()

    return ask


CLIENTS: Mapping[str, tuple[str, Ask]] = {
    "openai": (CHAT, _chat),
    "openai responses": (RESPONSES, _responses),
    "anthropic": (MESSAGES, _messages),
    "google-genai": (GEMINI, _google(None)),
    # google-genai makes its five attempts here, without seconds between them.
    "google-genai that retries": (
        GEMINI, _google(types.HttpRetryOptions(initial_delay=0.01, max_delay=0.01)),
    ),
}  # fmt: skip
"""Clients by name, each with its dialect."""

_AWAKE: Any = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})


def awake() -> None:
    """Remove the waits from the SDKs' own retries; only the number of retries matters."""
    vars(openai._base_client)["time"] = _AWAKE
    vars(anthropic._base_client)["time"] = _AWAKE


def outcome(name: str, gateway: ChaosGateway, model: str, tag: str, *, stream: bool) -> str:
    """Return what a program gets of one call: the answer, an exception or, wrongly, half a text."""
    _, ask = CLIENTS[name]
    try:
        text = ask(SdkCall(f"http://127.0.0.1:{gateway.port}", model, tag, stream))
    except Exception as error:  # noqa: BLE001 - the test compares the kind of error
        status = getattr(error, "status_code", getattr(error, "code", None))
        kind = f"{type(error).__module__.partition('.')[0]}.{type(error).__name__}"
        return f"{kind} {status}" if isinstance(status, int) else kind
    return "the answer" if text.endswith(_END) else "half a text"
