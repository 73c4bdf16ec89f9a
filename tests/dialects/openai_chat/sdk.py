"""Read bytes that the gateway would send with the official SDK."""

from typing import Any

import httpx2
import openai

type Object = dict[str, Any]


def client(body: bytes, kind: str) -> openai.OpenAI:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body, headers={"content-type": kind})

    transport = httpx2.Client(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(
        api_key="k", base_url="https://here.test", http_client=transport, max_retries=0
    )


def streamed(body: bytes) -> Object:
    """Return the completion that `chat.completions.stream` assembles, without nulls."""
    sdk = client(body, "text/event-stream")
    with sdk.chat.completions.stream(
        model="m", messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        completion: Object = stream.get_final_completion().to_dict(exclude_none=True)
    return completion


def whole(body: bytes) -> Object:
    """Return the completion that `chat.completions.create` reads, without nulls."""
    sdk = client(body, "application/json")
    completion: Object = sdk.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hi"}]
    ).to_dict(exclude_none=True)
    return completion
