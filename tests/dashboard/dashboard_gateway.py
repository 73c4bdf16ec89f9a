"""A gateway in a process of its own with a scripted provider: real calls, and a month of rows like
them.

The rows of the month copy those of real calls, with other times and amounts. The gateway has
written the originals, and reads the copies as it reads its own rows.
"""

import hashlib
import http.client
import json
import math
import random
import signal
import time
import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from gateway.core import jsonio
from gateway.core.ledger_rows import FeedbackRow, FinalRow, Verdict
from gateway.ledger import journal
from gateway.ledger.label_pairs import LabelPair, LabelPairs, ShownAnswer
from gateway.limits.key_admin import KeyAdmin
from gateway.limits.key_store.store import open_database
from tests.e2e.child import GatewayChild, until
from tests.e2e.upstream import PATIENCE, SSE, Answer, Request, Upstream, frames, usage
from tests.e2e.world import Loop

ADMIN = "admin-key-0123456789-never-shown"
PROMPT = "Please be so kind and greet the canary 4711 of this test."
SECRET = "sk-openai-0123456789-never-shown"
APPS = ("chat-app", "support-bot", "coding-agent", "nightly-jobs")
_SETTINGS: dict[str, dict[str, Any]] = {
    "chat-app": {"team": "web", "budgets": [{"usd": 500, "every": "month"}]},
    "support-bot": {"team": "web", "tiers": ["fast", "smart"], "limits": [{"requests": "600/m"}]},
    "coding-agent": {"team": "platform", "labs": ["openai", "mistral"]},
    "nightly-jobs": {"team": "platform", "tags": ["batch"], "expires": "180d"},
}
"""What each application's key may do, if the keys are in a database."""
IN_ARM, OUT_ARM = "canary:in", "canary:out"
DAYS, AN_HOUR = 30, 9
"""Days that the rows go back, and rows per hour on average."""
_PROMPTS = (
    "hi",
    PROMPT,
    "Prove that there are infinitely many primes.",
    "Summarise this text in two sentences: the meeting was moved to Thursday because of the strike.",
    "Write a Python function that merges two sorted lists, and its tests.",
    "thanks",
)
_PRICES = {
    "gpt-6-luna": (0.05, 0.4), "gpt-6.1-sol": (1.25, 10), "gpt-6.2-astra": (15, 60),
    "mistral-small-4": (0.1, 0.3), "mistral-large-4": (2, 6), "magistral-large-2": (4, 12),
}  # fmt: skip


def secret(app: str) -> str:
    return f"key-of-{app}-0123456789-never-shown"


def answer(request: Request) -> Answer:
    """Answer with token counts that depend on the model, so that no two bills are alike."""
    model = request.json["model"]
    counts = (180 + 37 * len(model), 60 + 211 * (len(model) % 5))
    if request.json.get("stream") is True:
        return Answer(pieces=frames(counts=counts), headers=SSE)
    message = {"role": "assistant", "content": "Hello you."}
    body = jsonio.dumps(
        {
            "id": "up-1", "object": "chat.completion", "created": 1, "model": model, "usage": usage(*counts),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        }
    )  # fmt: skip
    return Answer(pieces=(body,), length=len(body))


def down(_: Request) -> Answer:
    return Answer(pieces=(b"{}",), status=503, length=2)


def config(url: str) -> dict[str, Any]:
    def at(name: str, **more: Any) -> dict[str, Any]:
        return {
            "base_url": f"{url}/{name}",
            "dialects": {"openai-chat": "/chat/completions"},
            **more,
        }

    return {
        "version": 1,
        "default": {"lab": "openai", "tier": "smart"},
        "routing": {"classifier": "prior"},
        "cache": {"default": "on", "ttl": "1h"},
        "ledger": {"baseline": "reasoning"},
        "server": {"max_lag": "0s"},
        "keys": "keys.yaml",
        "budgets": [
            {"name": "everything", "usd": 40, "every": "day", "soft": 0.8, "reserve": "expected"},
            {"name": "applications", "usd": 400, "every": "month", "per": "key", "hard": False},
            {"name": "reasoning", "share": 0.2, "tier": ["reasoning"], "every": "day", "then": "smart"},
        ],
        "guards": [
            {"name": "code stays with two labs", "when": {"key": "coding-agent"}, "allow": ["openai", "mistral"]},
        ],
        "choices": [
            {"name": "small talk stays fast", "when": {"matches": "^(hi|thanks)"}, "tier": "fast"},
            {"name": "proofs are reasoned", "when": {"keywords": ["prove"]}, "tier": "reasoning"},
        ],
        "providers": {
            "openai": at("openai", accounts={"main": SECRET}),
            "azure-openai": at("azure", accounts={"eu": SECRET}),
            "mistral": at("mistral", accounts={"main": SECRET}),
        },
        "labs": {
            "openai": {
                "fast": [{"model": "gpt-6-luna"}],
                "smart": [{"model": "gpt-6.1-sol"}, {"model": "gpt-6.1-sol", "provider": "azure-openai"}],
                "reasoning": [{"model": "gpt-6.2-astra"}],
            },
            "mistral": {
                "fast": [{"model": "mistral-small-4"}],
                "smart": [{"model": "mistral-large-4"}],
                "reasoning": [{"model": "magistral-large-2"}],
            },
        },
        "models": {
            name: {"price": {"input": low, "cache_read": low / 10, "output": high}, "max_output": 32_000}
            for name, (low, high) in _PRICES.items()
        },
    }  # fmt: skip


