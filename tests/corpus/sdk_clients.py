"""The official SDKs of the four dialects, which decode bytes of a test or call a server."""

import importlib
from typing import Any

import anthropic
import httpx2
import openai

try:
    GENAI: Any = importlib.import_module("google.genai")
except ImportError:
    GENAI = None

KNOWS_GEMINI = GENAI is not None
"""True if Google's official SDK is installed; else no SDK reads Gemini's answers."""


class SdkClients:
    """One client of each SDK, without retries."""

    def __init__(
        self, url: str = "http://x.test", transport: httpx2.BaseTransport | None = None
    ) -> None:
        """Without a `transport` to the server at `url`, `set_answer` sets what the clients get."""
        self._status, self._body, self._kind = 200, b"", ""
        transport = transport or httpx2.MockTransport(self._answer)
        http_client = httpx2.Client(transport=transport, timeout=60)
        self.openai = openai.OpenAI(
            api_key="k", base_url=f"{url}/v1", http_client=http_client, max_retries=0
        )
        self.anthropic = anthropic.Anthropic(
            api_key="k", base_url=url, http_client=http_client, max_retries=0
        )
        self.genai: Any = None
        if KNOWS_GEMINI:
            options = {"client_args": {"transport": transport}, "base_url": url}
            self.genai = GENAI.Client(api_key="k", vertexai=False, http_options=options)

    def close(self) -> None:
        """Close the connections."""
        self.openai.close()
        self.anthropic.close()
        if self.genai is not None:
            self.genai.close()

    def set_answer(self, body: bytes, *, stream: bool, status: int = 200) -> None:
        """Set what the clients get from now on."""
        self._status, self._body = status, body
        self._kind = "text/event-stream" if stream and status == 200 else "application/json"

    def _answer(self, _: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": self._kind}
        return httpx2.Response(self._status, content=self._body, headers=headers)

    def list_chunks(self, stream: bool) -> list[Any]:
        """List the objects that Google's SDK decodes: one if the answer is whole."""
        models = self.genai.models
        if stream:
            return list(models.generate_content_stream(model="m", contents="hi"))
        return [models.generate_content(model="m", contents="hi")]
