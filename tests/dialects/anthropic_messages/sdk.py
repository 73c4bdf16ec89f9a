"""Read bytes that the gateway would send with the official SDK."""

from typing import Any

import anthropic
import httpx2

type Object = dict[str, Any]


def _client(body: bytes, kind: str) -> anthropic.Anthropic:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body, headers={"content-type": kind})

    transport = httpx2.Client(transport=httpx2.MockTransport(answer))
    return anthropic.Anthropic(
        api_key="k", base_url="https://here.test", http_client=transport, max_retries=0
    )


def streamed(body: bytes) -> Object:
    """Return the message that `messages.stream` assembles, without nulls."""
    client = _client(body, "text/event-stream")
    with client.messages.stream(
        model="m", max_tokens=1, messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        message: Object = stream.get_final_message().to_dict(exclude_none=True)
    return message


def whole(body: bytes) -> Object:
    """Return the message that `messages.create` reads, without nulls."""
    client = _client(body, "application/json")
    message: Object = client.messages.create(
        model="m", max_tokens=1, messages=[{"role": "user", "content": "hi"}]
    ).to_dict(exclude_none=True)
    return message