class DashboardGateway:
    """A gateway with data for every page."""

    def __init__(
        self, folder: Path, *, rows: bool = True, admin: str = ADMIN, keys: str = "keys.yaml"
    ) -> None:
        self._loop, self._upstream = Loop(), Upstream()
        self._loop.run(self._upstream.start())
        self._upstream.on("/openai", answer)
        self._upstream.on("/azure", answer)
        self._upstream.on("/mistral", answer)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        digests = {
            app: {"sha256": hashlib.sha256(secret(app).encode()).hexdigest()} for app in APPS
        }
        if keys == "keys.yaml":
            (folder / keys).write_bytes(jsonio.dumps(digests))
        else:
            (folder / "data").mkdir(mode=0o700)
            key_admin = KeyAdmin(open_database(keys, folder / "data"), clock=time.time)
            for app, digest in digests.items():
                key_admin.create(app, {**digest, **_SETTINGS[app]}, "ann@example.com")
        text = json.dumps({**config(self._upstream.url), "keys": keys}, indent=1)
        (folder / "gateway.yaml").write_text(text)
        if rows:
            LabelPairs(folder / "data").add_pairs(PAIRS)
        self._environ = {"TIERGATE_ADMIN_KEY": admin} if admin else {}
        self._starts = 0
        self._start()
        if rows:
            self._call_all()
            self.child.signal(signal.SIGTERM)
            until(lambda: self.child.ended, "ended")
            self.child.stop()
            history(folder / "data" / "ledger")
            self._start()
            self._trouble()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, app: str, model: str, prompt: str, *, stream: bool = False) -> int:
        """Make one call of an application; return the status of its answer."""
        body = {
            "model": model, "max_tokens": 900, "stream": stream, "messages": [{"role": "user", "content": prompt}],
        }  # fmt: skip
        client = http.client.HTTPConnection("127.0.0.1", self.port, PATIENCE)
        head = {"authorization": f"Bearer {secret(app)}", "content-type": "application/json"}
        client.request("POST", "/v1/chat/completions", jsonio.dumps(body), head)
        reply = client.getresponse()
        reply.read()
        client.close()
        return reply.status

    def stop(self) -> None:
        self.child.stop()
        self._loop.run(self._upstream.stop())
        self._loop.close()

    def _start(self) -> None:
        self._starts += 1
        stem = self.folder / f"gateway-{self._starts}"
        self.child = GatewayChild(self.folder / "gateway.yaml", stem=stem, **self._environ)
        self.port = self.child.port

    def _call_all(self) -> None:
        for number, app in enumerate(APPS):
            for at, prompt in enumerate(_PROMPTS):
                lab = "mistral" if (number + at) % 4 == 3 else "openai"
                assert self.call(app, f"{lab}/auto", prompt, stream=at % 2 == 0) == 200

    def _trouble(self) -> None:
        """Take one host down, so that another answers; then take down every host of mistral."""
        self._upstream.on("/openai", down)
        self._upstream.on("/mistral", down)
        for number in range(6):
            self.call("chat-app", "openai/smart", f"{PROMPT} {number}")
        for number in range(2):
            self.call("coding-agent", "mistral/reasoning", f"{PROMPT} {number}")
        self._upstream.on("/openai", answer)
        self._upstream.on("/mistral", answer)
        for app in APPS:
            self.call(app, "openai/fast", "hi")
            self.call(app, "openai/fast", "hi")


