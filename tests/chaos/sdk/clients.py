"""The official SDKs, unmodified and with their own retries, in programs of five kinds."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
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

type OnResponse = Callable[[Any], None]
"""Is called with each HTTP response that an SDK gets, by the HTTP library of that SDK."""


@dataclass(frozen=True)
class SdkCall:
    """One call that a program makes."""

    model: str
    tag: str
    """The tag of all its calls."""
    stream: bool
    shown: list[str] = field(default_factory=list)
    """The texts of a stream, as the program gets them."""

    @property
    def headers(self) -> dict[str, str]:
        return {"x-tiergate-tags": self.tag}


@dataclass(frozen=True)
class SdkAnswer:
    """The answer that a program gets: its text, and what it says of itself."""

    text: str
    finish: str | None
    """The last reason for the end, in the dialect's own word; None if there is none."""
    model: str | None
    """The model that the body or the frames name."""


@dataclass(frozen=True)
class SdkClient:
    """One kind of program: its dialect, its SDK, and how it asks."""

    dialect: str
    open: Callable[[str, OnResponse | None], AbstractContextManager[Any]]
    """Opens the SDK for the address of a gateway."""
    ask: Callable[[Any, SdkCall], SdkAnswer]
    """Makes one call; may raise any error of the SDK."""


def _hooks(on_response: OnResponse | None) -> dict[str, Any]:
    return {} if on_response is None else {"event_hooks": {"response": [on_response]}}


@contextmanager
def _openai(url: str, on_response: OnResponse | None) -> Iterator[openai.OpenAI]:
    http_client = openai.DefaultHttpxClient(**_hooks(on_response))
    with openai.OpenAI(base_url=f"{url}/v1", api_key=CLIENT_KEY, http_client=http_client) as sdk:
        yield sdk


@contextmanager
def _anthropic(url: str, on_response: OnResponse | None) -> Iterator[anthropic.Anthropic]:
    http_client = anthropic.DefaultHttpxClient(**_hooks(on_response))
    with anthropic.Anthropic(base_url=url, api_key=CLIENT_KEY, http_client=http_client) as sdk:
        yield sdk


def _google(
    retry: types.HttpRetryOptions | None,
) -> Callable[[str, OnResponse | None], AbstractContextManager[genai.Client]]:
    @contextmanager
    def open_sdk(url: str, on_response: OnResponse | None) -> Iterator[genai.Client]:
        options = types.HttpOptions(
            base_url=url, retry_options=retry, client_args=_hooks(on_response)
        )
        sdk = genai.Client(api_key=CLIENT_KEY, http_options=options)
        try:
            yield sdk
        finally:
            sdk.close()

    return open_sdk


def _chat(sdk: openai.OpenAI, call: SdkCall) -> SdkAnswer:
    create, headers = sdk.chat.completions.create, call.headers
    if not call.stream:
        whole = create(model=call.model, messages=_HELLO, extra_headers=headers)
        (only,) = whole.choices
        return SdkAnswer(only.message.content or "", only.finish_reason, whole.model)
    stream = create(model=call.model, messages=_HELLO, stream=True, extra_headers=headers)
    finish: str | None = None
    model: str | None = None
    for chunk in stream:
        model = chunk.model or model
        for choice in chunk.choices:
            call.shown.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
    return SdkAnswer("".join(call.shown), finish, model)


def _responses(sdk: openai.OpenAI, call: SdkCall) -> SdkAnswer:
    create, headers = sdk.responses.create, call.headers
    if not call.stream:
        whole = create(model=call.model, input=PROMPT, store=False, extra_headers=headers)
        return SdkAnswer(whole.output_text, whole.status, whole.model)
    finish, model = None, None
    for event in create(
        model=call.model, input=PROMPT, store=False, stream=True, extra_headers=headers
    ):
        if event.type == "response.output_text.delta":
            call.shown.append(event.delta)
        elif event.type in ("response.completed", "response.incomplete"):
            finish, model = event.response.status, event.response.model
    return SdkAnswer("".join(call.shown), finish, model)


def _messages(sdk: anthropic.Anthropic, call: SdkCall) -> SdkAnswer:
    wish: Any = {"model": call.model, "max_tokens": 99, "messages": _HELLO}
    message: Any
    if call.stream:
        with sdk.messages.stream(**wish, extra_headers=call.headers) as events:
            for text in events.text_stream:
                call.shown.append(text)
            message = events.get_final_message()
    else:
        message = sdk.messages.create(**wish, extra_headers=call.headers)
    text = "".join(it.text for it in message.content if it.type == "text")
    return SdkAnswer(text, message.stop_reason, message.model)


def _generate(sdk: genai.Client, call: SdkCall) -> SdkAnswer:
    config = types.GenerateContentConfig(http_options=types.HttpOptions(headers=call.headers))
    models = sdk.models
    answer = SdkAnswer("", None, None)
    for part in (
        models.generate_content_stream(model=call.model, contents=PROMPT, config=config)
        if call.stream
        else [models.generate_content(model=call.model, contents=PROMPT, config=config)]
    ):
        call.shown.append(part.text or "")
        finish = next((it.finish_reason for it in part.candidates or () if it.finish_reason), None)
        answer = SdkAnswer(
            "".join(call.shown),
            answer.finish if finish is None else str(finish.value),
            part.model_version or answer.model,
        )
    return answer


CLIENTS: Mapping[str, SdkClient] = {
    "openai": SdkClient(CHAT, _openai, _chat),
    "openai responses": SdkClient(RESPONSES, _openai, _responses),
    "anthropic": SdkClient(MESSAGES, _anthropic, _messages),
    "google-genai": SdkClient(GEMINI, _google(None), _generate),
    # google-genai makes its five attempts here, without seconds between them.
    "google-genai that retries": SdkClient(
        GEMINI, _google(types.HttpRetryOptions(initial_delay=0.01, max_delay=0.01)), _generate
    ),
}
"""Clients by name."""


def set_sleep(sleep: Callable[[float], None]) -> None:
    """Let the retries of OpenAI's and Anthropic's SDKs wait by another function."""
    clock: Any = SimpleNamespace(**{**vars(time), "sleep": sleep})
    vars(openai._base_client)["time"] = clock
    vars(anthropic._base_client)["time"] = clock


def awake() -> None:
    """Remove the waits from the SDKs' own retries; only the number of retries matters."""
    set_sleep(lambda seconds: None)


def describe_error(error: Exception) -> str:
    """Return the class of an SDK's error, with its package, and its HTTP status if it has one."""
    status = getattr(error, "status_code", getattr(error, "code", None))
    kind = f"{type(error).__module__.partition('.')[0]}.{type(error).__name__}"
    return f"{kind} {status}" if isinstance(status, int) else kind


def outcome(name: str, gateway: ChaosGateway, model: str, tag: str, *, stream: bool) -> str:
    """Return what a program gets of one call: the answer, an exception or, wrongly, half a text."""
    client = CLIENTS[name]
    try:
        with client.open(f"http://127.0.0.1:{gateway.port}", None) as sdk:
            answer = client.ask(sdk, SdkCall(model, tag, stream))
    except Exception as error:  # noqa: BLE001 - the test compares the kind of error
        return describe_error(error)
    return "the answer" if answer.text.endswith(_END) else "half a text"
