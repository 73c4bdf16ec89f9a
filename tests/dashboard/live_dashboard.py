"""A gateway in a process of its own for pages that act, with names that look like markup."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from gateway.core import jsonio
from tests.e2e.child import GatewayChild
from tests.e2e.upstream import (
    PATIENCE,
    SSE,
    Answer,
    Request,
    Upstream,
    chunk,
    failing,
    frames,
    whole,
)
from tests.e2e.world import Loop

ADMIN = "admin-key-0123456789-never-shown"
KEY = "key-of-a-client-0123456789-never-shown"
SECRET = "sk-acme-0123456789-never-shown"
BAD = "<img src=x onerror=window.hit=1>"
"""Markup that would run if a page treated a name as more than text."""
ODD = {BAD: f"{KEY}-a", "constructor": f"{KEY}-b", "__proto__": f"{KEY}-c"}
"""Keys whose names a careless page would not treat as text."""
RULES = f"""\
guards:
  - name: drafts are cheap
    when: {{tag: draft}}
    max_tier: fast

# The first that matches decides.
choices:
  - name: "{BAD}"
    when: {{keywords: [prove]}}
    tier: reasoning
  - name: late
    when: {{keywords: [prove], user_tokens: {{max: 900}}}}
    tier: fast
"""
CHEAPER = RULES.replace("tier: reasoning", "tier: smart")
_ROOT = str(Path(__file__).parents[2])
_PRICES = {"swift-1": (0.1, 0.4), "able-1": (1, 4), "deep-1": (5, 20), "else-1": (2, 8)}


def answer(request: Request) -> Answer:
    if request.json.get("stream") is True:
        return Answer(pieces=frames(counts=(40, 20)), headers=SSE)
    return whole(counts=(40, 20))


def odd(_: Request) -> Answer:
    """Answer like a provider that claims another model name."""
    answer = whole(counts=(40, 20))
    body = b"".join(piece or b"" for piece in answer.pieces).replace(b"served-1", BAD.encode())
    return Answer(pieces=(body,), length=len(body))


def slow(_: Request) -> Answer:
    """Stream one word, then wait until `release`."""
    first, *rest = frames(("Hel", "lo you."), counts=(40, 20))
    first_frame, *more = rest
    return Answer(
        pieces=(first, chunk({"reasoning_content": "Let me see."}), first_frame, None, *more),
        headers=SSE,
    )


def config(url: str) -> dict[str, Any]:
    def at(name: str, **more: Any) -> dict[str, Any]:
        return {
            "base_url": f"{url}/{name}",
            "dialects": {"openai-chat": "/chat/completions"},
            **more,
        }

    return {
        "version": 1,
        "include": ["rules.yaml"],
        "default": {"lab": "acme", "tier": "smart"},
        "routing": {"classifier": "prior"},
        "cache": {"ttl": "0s"},
        "ledger": {"content": "on"},
        "server": {"max_lag": "0s"},
        "keys": "keys.yaml",
        "providers": {
            "acme": at("acme", accounts={"main": SECRET}),
            "spare": at("spare", accounts={"main": SECRET}),
            "other": at("other", accounts={"main": SECRET}),
        },
        "labs": {
            "acme": {
                "fast": [{"model": "swift-1"}],
                "smart": [{"model": "able-1"}, {"model": "able-1", "provider": "spare"}],
                "reasoning": [{"model": "deep-1"}],
            },
            "other": {"smart": [{"model": "else-1"}]},
        },
        "models": {
            name: {"price": {"input": low, "cache_read": low / 10, "output": high}}
            for name, (low, high) in _PRICES.items()
        },
    }  # fmt: skip


class LiveDashboard:
    """The gateway, its provider, and a client."""

    def __init__(self, folder: Path, *, alone: bool = False) -> None:
        """Start the gateway; with `alone` it has no keys at all, as on a developer's own machine."""
        self._loop, self.upstream = Loop(), Upstream()
        self._loop.run(self.upstream.start())
        for path in ("/acme", "/spare"):
            self.upstream.on(path, answer)
        self.upstream.on("/other", odd)
        folder.mkdir(parents=True)
        self.folder = folder
        keys = {
            name: {"sha256": hashlib.sha256(secret.encode()).hexdigest()}
            for name, secret in (("client-1", KEY), *ODD.items())
        }
        (folder / "keys.yaml").write_bytes(jsonio.dumps(keys))
        (folder / "rules.yaml").write_text(RULES, "utf-8")
        self.file = folder / "gateway.yaml"
        made = config(self.upstream.url)
        self.file.write_bytes(jsonio.dumps({**made, "keys": "open"} if alone else made))
        self._environ = {
            "PYTHONPATH": _ROOT, "PYTHONUNBUFFERED": "1", "TIERGATE_DATA": str(folder / "data"),
        }  # fmt: skip
        if not alone:
            self._environ["TIERGATE_ADMIN_KEY"] = ADMIN
        self._child = GatewayChild(self.file, stem=folder / "gateway", **self._environ)
        self.port, self.url = self._child.port, self._child.url
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False)

    def call(
        self, text: str = "Prove it.", *, model: str = "auto", tags: str = "", status: int = 200, key: str = KEY,
    ) -> str:  # fmt: skip
        """Make a call; return its id."""
        head = {"authorization": f"Bearer {key}", "x-tiergate-tags": tags}
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        reply = self.client.post(
            "/v1/chat/completions", json=body, headers={k: v for k, v in head.items() if v}
        )
        assert reply.status_code == status, reply.text
        return reply.headers["x-request-id"]

    def some(self) -> None:
        """Make a call of every kind that the pages tell apart."""
        self.call()
        self.call("Hello.", tags=f"draft,{BAD}")
        self.call(BAD, model=BAD, status=404)
        for secret in ODD.values():
            self.call("Hello there.", model="other/smart", key=secret)
        self.upstream.on("/acme", failing(503))
        self.call(f"Greet {BAD}", model="acme/smart")
        self.upstream.on("/acme", answer)

    def admin(self, path: str, **more: Any) -> Any:
        """Return the admin API's answer, as JSON."""
        head = {"authorization": f"Bearer {ADMIN}"}
        return self.client.request("POST" if more else "GET", path, headers=head, **more).json()

    def tiergate(self, *words: str) -> Any:
        """Run a `tiergate` command; return its JSON output."""
        command = [sys.executable, "-m", "gateway", "--config", str(self.file), *words, "--json"]
        done = subprocess.run(
            command, env=self._environ, capture_output=True, text=True, check=True
        )
        return jsonio.loads(done.stdout.encode())

    def release(self) -> None:
        """Let the slow answer continue."""
        self._loop.run(self.upstream.release())

    def stop(self) -> None:
        self.client.close()
        self._child.stop()
        self._loop.run(self.upstream.stop())
        self._loop.close()