PAIRS = (
    LabelPair(
        id="a1-fast",
        request="Why is the sky blue?",
        first=ShownAnswer(
            tier="fast",
            text="Because air scatters blue light more than red light (Rayleigh scattering).",
        ),
        second=ShownAnswer(
            tier="smart",
            text="Sunlight has all colours. Molecules of air are far smaller than its waves, so they"
            " scatter short waves more: the fourth power of the frequency. Blue comes to us from all"
            " sides of the sky, and red comes straight from the sun, which is why it sets red.",
        ),
        label={"members": {"digest": "a1"}, "answers": {}},
    ),
    LabelPair(
        id="b2-fast",
        request="user: Hello\n\nassistant: Hello!\n\nuser: What is 17 times 23? <img src=x onerror=alert(1)>",
        first=ShownAnswer(tier="smart", text="17 times 23 is 391."),
        second=ShownAnswer(tier="fast", text="It is 381."),
        label={"members": {"digest": "b2"}, "answers": {}},
    ),
)
"""Pairs of answers that wait for a person."""


def history(folder: Path) -> None:
    """Write a month of rows: more by day than by night, fewer at weekends, some of each kind."""
    rows = [row for path in journal.list_segments(folder) for row, _ in journal.read_rows(path)]
    served = [row for row in rows if isinstance(row, FinalRow) and row.state == "settled"]
    chance, now = random.Random(4711), time.time()
    lines: list[bytes] = []
    for hour in range(DAYS * 24):
        start = now - 1_800 - hour * 3_600
        day = time.gmtime(start)
        busy = 1.25 + math.sin((day.tm_hour - 8) / 24 * 2 * math.pi)
        busy *= 0.45 if day.tm_wday > 4 else 1.0
        for number in range(round(AN_HOUR * busy * chance.uniform(0.7, 1.3))):
            row = _other(chance.choice(served), f"{hour}-{number}", start, chance)
            lines.append(journal.encode_row(row))
            if chance.random() < 0.3:
                lines.append(journal.encode_row(_rate(row, chance)))
    (folder / "0000-history.jsonl").write_bytes(b"".join(lines))


def _rate(row: FinalRow, chance: random.Random) -> FeedbackRow:
    """Rate an answer as the user of its arm would."""
    verdict: Verdict = "good" if chance.random() < (0.6 if row.arm == IN_ARM else 0.85) else "bad"
    return FeedbackRow(id=row.id, at=row.at + 20, key=row.key, verdict=verdict)


def _other(row: FinalRow, name: str, start: float, chance: random.Random) -> FinalRow:
    """Copy a row with other tokens at the same price, another time, and sometimes another outcome.

    The calls of a key in an hour are a conversation, and a canary had a part of these.
    """
    conversation = f"{row.key}-{name.partition('-')[0]}"
    is_inside = zlib.crc32(conversation.encode()) % 4 == 0
    times = chance.lognormvariate(2.6, 0.6) * (0.4 if is_inside else 1)
    dear = {"fast": 1.0, "smart": 1.9, "reasoning": 5.5}[row.tier or "smart"]
    first = chance.lognormvariate(-1.1, 0.35) * dear**0.7
    changes: dict[str, Any] = {
        "id": f"tg-{name}",
        "conversation": conversation,
        "arm": IN_ARM if is_inside else OUT_ARM,
        "at": start + chance.uniform(-1_700, 1_700),
        "first_content": first,
        "duration": first + chance.lognormvariate(0.2, 0.5) * dear,
        "input": int((row.input or 0) * times),
        "output": int((row.output or 0) * times),
    }
    for field in ("cost", "baseline"):
        value = getattr(row, field)
        changes[field] = None if value is None else (value * Decimal(int(times * 100)) / 100)
    luck = chance.random()
    if luck < 0.012:
        changes |= {"state": "failed", "status": 502, "problem": "upstream_error", "cost": None, "input": None, "output": None, "baseline": None}  # fmt: skip
    elif luck < 0.1:
        changes |= {"state": "cache_hit", "cache": "hit", "cost": Decimal(0), "duration": 0.003, "first_content": 0.002, "attempts": 0}  # fmt: skip
    elif luck < 0.125:
        changes |= {"attempts": 2}
    elif luck < 0.13:
        changes |= {"state": "aborted", "cost": None, "baseline": None, "output": None}
    return msgspec.structs.replace(row, **changes)
